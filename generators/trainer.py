"""The stages of a training, in a process of their own: `python -m proofmill.generators.trainer SPEC.json ...`.

The process that starts it has prepared everything (`flows/train.py`): rows as tokens, the model's folder, the options.
One file describes one stage, or an average of models; they are done in turn.
So this one holds nothing but torch and TRL, may be started by `accelerate launch` on several GPUs, and may die: started
again, it goes on from its last whole checkpoint. What it has to say goes to standard output, a JSON object a line.

The loss is that of TRL's `SFTTrainer` on the completion's tokens. Where rows have other weights than 1, a row's share
of the loss is multiplied by its weight; the sum is divided by the number of tokens, as it is without weights.
RL is TRL's `GRPOTrainer` with the pipeline's verifiers as rewards. The advantages of a prompt are multiplied by its
MGPO weight, exp(-γ KL(p ‖ 0.5)) at the accuracy p that its group has now (VibeThinker-1.5B, arXiv 2511.06221).
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

DONE = "done.json"
"""Written last into a stage's folder: what came of it."""
MODEL = "model"
"""The folder of the stage's model, below its own."""
IGNORED = -100
Spec = dict[str, Any]


def say(**words: Any) -> None:
    """One line to the process that started this one."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    """Ends this process as soon as the one that started it is gone: two must never train in one folder.

    Its end closes the other side of standard input, whatever killed it.
    """

    def watch() -> None:
        os.read(0, 1)  # unlike sys.stdin it holds no lock that the end of the interpreter waits for
        os._exit(4)

    if stat.S_ISFIFO(os.fstat(0).st_mode):  # by hand, input is a terminal or nothing
        threading.Thread(target=watch, daemon=True).start()


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint; torn ones, which a killed process has left, are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / "trainer_state.json").exists():  # written last
            whole.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def main(spec_files: list[Path]) -> int:
    """Do what the files say in turn; return 0 where all is done, 3 where it was said why not."""
    end_with_parent()
    import torch

    for file in spec_files:
        spec: Spec = json.loads(file.read_text())
        if spec["threads"]:
            torch.set_num_threads(spec["threads"])
        spec["cpu"] = not torch.cuda.is_available()
        spec["bf16"] = spec["precision"] == "bfloat16" or (
            spec["precision"] == "auto" and not spec["cpu"] and torch.cuda.is_bf16_supported()
        )
        if not _succeeds(spec):
            return 3
        gc.collect()  # the model and its optimiser hold each other
        torch.cuda.empty_cache()
    return 0


def _succeeds(spec: Spec) -> bool:
    """Do one file's work; return whether it came to its end, and say why where it did not."""
    import torch
    from transformers import set_seed

    say(event="begin", folder=spec["folder"])
    set_seed(spec["seed"])  # as in a process that does this alone
    try:
        {"sft": _sft, "rl": _rl, "merge": _merge}[spec["kind"]](spec)
    except _Diverged as error:
        say(event="error", kind="diverged", what=str(error))
    except _OtherTensors as error:
        say(event="error", kind="shape", what=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        say(event="error", kind="memory", what=str(error).splitlines()[0] if str(error) else "out of memory")
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        say(event="error", kind="memory", what=str(error).splitlines()[0])
    else:
        return True
    return False


class _Diverged(Exception):  # noqa: N818 (an event: nothing is wrong with the program)
    """The loss is no number any more."""


class _OtherTensors(Exception):  # noqa: N818 (an event, as above)
    """A model can't be averaged with the first one."""


def _arguments(spec: Spec, kind: Any, **more: Any) -> Any:
    """The trainer's configuration, as far as all stages share it."""
    options = spec["options"]
    return kind(
        output_dir=spec["folder"],
        per_device_train_batch_size=spec["micro_batch"],
        gradient_accumulation_steps=spec["accumulate"],
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": min(options["final_learning_rate"], spec["learning_rate"])},
        warmup_steps=options["warmup"],  # below 1: a share of the steps
        weight_decay=options["weight_decay"],
        max_grad_norm=options["max_grad_norm"],
        max_steps=spec["steps"],
        num_train_epochs=spec["epochs"],
        bf16=spec["bf16"],
        use_cpu=spec["cpu"],
        gradient_checkpointing=options["gradient_checkpointing"],
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is no number must be seen
        save_strategy="steps",
        save_steps=options["checkpoint_steps"],
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=not spec["cpu"],
        seed=spec["seed"],
        data_seed=spec["seed"],
        **more,
    )


def _callback(spec: Spec) -> Any:
    """Tells of every step, ends where the loss is no number, keeps candidates for a choice among checkpoints."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]  # a class of any type, as far as mypy looks
        """As above."""

        diverged: str = ""
        started = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            """One step's numbers."""
            if not logs or "loss" not in logs:
                return
            numbers = {name: logs[name] for name in ("loss", "grad_norm", "learning_rate", "reward") if name in logs}
            seconds = round(time.monotonic() - self.started, 2)
            if state.is_world_process_zero:
                plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
                say(event="step", step=state.global_step, of=state.max_steps, seconds=seconds, **plain)
            bad = [name for name in ("loss", "grad_norm") if not math.isfinite(numbers.get(name, 0.0))]
            if bad:
                self.diverged = f"{bad[0].replace('_', ' ')} is {numbers[bad[0]]} at step {state.global_step}"
                control.should_training_stop, control.should_save = True, False

        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
            """A candidate beside the checkpoint, where one is to be chosen."""
            if spec["candidates"] and state.is_world_process_zero:
                _save(spec, model, Path(spec["folder"]) / f"candidate-{state.global_step}")

    return Watch()


def _load(spec: Spec) -> tuple[Any, Any]:
    """Model (with LoRA where asked) and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    dtype = torch.bfloat16 if spec["bf16"] and spec["options"]["lora"] else torch.float32
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=dtype)
    if lora := spec["options"]["lora"]:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=lora["targets"],
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(model, config)
    return model, tokenizer


def _save(spec: Spec, model: Any, folder: Path, number_format: str | None = None) -> None:
    """The whole model as a plain folder, adapters merged in; in a number format, else in that of its training."""
    import copy

    import torch
    from transformers import AutoTokenizer

    whole = copy.deepcopy(model).merge_and_unload() if spec["options"]["lora"] else model
    made: dict[Any, Any] = {}  # by place in memory: tied tensors stay one, and are written once
    state = {}
    for name, tensor in whole.state_dict().items():
        if (place := (tensor.data_ptr(), tensor.shape)) not in made:
            new = tensor.detach()
            if number_format and new.is_floating_point():
                new = new.to(getattr(torch, number_format))
            made[place] = new
        state[name] = made[place]
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    whole.save_pretrained(partial, state_dict=state)
    if number_format:  # the configuration names the format that the model was trained in
        settings = partial / "config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"dtype": number_format}, indent=2))
    AutoTokenizer.from_pretrained(spec["base"]).save_pretrained(partial)
    for name in ("chat_template.jinja",):  # as the base has it: saving must not rewrite it
        if (source := Path(spec["base"]) / name).exists():
            shutil.copyfile(source, partial / name)
    partial.rename(folder)


def _run(spec: Spec, trainer: Any, watch: Any, **more: Any) -> None:
    """Trains from the last checkpoint on, saves the model, and says that it is done."""
    folder = Path(spec["folder"])
    resumed = last_checkpoint(folder)
    if resumed:
        say(event="resumed", step=int(resumed.name.rpartition("-")[2]))
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if watch.diverged:
        raise _Diverged(watch.diverged)
    validation = None
    if trainer.eval_dataset is not None:
        validation = float(trainer.evaluate()["eval_loss"])
    if trainer.is_world_process_zero():
        _save(spec, trainer.accelerator.unwrap_model(trainer.model), folder / MODEL)
        history = [
            {name: entry[name] for name in ("step", "loss", "grad_norm", "learning_rate", "reward") if name in entry}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]
        done = {"losses": history, "validation_loss": validation, "seconds": round(time.monotonic() - started, 1)}
        (folder / f".{DONE}").write_text(json.dumps(done | more))
        (folder / f".{DONE}").rename(folder / DONE)
        say(event="done")
    trainer.accelerator.wait_for_everyone()  # what comes next begins from the model that one process has written


# --- supervised stages -------------------------------------------------------------------------------------


def _sft(spec: Spec) -> None:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer, pack_dataset

    weighted = spec["weighted"]
    rows = Dataset.from_parquet(spec["rows"]).select_columns(
        ["input_ids", "labels", *(["loss_weights"] if weighted else [])]
    )
    packing = spec["options"]["packing"]
    if packing:
        rows = pack_dataset(rows.shuffle(seed=spec["seed"]), spec["max_length"])
    validation = None  # a file without rows is none that `datasets` reads
    if spec["validation"]:
        validation = Dataset.from_parquet(spec["validation"]).select_columns(["input_ids", "labels"])
    model, tokenizer = _load(spec)
    config = _arguments(
        spec,
        SFTConfig,
        max_length=spec["max_length"] if packing else None,
        packing=packing,
        eval_packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        completion_only_loss=False,  # what is not to be learned is ignored in `labels` already
        per_device_eval_batch_size=1 if packing else spec["micro_batch"],
        remove_unused_columns=False,
    )

    class Weighted(SFTTrainer):  # type: ignore[misc]
        """The loss of each token times the weight of its row."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """TRL's own where no weights came with the batch."""
            weights = inputs.pop("loss_weights", None)
            if weights is None:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels = inputs.pop("labels")
            outputs = model(**inputs, use_cache=False)
            logits, wanted = outputs.logits[:, :-1], labels[:, 1:]
            losses = torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none"
            )
            count = (wanted != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            loss = (losses * weights[:, 1:]).sum() / torch.as_tensor(count).clamp(min=1)
            if self.args.average_tokens_across_devices and num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes
            return (loss, outputs) if return_outputs else loss

    watch = _callback(spec)
    trainer = Weighted(
        model,
        args=config,
        train_dataset=rows,
        eval_dataset=validation,
        processing_class=tokenizer,
        callbacks=[watch],
    )
    if weighted:
        trainer.data_collator = _weighted_collator(trainer.data_collator)
    _run(spec, trainer, watch)


def _weighted_collator(plain: Any) -> Any:
    """The trainer's collator, with the weights of the tokens beside their labels."""
    import torch

    def collate(examples: list[dict[str, Any]]) -> Any:
        if "loss_weights" not in examples[0]:  # of the validation split, which is measured without
            return plain(examples)
        weights = [torch.tensor(example["loss_weights"], dtype=torch.float32) for example in examples]
        batch = plain([{name: row[name] for name in row if name != "loss_weights"} for row in examples])
        if batch["labels"].shape[0] != len(examples):  # padding-free: all sequences in one
            weights = [torch.cat(weights)]
        padded = torch.zeros(batch["labels"].shape, dtype=torch.float32)
        for line, values in enumerate(weights):
            padded[line, : len(values)] = values
        batch["loss_weights"] = padded
        return batch

    return collate


# --- reinforcement learning ----------------------------------------------------------------------------------


def _rl(spec: Spec) -> None:
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from proofmill.filters.rewards import make_combined_reward, mgpo_weight

    options = spec["options"]["rl"]
    model, tokenizer = _load(spec)
    config = _arguments(
        spec,
        GRPOConfig,
        num_generations=options["generations"],
        max_completion_length=options["max_tokens"],
        temperature=options["temperature"],
        top_p=options["top_p"],
        beta=options["kl"],
        remove_unused_columns=False,
    )
    correct = make_combined_reward(verifiers=spec["verifiers"])
    reward = make_combined_reward(verifiers=spec["verifiers"], long2short_strength=options["long2short"])

    class Mgpo(GRPOTrainer):  # type: ignore[misc]
        """GRPO whose advantages are weighed by how close a group is to half right."""

        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            """Also notes which completions are right; the shift for length must not count as accuracy."""
            columns = {
                name: [row[name] for row in inputs] for name in inputs[0] if name not in ("prompt", "completion")
            }
            right = correct(prompts=prompts, completions=completions, **columns)
            device = self.accelerator.device
            scores = torch.tensor([math.nan if one is None else float(one > 0) for one in right], device=device)
            self._right = self.accelerator.gather(scores)
            return super()._calculate_rewards(inputs, prompts, completions, ids)

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            groups = self._right.view(-1, options["generations"])
            accuracy = torch.nan_to_num(torch.nanmean(groups, dim=1), nan=0.0)
            weights = torch.tensor([mgpo_weight(p, options["gamma"]) for p in accuracy.tolist()], device=groups.device)
            spread = weights.repeat_interleave(options["generations"])
            begin = self.accelerator.process_index * len(inputs)
            output["advantages"] = output["advantages"] * spread[begin : begin + len(inputs)]
            self._metrics["train"]["group_accuracy"].append(accuracy.mean().item())
            self._metrics["train"]["mgpo_weight"].append(weights.mean().item())
            return output

    watch = _callback(spec)
    rows = Dataset.from_parquet(spec["rows"])
    trainer = Mgpo(
        model, reward_funcs=reward, args=config, train_dataset=rows, processing_class=tokenizer, callbacks=[watch]
    )
    _run(spec, trainer, watch)


# --- averages --------------------------------------------------------------------------------------------------


def _merge(spec: Spec) -> None:
    """The weighted average of models with the same tensors, by the first process of several."""
    if int(os.environ.get("RANK", "0")):
        return
    import torch
    from transformers import AutoModelForCausalLM

    total, merged = sum(spec["shares"]), None
    for path, share in zip(spec["models"], spec["shares"], strict=True):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        merged = merged or model
        target = merged.state_dict()
        if {name: one.shape for name, one in model.state_dict().items()} != {n: one.shape for n, one in target.items()}:
            raise _OtherTensors(f"{path} has other tensors than the first model")
        # Tied tensors lie in one place and are added once.
        once = {target[name].data_ptr(): (target[name], one) for name, one in model.state_dict().items()}
        for into, one in once.values():  # in place: two models at once are enough
            if into.is_floating_point():
                into.mul_(share / total) if model is merged else into.add_(one, alpha=share / total)
    folder = Path(spec["folder"])
    _save(spec, merged, folder / MODEL, spec["save_dtype"])
    (folder / DONE).write_text(json.dumps({"losses": []}))
    say(event="done")


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
