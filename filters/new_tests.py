"""More tests for a programming problem: inputs that a model's generator makes and its validator takes, and the outputs
that programs which passed the tests so far agree on.

Nothing that a model wrote is trusted: generator, validator and programs run in the jail, and only plain data comes out.
A wrong generator makes inputs that the validator refuses, or on which sound programs differ, and gives no test; a
validator that takes what the problem forbids is caught where programs differ on it, and only there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofmill.data.files import loads_exact
from proofmill.filters.domains import code
from proofmill.filters.sandbox import outputs
from proofmill.filters.sandbox.formats import BadTestError, read_suite
from proofmill.filters.sandbox.jail import Jail, Limits
from proofmill.filters.verification import problem_of

TRIED, KEPT = 40, 12  # inputs that are made, and tests that come of them at most
MIN_PROGRAMS, MAX_PROGRAMS = 2, 6
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
        setup: of the problem.
        limits: of one run.
    """

    function: str
    data: bool
    setup: str
    limits: Limits

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
        calls = [f"{self.function}({', '.join(map(repr, given))})" for given in inputs]
        own, called = self.setup, self.function
        return outputs.values(jail, program, calls, self.limits, setup=own, entry_point=called, as_json=self.data)

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
        limits, setup = code.limits_of(known.info), str(known.info.get("setup") or "")
    except BadTestError:
        return None
    if calls and (len(names) != 1 or not names[0].isidentifier() or names[0] == "Solution"):
        return None  # nothing says what is called, or how
    return TestForm(names[0] if calls else "", bool(suite.calls), setup, limits)


@dataclass(frozen=True, slots=True)
class MadeTests:
    """What came of a generator and its validator.

    Attributes:
        tests: new ones.
        detail: in words.
        inputs: that the validator took.
    """

    tests: tuple[Any, ...]
    detail: str
    inputs: int


def make(jail: Jail, form: TestForm, generator: str, validator: str, programs: Sequence[str]) -> MadeTests:
    """Return new tests of a problem.

    Args:
        jail: where all of it runs.
        form: how its tests are written.
        generator, validator: sources that a model wrote.
        programs: different ones that passed the problem's own tests.
    """
    made = outputs.values(jail, generator, [f"generate({seed})" for seed in range(TRIED)], GENERATOR_LIMITS)
    inputs = _different([given for given in made if _is_input(form, given)])
    taken = outputs.values(jail, validator, [f"valid({given!r})" for given in inputs], GENERATOR_LIMITS)
    inputs = [given for given, valid in zip(inputs, taken, strict=True) if valid is True]
    told = f"{len(inputs)} of {TRIED} inputs are new and valid"
    if not inputs:
        return MadeTests((), told, 0)
    by_program = [form.outputs(jail, program, inputs) for program in programs[:MAX_PROGRAMS]]
    agreed = [
        form.test(given, found[0])
        for given, found in zip(inputs, zip(*by_program, strict=True), strict=True)
        if _agree(found)
    ]
    return MadeTests(tuple(agreed[:KEPT]), f"{told}, and programs agree on {len(agreed)}", len(inputs))


def _is_input(form: TestForm, given: Any) -> bool:
    kind = list if form.function else str
    return isinstance(given, kind) and _is_short(given)


def _is_short(value: Any) -> bool:
    """Return whether a value is plain data of a size that a test may have."""
    try:
        return len(json.dumps(value, allow_nan=False)) <= _MAX_CHARACTERS
    except (TypeError, ValueError, RecursionError):
        return False


def _different(given: Sequence[Any]) -> list[Any]:
    return list({json.dumps(one): one for one in given}.values())


def _agree(found: Sequence[Any]) -> bool:
    """Return whether all programs gave one and the same output; one that failed agrees with nobody."""
    first, *others = found
    if any(output is outputs.NOTHING for output in found) or not others or not _is_short(first):
        return False
    return all(repr(output) == repr(first) for output in others)


def with_tests(info: str | None, tests: Sequence[Any]) -> dict[str, Any]:
    """Return what a problem needs to be judged, with more tests behind its own."""
    known: dict[str, Any] = loads_exact(info) if info else {}
    own = known.get("tests")
    if isinstance(own, str) and own.lstrip()[:1] in ("[", "{"):  # columns of data sets often hold lists as JSON
        with contextlib.suppress(ValueError):
            own = json.loads(own)
    listed = [] if own is None else list(own) if isinstance(own, list) else [own]
    return known | {"tests": [*listed, *tests]}
