"""What recipe sections are made of, and the sections that clean and choose."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from proofmill.filters.contamination.overlap_index import MIN_SHORT
from proofmill.flows.stages.benchmarks import Benchmark

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
PinnedVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}@v[0-9]+$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
FieldMap = dict[str, str]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _benchmark(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


class AgainstBenchmark(Section):
    """One benchmark; a bare string is its source."""

    source: str = Field(description="a file, or hf://user/name")
    name: str | None = Field(None, description="None: as the source is called")
    fields: tuple[str, ...] | None = Field(None, description="None: those of the section")
    split: str | None = Field(None, description="None: that of the section")
    config: str | None = None
    revision: str | None = None


class Decontaminate(Section):
    """Overlap of prompts and traces with benchmarks: runs of `n` words that stand in a benchmark's item too.

    Ten words are the VibeThinker-3B report's (arXiv 2606.16140).
    """

    against: tuple[Annotated[AgainstBenchmark, BeforeValidator(_benchmark)], ...] = Field(
        (), description="benchmarks: files or hf://user/name; none: nothing is looked for"
    )
    n: int = Field(10, ge=MIN_SHORT, description="words in a run that counts as overlap")
    fields: tuple[str, ...] = Field((), description="what is looked for of an item; none: its question, by name")
    split: str = Field("test", description="of hub data sets")

    @property
    def benchmarks(self) -> list[Benchmark]:
        """Each with the section's fields and split where it has none of its own."""
        return [
            Benchmark(
                item.source,
                self.fields if item.fields is None else item.fields,
                item.split or self.split,
                item.config,
                item.revision,
                item.name,
            )
            for item in self.against
        ]


class Select(Section):
    """What is kept of what was proven. Changing it never samples again.

    The caps are asked in this order: too_long, capped_pass_rate, capped_problem, capped_mix, capped_tokens.
    """

    max_per_problem: int = Field(4, ge=1, description="stage-1 traces of one problem, so that easy ones don't dominate")
    pass_rate: tuple[Share, Share] = Field(
        (0.0, 1.0), description="traces of problems outside of it are left out; both ends belong to it"
    )
    mix: dict[str, Share] = Field(
        {}, description="share of the kept traces by domain; domains that are not named share the rest"
    )
    max_trace_tokens: int | None = Field(None, ge=1, description="longer traces are left out")
    max_total_tokens: int | None = Field(None, ge=1, description="response tokens of all kept traces")
    holdout: Share = Field(
        0.0, description="share of problems that becomes the `validation` split, near-duplicates on the same side"
    )
    holdout_threshold: float = Field(
        0.7, gt=0.0, le=1.0, description="Jaccard similarity that links two problems' prompts for the holdout"
    )
    rl_pass_rate: tuple[Share, Share] = Field(
        (0.0, 1.0), description="`rl` keeps problems strictly between; the ends teach nothing"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(self.mix.values()) > 1.0 + 1e-9:
            raise ValueError("mix: the shares are more than 1 together")
        if self.pass_rate[0] > self.pass_rate[1]:
            raise ValueError("pass_rate: the lower end comes first")
        return self
