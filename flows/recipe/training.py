"""The section `train` of a recipe: how a model is trained on a version."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from proofmill.data.sections import Needs, Section, Share

Stage = Literal["sft_stage1", "sft_stage2", "rl"]


class SftStage(Section):
    """One supervised stage."""

    epochs: float = Field(5.0, gt=0, description="passes over the rows")
    steps: int | None = Field(None, ge=1, description="steps of the optimizer instead of epochs")
    learning_rate: float = Field(5e-5, gt=0, description="its peak")


class SecondStage(SftStage):
    """The second supervised stage: short answers, or the hard subset."""

    epochs: float = Field(2.0, gt=0, description="passes over the rows")


class RlStage(Section):
    """Reinforcement learning: GRPO, each prompt weighed by MGPO, rewards by the pipeline's verifiers."""

    steps: int = Field(100, ge=1, description="steps of the optimizer")
    learning_rate: float = Field(1e-6, gt=0, description="its peak")
    generations: int = Field(8, ge=2, description="samples a prompt, drawn by the model of the moment")
    prompts: int = Field(4, ge=1, description="prompts a step")
    max_tokens: int = Field(1024, ge=1, description="completion tokens of a sample")
    temperature: float = Field(1.0, gt=0, description="of the samples")
    top_p: float = Field(0.95, gt=0, le=1, description="of the samples")
    kl: float = Field(0.0, ge=0, description="weight of the divergence from the starting model")
    gamma: float = Field(1.0, ge=0, description="MGPO: exp(-gamma KL(p, 1/2)) weighs a prompt at accuracy p; 0: GRPO")
    long2short: float = Field(0.2, ge=0, description="shift of reward to the shorter of the right samples; 0: none")
    pass_rate: tuple[Share, Share] = Field((0.0, 1.0), description="prompts whose pass rate lies between")
    balance: bool = Field(True, description="as many prompts of each domain as of the largest, by repeating them")


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021) instead of all weights; they are merged in at the end."""

    rank: int = Field(16, ge=1, description="of the adapters")
    alpha: int = Field(32, ge=1, description="their scale times the rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="of their inputs")
    targets: str = Field("all-linear", description="which layers; a name of peft's, or a pattern")


class ChooseCheckpoint(Section):
    """The checkpoint whose samples solve most: pass@k on a probing suite decides, not the loss."""

    suite: str = Field(description="a suite that is not the one you measure the result on")
    k: int = Field(8, ge=1, description="of pass@k; the suite's repeats are raised to it")
    limit: int | None = Field(None, ge=1, description="take only this many problems, from the first")


class TrainOptions(Section):
    """Training on a version: the curriculum's stages in turn. Defaults are those of the VibeThinker-3B report."""

    base: str | None = Field(None, description="model to begin from; null: the data's student, else its first sampler")
    stages: tuple[Stage, ...] = Field(("sft_stage1", "sft_stage2"), description="in this order; add rl to go on")
    stage1: SftStage = SftStage()
    stage2: SecondStage = SecondStage()
    rl: Annotated[RlStage, Needs("`rl` in stages", lambda section: "rl" in section.stages)] = RlStage()
    batch: int = Field(128, ge=1, description="rows (with packing: packs) of one step of the optimizer")
    micro_batch: int = Field(8, ge=1, description="rows (in RL samples) at once on one device; less takes less memory")
    processes: int = Field(1, ge=1, description="GPUs of this machine, by accelerate launch")
    max_length: int | None = Field(None, ge=16, description="tokens of a row; longer ones are left out; null: no limit")
    packing: bool = Field(False, description="several rows in one sequence of max_length (null: the longest row)")
    weighted: bool = Field(True, description="multiply a row's loss by its `weight`")
    domains: tuple[str, ...] | None = Field(None, description="train a specialist on these alone")
    final_learning_rate: float = Field(8e-8, ge=0, description="where the cosine ends")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are shortened")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where a GPU has it")
    gradient_checkpointing: bool = Field(False, description="a third more time, and much less memory")
    lora: Lora | None = Field(None, description="{} for adapters; null: all weights")
    blend: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of what all stages change of the weights that is kept at the end; below 1 less is forgotten",
    )
    checkpoint_steps: int = Field(100, ge=1, description="what a crash costs at most")
    choose: ChooseCheckpoint | None = Field(None, description="null: the last step's weights")
    threads: int = Field(0, ge=0, description="CPU threads; 0: torch's own choice")
    seed: int = Field(0, ge=0, description="of the order of rows, and of dropout and samples")

    @model_validator(mode="after")
    def _fits(self) -> TrainOptions:
        if not self.stages or len(set(self.stages)) < len(self.stages):
            raise ValueError("stages: name at least one, and each once")
        for stage in self.stages:
            batch, at_once = self.batch_of(stage), self.at_once(stage) * self.processes
            if batch % at_once:
                key = "rl.prompts x rl.generations" if stage == "rl" else "batch"
                told = f"{batch} is no multiple of the {at_once} that micro_batch and processes take at once"
                raise ValueError(f"{key}: {told}")
        return self

    def batch_of(self, stage: Stage) -> int:
        """Return the rows (in RL samples) of one step of the optimizer."""
        return self.rl.prompts * self.rl.generations if stage == "rl" else self.batch

    def at_once(self, stage: Stage) -> int:
        """Return the rows at once on one device."""
        return min(self.micro_batch, max(1, self.batch_of(stage) // self.processes))

    def accumulate(self, stage: Stage) -> int:
        """Return how often gradients are added up before a step."""
        return self.batch_of(stage) // (self.at_once(stage) * self.processes)
