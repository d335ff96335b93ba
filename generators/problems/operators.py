"""Operators that make new problems from seeds: one small object each, listed in `OPERATORS`.

A new operator that asks a model is a line here and a text in `prompts/`; the recipe, the phase that asks
(`flows/expansion.py`), the funnel and the reference read the rest off the object. In a text `{problem}` stands for the
seeds, `{concepts}` for concepts that a model named in them, and `{kind}` for one of the operator's `kinds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.sections import ModelSection, Needs, PinnedVersion, Section, Share
from proofmill.filters import scorers
from proofmill.filters.model_judge import quoted
from proofmill.filters.new_problems import MAX_CONCEPTS, MAX_OPTIONS, MIN_OPTIONS

_MARK = re.compile(r"\{(problem|concepts|kind)\}")


@dataclass(frozen=True)
class Operator:
    """One way to make new problems.

    Attributes:
        name: in recipes, rows and funnels; its text is `prompts/NAME.txt`.
        means: what it makes, for the reference page.
        count: new problems of each seed; of a procedural operator, of each source.
        parents: seeds that one new problem is made of.
        keeps_text: most of a parent's words are meant to come again, so that only an exact repeat is one.
        from_concepts: it is shown the concepts of its seeds, not the seeds.
        from_failures: its seeds are drawn by how often they were failed in a published version.
        kinds: variants that its text names by `{kind}`, taken in turn.
        tests: it gives a programming problem more tests, and leaves its text; its seed is not sampled besides.
        levels: by how many levels of a procedural task's curriculum it moves; 0: a model writes the problems.
    """

    name: str
    means: str
    count: int = 1
    parents: int = 1
    keeps_text: bool = False
    from_concepts: bool = False
    from_failures: bool = False
    kinds: tuple[str, ...] = ("",)
    tests: bool = False
    levels: int = 0

    @property
    def reworded(self) -> bool:
        """Whether a model writes another text, which then must be looked at, compared and judged."""
        return not (self.tests or self.levels)

    @property
    def rewrites(self) -> bool:
        """Whether a text of its own is expected, so that one nearly like another is a repeat."""
        return self.reworded and not self.keeps_text


_FUSIONS = (
    "in parallel: both ask about the same situation, and the answer combines both results",
    "in sequence: the result of the first problem is a quantity that the second one needs",
    "by a condition: the result of the first problem decides which case of the second one holds",
)

_ALL = (
    Operator("similar", "a problem of the same kind and difficulty", count=10),
    Operator("inspired", "a problem that a seed inspires, freely", count=80),
    Operator("numbers", "the same problem with other numbers", count=2, keeps_text=True),
    Operator("scenario", "the same mathematics in another story", count=2),
    Operator("extra_premise", "one more condition, which changes the way to the answer", keeps_text=True),
    Operator("case_analysis", "a change after which several cases must be told apart", keeps_text=True),
    Operator("concepts", "a problem that needs concepts of two seeds", parents=2, from_concepts=True),
    Operator("fuse", "two seeds made one problem: parallel, sequential, conditional", 3, parents=2, kinds=_FUSIONS),
    Operator(
        "from_failures",
        "as concepts, of seeds drawn by their failure rate in a version",
        parents=2,
        from_concepts=True,
        from_failures=True,
    ),
    Operator("new_tests", "the same program with more tests, whose outputs proven programs agree on", tests=True),
    Operator("harder", "one level up in a procedural task's curriculum; no model", count=100, levels=1),
    Operator("easier", "one level down; no model", count=100, levels=-1),
)
OPERATORS: Mapping[str, Operator] = {operator.name: operator for operator in _ALL}


# --- the recipe's section ------------------------------------------------------------------------------------------


class ExpandStep(Section):
    """One operator on the seeds; a bare name is its operator."""

    operator: str = Field(description=f"one of: {', '.join(OPERATORS)}")
    count: int | None = Field(None, ge=1, description="new problems of each seed (of each source, where procedural)")
    seeds: int | None = Field(None, ge=1, description="seeds to draw by chance; None: all")
    failed_in: PinnedVersion | None = Field(
        None, description="NAME@vN whose pass rates say which seeds fail (`from_failures`)"
    )
    solved_in: PinnedVersion | None = Field(
        None, description="NAME@vN whose proven programs say what new tests expect (`new_tests`)"
    )
    prompt: str | None = Field(None, description="file with a text of your own in place of ours")
    temperature: float | None = Field(None, ge=0.0, description="None: that of the section")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"operator": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> ExpandStep:
        if self.operator not in OPERATORS:
            raise ValueError(f"no operator '{self.operator}'; there are: {', '.join(OPERATORS)}")
        if self.chosen.from_failures != (self.failed_in is not None):
            raise ValueError("failed_in: needed by from_failures, and by no other operator")
        if self.chosen.tests != (self.solved_in is not None):
            raise ValueError("solved_in: needed by new_tests, and by no other operator")
        if self.chosen.tests and self.each > 1:
            raise ValueError("count: a seed gets new tests once")
        if self.chosen.levels and (self.prompt or self.seeds or self.temperature is not None):
            raise ValueError(f"prompt, seeds, temperature: no model writes the problems of '{self.operator}'")
        return self

    @property
    def chosen(self) -> Operator:
        """The operator."""
        return OPERATORS[self.operator]

    @property
    def each(self) -> int:
        """New problems of each seed, or source."""
        return self.count or self.chosen.count


class ProblemJudge(ModelSection):
    """A model that is asked twice about each new problem: are its conditions sufficient and consistent?

    The second question asks for the opposite, so that a model which says yes to everything lets nothing through. Where
    neither `sampler` nor `model` is given, the model that writes the problems judges them.
    """

    temperature: float = Field(0.0, ge=0.0, description="sampling temperature of its answers")
    max_tokens: int = Field(64, ge=8, description="tokens of one answer, at most")


_BY_MODEL = Needs("a step whose problems a model writes", lambda section: section.by_model)


class ExpandOptions(ModelSection):
    """New problems from the seeds that the sources give; they have no gold answer, so pseudo-labels decide.

    Where neither `sampler` nor `model` is given, the first live sampler's model writes them. Whether a new problem's
    pass rate is of use is decided later, by `select.expanded_pass_rate`.
    """

    steps: tuple[ExpandStep, ...] = Field(
        min_length=1, description="operators with their options; a name: its defaults"
    )
    temperature: Annotated[float, _BY_MODEL] = Field(1.0, ge=0.0, description="sampling temperature")
    top_p: Annotated[float, _BY_MODEL] = Field(0.95, gt=0.0, le=1.0, description="nucleus sampling")
    max_tokens: Annotated[int, _BY_MODEL] = Field(
        512, ge=16, description="tokens of one new problem, at most; a longer text is `cut`"
    )
    extra: Annotated[dict[str, Any], _BY_MODEL] = Field({}, description="passed through to the engine, and recorded")
    structured: Annotated[bool, _BY_MODEL] = Field(
        True, description="ask the engine for JSON of a schema; false: JSON is looked for in what it writes"
    )
    max_total_tokens: Annotated[int | None, _BY_MODEL] = Field(
        None, ge=1, description="completion tokens of all questions of this section, at most; what doesn't fit is left"
    )
    min_novelty: Annotated[Share, _BY_MODEL] = Field(
        0.3, description="share of a problem's runs of five words that its parents don't have"
    )
    max_similarity: float = Field(
        0.8, gt=0.0, le=1.0, description="Jaccard similarity from which a problem repeats a seed or another new one"
    )
    against: tuple[PinnedVersion, ...] = Field((), description="published versions whose problems must not come again")
    judge: Annotated[ProblemJudge | None, _BY_MODEL] = Field(ProblemJudge(), description="null: nobody judges them")

    @field_validator("steps", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @model_validator(mode="after")
    def _tested_once(self) -> ExpandOptions:
        if sum(step.chosen.tests for step in self.steps) > 1:
            raise ValueError("steps: a seed gets new tests once; leave one step of new_tests")
        return self

    @property
    def by_model(self) -> bool:
        """Whether a model writes any of the problems."""
        return any(not step.chosen.levels for step in self.steps)


# --- what a model is asked -----------------------------------------------------------------------------------------

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"problem": {"type": "string"}},
    "required": ["problem"],
    "additionalProperties": False,
}
OPTIONS_SCHEMA: dict[str, Any] = PROBLEM_SCHEMA | {
    "properties": {
        "problem": {"type": "string"},
        "options": {"type": "array", "items": {"type": "string"}, "minItems": MIN_OPTIONS, "maxItems": MAX_OPTIONS},
    },
    "required": ["problem", "options"],
}
CONCEPTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"concepts": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_CONCEPTS}},
    "required": ["concepts"],
    "additionalProperties": False,
}


def prompt_text(name: str, own: str | None = None) -> str:
    """Return the text of an operator, of `name_concepts` or `with_options`: ours, or the user's own file.

    Raises:
        InputError: the file can't be read.
        RecipeError: it lacks the mark that the seeds would stand in.
    """
    if own is None:
        return (files(__package__) / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    where = f"recipe key problems.expand.steps, operator {name}"
    try:
        text = Path(own).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The prompt can't be read: {error}", where=where, remedy="correct `prompt`") from error
    mark = "{concepts}" if OPERATORS[name].from_concepts else "{problem}"
    if mark not in text:
        raise RecipeError(f"The prompt {own} has no {mark} in it.", where=where, remedy=f"write {mark} into it")
    return text


def for_domain(text: str, schema: dict[str, Any], domain: str) -> tuple[str, dict[str, Any]]:
    """Return the text of an operator and the schema of its answer for seeds of a domain."""
    if domain != "choice":
        return text, schema
    return f"{text.rstrip()}\n\n{prompt_text('with_options')}", OPTIONS_SCHEMA


def filled(text: str, *, problems: Sequence[str] = (), concepts: Sequence[str] = (), kind: str = "") -> str:
    """Return a prompt with its marks replaced once: what stands in a problem is no mark."""
    parts = [quoted(problem.strip()) for problem in problems]
    shown = parts[0] if len(parts) == 1 else "\n\n".join(f"PROBLEM {n}\n{part}" for n, part in enumerate(parts, 1))
    values = {"problem": shown, "kind": kind, "concepts": "\n".join(f"- {quoted(name)}" for name in concepts)}
    return _MARK.sub(lambda mark: values[mark[1]], text)


# --- procedural tasks ----------------------------------------------------------------------------------------------


def moved(task: str, args: Mapping[str, Any], levels: int) -> dict[str, Any] | None:
    """Return a task's parameters some levels up or down in its curriculum; None where it has no such level.

    Each attribute begins at the level of the source's own parameters, else at the lowest one of the curriculum.
    """
    library = scorers.library().factory
    if not library.has_curriculum(task):
        return None
    curriculum = library.create_curriculum(task)
    changed = dict(_changes(curriculum, args, levels))
    return dict(args) | changed if changed else None


def _changes(curriculum: Any, args: Mapping[str, Any], levels: int) -> Iterator[tuple[str, Any]]:
    for attribute in curriculum.attributes.values():
        # A range moves by its upper end: its lower end stays, so that a level holds those beneath it.
        name = getattr(attribute, "upper_field_name", None) or getattr(attribute, "field_name", None)
        known = list(attribute.levels)
        value = args.get(name, known[attribute.default_level]) if name else None
        if value not in known:
            continue
        place = known.index(value) + levels
        if 0 <= place < len(known) and known[place] != value:
            yield str(name), known[place]
