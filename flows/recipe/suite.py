"""An evaluation suite: sets of problems with repeats and decoding, in YAML, and the runs that it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from proofmill.data.errors import RecipeError
from proofmill.data.sections import Engine, LiveEngine, Name, ReplayEngine, Section, VllmEngine
from proofmill.filters.claim_checks import ModelVerifier
from proofmill.filters.verification import VerifyOptions
from proofmill.flows.recipe.faults import explained
from proofmill.flows.recipe.load import override, read_yaml
from proofmill.flows.recipe.schema import FileSource, Prompt, Recipe, Sampling, Source
from proofmill.generators.problems.untidy import Untidiness

AS_THEY_ARE = "as they are"


class ProblemSet(Section):
    """Problems that a result is given for."""

    name: str = Field(description="what the results call it")
    source: Source = Field(description="as in a recipe")
    repeats: int | None = Field(None, ge=1, description="samples a problem; None: the suite's")
    optional: bool = Field(False, description="left out, and said so, where its file is not there")


class Suite(Section):
    """What a model is measured on."""

    name: Name = Field(description="names the results")
    about: str = Field("", description="what it measures, in a sentence")
    seed: int = Field(0, description="of problems and samples")
    sets: tuple[ProblemSet, ...] = Field((), description="none where recorded answers bring their problems")
    repeats: int = Field(4, ge=1, description="samples a problem")
    sampling: Sampling = Field(Sampling(), description="decoding; how many samples is said by `repeats`")
    prompt: Prompt = Prompt()
    engine: LiveEngine = Field(VllmEngine(), description="what draws the samples")
    verify: VerifyOptions = VerifyOptions()
    clr: ModelVerifier | None = Field(None, description="a model that judges claims, for clr@k; {} is the model itself")
    untidy: tuple[Untidiness, ...] = Field((), description="each set again, asked in these untidy ways")

    @model_validator(mode="after")
    def _amounts(self) -> Suite:
        if told := {"n", "accept_target", "max_samples", "round"} & self.sampling.model_fields_set:
            raise ValueError(f"sampling.{min(told)}: say how many samples a problem gets with `repeats`")
        names = [one.name for one in self.sets]
        if len(set(names)) < len(names):
            raise ValueError("sets: two sets have the same name")
        return self

    def present(self) -> tuple[Suite, list[str]]:
        """The suite without optional sets whose file is not there, and the names of these."""
        absent = [one.name for one in self.sets if one.optional and _absent(one.source)]
        return self.model_copy(update={"sets": tuple(s for s in self.sets if s.name not in absent)}), absent

    def recipes(self, engine: Engine, model: str) -> Iterator[Recipe]:
        """The runs that it comes to for one model: one for each number of repeats."""
        by_repeats: dict[int, list[Source]] = {}
        for one in self.sets:
            by_repeats.setdefault(one.repeats or self.repeats, []).extend(self._sources(one))
        for repeats, sources in (by_repeats or {self.repeats: []}).items():
            sampling = self.sampling.model_copy(update={"n": repeats})
            drawn = {} if isinstance(engine, ReplayEngine) else {"model": model, "sampling": sampling.model_dump()}
            yield Recipe.model_validate(
                {
                    "name": f"eval-{self.name}"[:64],
                    "seed": self.seed,
                    "problems": {"sources": [source.model_dump() for source in sources]},
                    "prompt": self.prompt.model_dump(),
                    "samplers": [{"name": "model", "engine": engine.model_dump(), **drawn}],
                    "verify": self.verify.model_dump(),
                    "claims": {"model": self.clr.model_dump() if self.clr else None},
                }
            )

    def _sources(self, one: ProblemSet) -> Iterator[Source]:
        if not self.untidy:
            yield one.source.model_copy(update={"label": one.name})
            return
        for way in (None, *self.untidy):
            yield one.source.model_copy(update={"label": f"{one.name}, {way or AS_THEY_ARE}", "untidy": way})


def _absent(source: Source) -> bool:
    return isinstance(source, FileSource) and not Path(source.path).expanduser().exists()


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """Read and check a suite.

    Args:
        name: a bundled name, the path of a YAML file, or `untidy:` with one of these.
        overrides: `a.b=value` each, as `--set` of a recipe.

    Raises:
        RecipeError: it isn't there, isn't YAML, or has a key or value that doesn't fit.
    """
    ways, colon, of = name.partition(":")
    if colon and ways == "untidy":
        data = _read("untidy") | {"of": of}
        where = of
    else:
        data, where = _read(name), name
    if "of" in data:  # another suite, asked untidily
        other = data.pop("of")
        base = _read(str(other))
        data = base | data | {"name": f"{data.get('name', 'untidy')}-{base.get('name')}"}
    for item in overrides:
        override(data, item)
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        raise RecipeError(
            f"The suite doesn't fit: {explained(error, Suite)}", where=where, remedy="correct these keys"
        ) from error


def _read(name: str) -> dict[str, Any]:
    """Return a suite's mapping, in which files beside it are named by their path."""
    data, path = read_yaml(name, "suite")
    for one in data.get("sets") or ():
        source = one.get("source") if isinstance(one, dict) else None
        if isinstance(source, dict) and isinstance(file := source.get("path"), str):
            beside = path.parent / file
            source["path"] = str(beside if beside.exists() else file)
    return data
