"""The section `improve` of a recipe: rounds of sampling, training and measuring, each from the last one's student."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from proofmill.data.sections import Needs, Section, Share

Arm = Literal["filtered", "unfiltered", "random", "wrong", "no_claims", "no_curriculum"]


class Measure(Section):
    """A suite that models are measured on."""

    suite: str = Field("held-out", description="a bundled suite, a YAML file, or untidy: with one of these")
    repeats: int | None = Field(None, ge=1, description="samples a problem; null: the suite's")
    limit: int | None = Field(None, ge=1, description="take only this many problems, from the first")


class Budget(Section):
    """What the loop may cost; asked before each round, so that the last one is whole."""

    tokens: int | None = Field(None, ge=1, description="completion tokens sampled and learned from; null: no limit")
    hours: float | None = Field(None, gt=0, description="of sampling, training and measuring; null: no limit")


class Ablation(Section):
    """Other rows of the last round, trained in the same way at equal completion tokens and steps."""

    arms: tuple[Arm, ...] = Field((), description="none: no ablation")
    seeds: Annotated[int, Needs("arms")] = Field(
        3, ge=1, description="trainings of each arm; a seed chooses the rows and their order"
    )


class ImproveOptions(Section):
    """Rounds of `regenerate`, `train` and `eval`; each round samples with the student of the round before."""

    rounds: int = Field(3, ge=1, description="at most")
    start: Literal["base", "last"] = Field(
        "base",
        description="what each training begins from: the base again (STaR, ReST-EM), or the last student",
    )
    data: Literal["round", "all"] = Field(
        "round",
        description="traces that a round selects among: its own, or those of earlier rounds too, whose problems the "
        "student is then asked as well",
    )
    problems: Literal["fresh", "same"] = Field(
        "fresh", description="whether procedural sources make other problems in each round"
    )
    measure: Measure = Field(Measure(), description="what decides whether there is a gain")
    controls: tuple[Measure, ...] = Field(
        (Measure(suite="knowledge"),), description="measured of the base and of the best student only"
    )
    by_stage: bool = Field(True, description="make a model of each stage of a training, and measure it too")
    later_stages: Literal["end", "each"] = Field(
        "end",
        description="when the stages after the first are trained: once, from the best student, so that samplers go on "
        "to reason at length; or in each round",
    )
    budget: Budget = Budget()
    gain: Literal["shown", "any", "none"] = Field(
        "any",
        description="go on while the paired gain over the round before is above 0 with its whole interval (shown), is "
        "above 0 (any), or whatever it is (none)",
    )
    band: Annotated[tuple[Share, Share], Needs("ladders")] = Field(
        (0.1, 0.7), description="a source whose pass rate is above it gets harder, one below it easier"
    )
    ladders: dict[str, tuple[dict[str, Any], ...]] = Field(
        {}, description="by label of a procedural source: `args` of its harder levels; above the last one it retires"
    )
    retire: Share = Field(
        1.0, description="problems with a higher pass rate are solved: their traces are left out of the training"
    )
    bases: tuple[str, ...] = Field((), description="models to begin from, side by side; none: the samplers' own")
    ablate: Ablation = Ablation()

    @model_validator(mode="after")
    def _fits(self) -> ImproveOptions:
        if self.band[0] > self.band[1]:
            raise ValueError("band: the lower end comes first")
        if len(set(self.bases)) < len(self.bases):
            raise ValueError("bases: a model is named twice")
        return self
