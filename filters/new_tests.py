"""More tests for a programming problem: inputs that a model's generator makes and its validator takes, and the outputs
that programs which passed the tests so far agree on.

Nothing that a model wrote is trusted: generator, validator and programs run in the jail, and only plain data comes out.
A wrong generator makes inputs that the validator refuses, or on which sound programs differ, and gives no test; a
validator that takes what the problem forbids is caught where programs differ on it, and only there.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofmill.data.files import dumps_canonical, loads_exact
from proofmill.filters.domains import code
from proofmill.filters.sandbox import outputs
from proofmill.filters.sandbox.formats import BadTestError, callee, read_suite
from proofmill.filters.sandbox.jail import Jail, Limits
from proofmill.filters.sandbox.plan import Plan
from proofmill.filters.verification import problem_of

TRIED, KEPT = 40, 12  # inputs that are made, and tests that come of them at most
MIN_PROGRAMS, MAX_PROGRAMS = 3, 6  # that must agree, and that are asked; copies of each other count once
BAD_SETUP = "bad_setup"  # why there are no new tests
_MAX_CHARACTERS = 20_000  # of an input or output
GENERATOR_LIMITS = Limits(cpu_s=10.0, memory_mb=512.0)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"generator": {"type": "string"}, "validator": {"type": "string"}},
    "required": ["generator", "validator"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class TestForm:
    """How the tests of a problem are written.

    Attributes:
        function: the name that they call; empty: a program on standard input.
        data: whether they are calls as data, whose tuples count as lists; else they are assertions.
        setup: of a program on standard input.
        plan: of tests that call a function: programs find what they find where they are judged.
        limits: of one run.
    """

    function: str
    data: bool
    setup: str
    plan: Plan
    limits: Limits

    @property
    def in_json(self) -> bool:
        """Whether inputs and outputs stand in a test as data, not in a text of Python."""
        return self.data or not self.function

    @property
    def in_words(self) -> str:
        """What an input is, for the model."""
        if self.function:
            return f"a list of the arguments with which `{self.function}` is called, plain data alone"
        return "one string, the text that a solution reads from standard input"

    def outputs(self, jail: Jail, program: str, inputs: Sequence[Any]) -> list[Any]:
        """Return what a program makes of each input; `outputs.NOTHING` where it fails."""
        if not self.function:
            return outputs.printed(jail, program, inputs, self.limits, setup=self.setup)
        calls = [f"{callee(self.function)}({', '.join(map(repr, given))})" for given in inputs]
        return outputs.values(jail, program, calls, self.limits, self.plan, as_json=self.data)

    def test(self, given: Any, output: Any) -> Any:
        """Return a test as a row of a problem has it."""
        if not self.function:
            return {"input": given, "output": output}
        if self.data:
            return {"input": given, "output": output, "fn_name": self.function}
        return f"assert {self.function}({', '.join(map(repr, given))}) == {output!r}"


def form_of(problem: Mapping[str, Any]) -> TestForm | None:
    """Return how a problem is tested (a row of schema PROBLEMS); None where no test can be made for it."""
    known = problem_of(problem)
    try:
        suite = read_suite(known.info)
        python = code.language(known) == "python"
        calls = bool(suite.calls or suite.sources or suite.text.strip())
        if not python or (calls and suite.programs):
            return None
        names = code.asked_names(known) if calls else ()
        planned = code.plan_of(known, suite) if calls else outputs.NO_PLAN
        limits, setup = code.limits_of(known.info), str(known.info.get("setup") or "").replace("\r\n", "\n")
    except BadTestError:
        return None
    if calls and (len(names) != 1 or not names[0].isidentifier() or names[0] == "Solution"):
        return None  # nothing says what is called, or how
    return TestForm(names[0] if calls else "", bool(suite.calls), setup, planned, limits)


@dataclass(frozen=True, slots=True)
class MadeTests:
    """What came of a generator and its validator.

    Attributes:
        tests: new ones.
        reason: why there are none, of `EXPANSION_REASONS`.
        detail: in words.
    """

    tests: tuple[Any, ...] = ()
    reason: str | None = None
    detail: str | None = None


def make(jail: Jail, form: TestForm, generator: str, validator: str, programs: Sequence[str]) -> MadeTests:
    """Return new tests of a problem.

    Args:
        jail: where all of it runs.
        form: how its tests are written.
        generator, validator: sources that a model wrote.
        programs: that passed the problem's own tests.
    """
    try:
        different = _different(jail, programs)
        if len(different) < MIN_PROGRAMS:
            detail = f"{len(different)} of {len(programs)} programs differ, and {MIN_PROGRAMS} are needed"
            return MadeTests((), "programs_alike", detail)
        return _make(jail, form, generator, validator, different[:MAX_PROGRAMS])
    except BadTestError as error:
        return MadeTests((), BAD_SETUP, str(error))


def _different(jail: Jail, programs: Sequence[str]) -> list[str]:
    """Return the programs that are no copies of one before them, by their outlines."""
    by_outline: dict[str, str] = {}
    for program, outline in zip(programs, outputs.outlines(jail, programs), strict=True):
        if outline is not None:
            by_outline.setdefault(outline, program)
    return list(by_outline.values())


def _make(jail: Jail, form: TestForm, generator: str, validator: str, programs: Sequence[str]) -> MadeTests:
    generated = outputs.values(jail, generator, [f"generate({seed})" for seed in range(TRIED)], GENERATOR_LIMITS)
    inputs = list({repr(given): given for given in generated if _is_input(form, given)}.values())
    verdicts = outputs.values(jail, validator, [f"valid({given!r})" for given in inputs], GENERATOR_LIMITS)
    inputs = [given for given, valid in zip(inputs, verdicts, strict=True) if valid is True]
    valid = f"{len(inputs)} of {TRIED} inputs are new and valid"
    if not inputs:
        return MadeTests((), "no_inputs", valid)
    tests: list[Any] = []
    tried = 0
    while inputs[tried:] and len(tests) < KEPT:  # not all at once: often the first inputs are enough
        part = inputs[tried : tried + KEPT]
        tests += [form.test(given, output) for given, output in _agreed(jail, form, part, programs)]
        tried += len(part)
    detail = f"{valid}, {len(programs)} programs agree on {len(tests)} of {tried}"
    return MadeTests(tuple(tests[:KEPT]), None if tests else "programs_differ", detail)


def _agreed(jail: Jail, form: TestForm, inputs: Sequence[Any], programs: Sequence[str]) -> list[tuple[Any, Any]]:
    """Return inputs and their outputs where all programs have the same one; one that failed agrees with nobody."""
    first, *others = programs
    pairs = [
        (given, output)
        for given, output in zip(inputs, form.outputs(jail, first, inputs), strict=True)
        if _is_plain(output, in_json=form.in_json)
    ]
    for program in others:
        found = form.outputs(jail, program, [given for given, _ in pairs]) if pairs else []
        pairs = [
            pair
            for pair, output in zip(pairs, found, strict=True)
            if _is_plain(output, in_json=form.in_json) and repr(output) == repr(pair[1])
        ]
    return pairs


def _is_input(form: TestForm, given: Any) -> bool:
    return isinstance(given, list if form.function else str) and _is_plain(given, in_json=form.in_json)


def _is_plain(value: Any, *, in_json: bool) -> bool:
    """Return whether a value has a size that a test may have, and is the same once it is read from where it is written.

    Args:
        value: what a model's code made.
        in_json: written as JSON; else in a text of Python.
    """
    try:
        written = dumps_canonical(value) if in_json else repr(value)
        if len(written) > _MAX_CHARACTERS:
            return False
        return bool((loads_exact(written) if in_json else ast.literal_eval(str(written))) == value)
    # text with half a surrogate pair, keys that can't be put in order, integers of too many digits, objects
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def with_tests(info: str | None, tests: Sequence[Any]) -> dict[str, Any]:
    """Return what a problem needs to be judged, with more tests behind its own."""
    known: dict[str, Any] = loads_exact(info) if info else {}
    own = known.get("tests")
    if isinstance(own, str) and own.lstrip()[:1] in ("[", "{"):  # columns of data sets often hold lists as JSON
        with contextlib.suppress(ValueError):
            own = json.loads(own)
    listed = [] if own is None else list(own) if isinstance(own, list) else [own]
    return known | {"tests": [*listed, *tests]}
