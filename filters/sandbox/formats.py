"""Reads the tests of a problem, in every format that data sets use, into one `Suite`; drops nothing silently.

| written as | read as |
| --- | --- |
| list of assert strings; one string of Python | sources, each run as one test |
| text in JSON | what the JSON says, by the same rules |
| `{"input", "output"}` mappings in a list | programs on standard input; calls where the problem names a function |
| `{"inputs": […], "outputs": […]}`, with or without `fn_name` (APPS, TACO) | calls of that function; else programs |
| `testtype` in a mapping (LiveCodeBench) | `functional`: arguments as JSON, one a line; `stdin`: a program |
| `test`, a text of the data set's own | `check(candidate)`, test functions, test classes, bare assertions |
| several of them | all of them, one after another |

Anything else (an unknown key, a missing output, a value that is no test, tests that assert nothing) raises
`BadTestError` and says what.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proofmill.filters.sandbox.syntax import syntax_tree

MAX_TEST_CHARS = (2 << 20) - 1  # of one text of Python: as a tree it takes hundreds of times as much
_INPUT, _OUTPUT = "input", "output"
_KNOWN_KEYS = frozenset({_INPUT, _OUTPUT, "testtype", "type", "fn_name", "func_name", "explanation", "name", "weight"})
_SUITE_KEYS = frozenset({"inputs", "outputs", "fn_name", "func_name"})


class BadTestError(ValueError):
    """A test of the problem can't be read: the problem's fault, never the trace's."""


@dataclass(frozen=True)
class CallTest:
    """One call of the function under test with plain data.

    Attributes:
        arguments: positional arguments.
        expected: what it must return, as JSON has it: a tuple counts as the list that it would be written as.
        wrapped: the one item of `expected`, which the judge of APPS takes as well; None where there is none.
    """

    arguments: tuple[Any, ...]
    expected: Any
    wrapped: Any = None


@dataclass(frozen=True)
class Suite:
    """The tests of one problem.

    Attributes:
        format: the formats found, joined by `+`, for counts by format.
        programs: (input, output) of programs on standard input.
        calls: calls of `function`.
        sources: texts of Python, each one test.
        text: the data set's own test text.
        function: what `calls` call.
        entry_point: what `candidate` stands for; empty where the problem doesn't say.
    """

    format: str
    programs: tuple[tuple[str, str], ...] = ()
    calls: tuple[CallTest, ...] = ()
    sources: tuple[str, ...] = ()
    text: str = ""
    function: str = ""
    entry_point: str = ""

    def __hash__(self) -> int:
        return hash((self.sources, self.text, self.function, self.entry_point, len(self.programs), len(self.calls)))


@dataclass
class _Reader:
    function: str
    programs: list[tuple[str, str]] = field(default_factory=list)
    calls: list[CallTest] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    formats: dict[str, None] = field(default_factory=dict)

    def read(self, tests: Any) -> None:
        """Sort out `tests`, whatever they are."""
        if isinstance(tests, str):
            self._string(tests)
        elif isinstance(tests, Mapping):
            self._mapping(tests)
        elif isinstance(tests, Sequence):
            for item in tests:
                self._item(item)
        else:
            raise BadTestError(f"tests are {type(tests).__name__}, neither a list nor text nor a mapping")

    def _string(self, text: str) -> None:
        stripped = text.strip()
        if stripped[:1] in ("[", "{"):
            try:
                decoded = json.loads(stripped)
            except (ValueError, RecursionError):
                decoded = None
            if isinstance(decoded, list | dict):
                self.formats["json"] = None
                return self.read(decoded)
        return self._source(text)

    def _source(self, text: str) -> None:
        source = text.replace("\r\n", "\n").strip()
        if not asserts_something(source):
            raise BadTestError(f"a test asserts nothing: {source[:60]!a}")
        self.formats["asserts"] = None
        self.sources.append(source)

    def _item(self, item: Any) -> None:
        if isinstance(item, str):
            self._source(item)
        elif isinstance(item, Mapping):
            self._mapping(item)
        elif isinstance(item, list | tuple) and item and all(isinstance(part, str) for part in item):
            for part in item:
                self._source(part)
        else:
            raise BadTestError(f"a test is {ascii(item)[:60]}, neither text nor a mapping of input and output")

    def _mapping(self, test: Mapping[str, Any]) -> None:
        if "inputs" in test or "outputs" in test:
            return self._columns(test)
        unknown = sorted(str(key) for key in test.keys() - _KNOWN_KEYS)
        if unknown or _INPUT not in test or test.get(_OUTPUT) is None:
            what = f"unknown key {unknown[0]!a}" if unknown else "no input" if _INPUT not in test else "no output"
            raise BadTestError(f"a test has {what}: name them 'input' and 'output'")
        kind = str(test.get("testtype") or test.get("type") or "")
        function = str(test.get("fn_name") or test.get("func_name") or "")
        if function:
            self._named(function)
        if kind == "functional" or (self.function and kind in ("", "function_call", "call")):
            return self._call(test[_INPUT], test[_OUTPUT], functional=kind == "functional")
        self.formats["input/output"] = None
        self.programs.append((lines(test[_INPUT]), lines(test[_OUTPUT])))
        return None

    def _named(self, function: str) -> None:
        if self.function not in ("", function):
            raise BadTestError(f"tests call two functions, {self.function} and {function}")
        self.function = function

    def _columns(self, tests: Mapping[str, Any]) -> None:
        inputs, outputs = tests.get("inputs"), tests.get("outputs")
        unknown = sorted(str(key) for key in tests.keys() - _SUITE_KEYS)
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or unknown:
            uneven = "'inputs' and 'outputs' that are not two lists of one length"
            raise BadTestError(f"tests have {f'unknown key {unknown[0]!a}' if unknown else uneven}")
        function = str(tests.get("fn_name") or tests.get("func_name") or "")
        if function:
            self._named(function)
        for given, wanted in zip(inputs, outputs, strict=True):
            if self.function:
                only = wanted[0] if isinstance(wanted, list) and len(wanted) == 1 else wanted
                self._call(given, wanted, functional=False)
                self.calls[-1] = replace(self.calls[-1], wrapped=only if only is not wanted else None)
            elif wanted is None:
                raise BadTestError("a test has no output")
            else:
                self.formats["inputs/outputs"] = None
                self.programs.append((lines(given), lines(wanted)))

    def _call(self, given: Any, wanted: Any, *, functional: bool) -> None:
        self.formats["functional" if functional else "calls"] = None
        if isinstance(given, str) and (functional or _all_json(given)):
            given = [_json(line) for line in given.split("\n") if line.strip()]
            wanted = _json(wanted) if isinstance(wanted, str) else wanted
        arguments = tuple(given) if isinstance(given, list | tuple) else (given,)
        self.calls.append(CallTest(arguments, wanted))


def _all_json(text: str) -> bool:
    """Whether every line is a value in JSON that is no bare word: arguments as LiveCodeBench writes them."""
    try:
        return all(json.loads(line) is not None for line in text.split("\n") if line.strip())
    except (ValueError, RecursionError):
        return False


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def lines(value: object) -> str:
    """An input or output as text; a list of lines is joined."""
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return str(value)


def read_suite(info: Mapping[str, Any]) -> Suite:
    """The tests of a problem.

    Args:
        info: a row's own fields: `tests`, `input_output`, `test`, `entry_point`, `fn_name`.

    Raises:
        BadTestError: there are none, or one can't be read.
    """
    entry = str(info.get("entry_point") or "").strip()
    text = str(info.get("test") or "").replace("\r\n", "\n")
    reader = _Reader(_function(info))
    for key in ("tests", "input_output"):
        if info.get(key) is not None and info.get(key) != [] and info.get(key) != "":
            reader.read(info[key])
    if text.strip():
        if not asserts_something(text):
            raise BadTestError("the test text asserts nothing")
        reader.formats["test text"] = None
    suite = Suite(
        "+".join(reader.formats), tuple(reader.programs), tuple(reader.calls), tuple(reader.sources), text,
        reader.function, entry,
    )  # fmt: skip
    if not (suite.programs or suite.calls or suite.sources or text.strip()):
        raise BadTestError("the problem has no tests")
    return suite


def _function(info: Mapping[str, Any]) -> str:
    metadata = info.get("metadata")
    named = _json(metadata) if isinstance(metadata, str) else metadata
    named = named if isinstance(named, Mapping) else {}
    return str(info.get("fn_name") or info.get("func_name") or named.get("func_name") or named.get("fn_name") or "")


@functools.lru_cache(maxsize=512)
def asserts_something(source: str) -> bool:
    """Whether a text of tests can fail at all: it has an assertion, or calls what asserts.

    Raises:
        BadTestError: it is no Python, or too large.
    """
    if len(source) > MAX_TEST_CHARS:
        raise BadTestError("the tests are larger than 2 MiB")
    try:
        nodes = list(ast.walk(syntax_tree(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestError(f"{type(error).__name__}: {str(error)[:200]}") from error
    return any(isinstance(node, ast.Assert | ast.Raise) or _asserting_call(node) for node in nodes)


def _asserting_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name.startswith(("assert", "fail", "raises", "check_", "verify", "expect")) or name in ("raises", "exit")
