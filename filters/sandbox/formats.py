"""Reads the tests of a problem, in every format that data sets use, into one `ProblemTests`; drops nothing silently.

| written as | read as |
| --- | --- |
| list of assert strings; one string of Python | sources, each run as one test |
| text in JSON | what the JSON says, by the same rules |
| `{"input", "output"}` mappings in a list | programs on standard input; calls where the problem names a function |
| `{"inputs": […], "outputs": […]}`, with or without `fn_name` (APPS, TACO) | calls of that function; else programs |
| `testtype` in a mapping (LiveCodeBench) | `functional`: arguments as JSON, one a line; `stdin`: a program |
| `test`, a text of the data set's own | `check(candidate)`, test functions, test classes, bare assertions |
| several of them | all of them, one after another |

Anything else (an unknown key, a missing output, a value that is not a test, tests that assert nothing) raises
`BadTestError` and says what.

Where an assertion has a literal on one side, or a call has data for its result, the test is a `LiteralCheck`: what is
asked of the solution, and what the answer must be. It needs one jail only: the call is evaluated inside, the typed
answer is compared outside.
"""

from __future__ import annotations

import ast
import builtins
import functools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from proofmill.filters.sandbox import wire

MAX_TEST_CHARS = (2 << 20) - 1  # of one text of Python: as a tree it takes hundreds of times as much
SOLUTION_MODULES = frozenset({"solution", "main", "your_module", "solutions", "answer"})
_INPUT, _OUTPUT = "input", "output"
_KNOWN_KEYS = frozenset(
    {_INPUT, _OUTPUT, "testtype", "type", "fn_name", "func_name", "metadata", "explanation", "name", "weight"}
)
_SUITE_KEYS = frozenset({"inputs", "outputs", "fn_name", "func_name"})


_IMPORT = re.compile(r"^[ \t]{0,40}(?:import|from)[ \t]{1,9}([A-Za-z]\w{0,60})", re.MULTILINE)
_NO_PACKAGES = sys.stdlib_module_names | SOLUTION_MODULES
_LISTED = 8  # formats or packages by name


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
class ProblemTests:
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
class _SuiteReader:
    function: str
    programs: list[tuple[str, str]] = field(default_factory=list)
    calls: list[CallTest] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    formats: dict[str, None] = field(default_factory=dict)

    def read(self, tests: Any) -> None:
        """Read `tests`, whatever their type."""
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
        # Columns of data sets often hold lists as JSON text. Other text falls through and is read as Python.
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
        if function := _function(test):
            self._named(function)
        # LiveCodeBench says `functional` and may leave the function's name to the row's metadata.
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
                # APPS wraps some results in a list of one, and its own judge takes both.
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
            # One argument a line, as LiveCodeBench writes them.
            given = [_json(line) for line in given.split("\n") if line.strip()]
            wanted = _json(wanted) if isinstance(wanted, str) else wanted
        arguments = tuple(given) if isinstance(given, list | tuple) else (given,)
        self.calls.append(CallTest(arguments, wanted))


def _all_json(text: str) -> bool:
    """Return whether every line is a value in JSON and not a bare word: arguments as LiveCodeBench writes them."""
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
    """Return an input or output as text; a list of lines is joined."""
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return str(value)


def read_suite(info: Mapping[str, Any]) -> ProblemTests:
    """Return the tests of a problem.

    Args:
        info: a row's own fields: `tests`, `input_output`, `test`, `entry_point`, `fn_name`.

    Raises:
        BadTestError: there are none, or one can't be read.
    """
    entry = str(info.get("entry_point") or "").strip()
    text = str(info.get("test") or "").replace("\r\n", "\n")
    reader = _SuiteReader(_function(info))
    for key in ("tests", "input_output"):
        if info.get(key) is not None and info.get(key) != [] and info.get(key) != "":
            reader.read(info[key])
    if text.strip():
        if not asserts_something(text):
            raise BadTestError("the test text asserts nothing")
        reader.formats["test text"] = None
    suite = ProblemTests(
        "+".join(reader.formats), tuple(reader.programs), tuple(reader.calls), tuple(reader.sources), text,
        reader.function, entry,
    )  # fmt: skip
    if not (suite.programs or suite.calls or suite.sources or text.strip()):
        raise BadTestError("the problem has no tests")
    return suite


@dataclass
class SuiteCensus:
    """The tests of many problems, counted.

    Attributes:
        formats: rows by format of their tests; `bad_tests` where these can't be read.
        packages: rows by package beyond the standard library that tests, setup or the program at hand import.
    """

    formats: Counter[str] = field(default_factory=Counter)
    packages: Counter[str] = field(default_factory=Counter)

    def add(self, info: Mapping[str, Any], program: str = "") -> None:
        """Count one row: a problem's own fields, and a program where there is one."""
        texts = [str(info.get("setup") or ""), program]
        try:
            suite = read_suite(info)
            self.formats[suite.format] += 1
            texts += [*suite.sources, suite.text]
        except BadTestError:
            self.formats["bad_tests"] += 1
        self.packages.update({name for text in texts for name in _IMPORT.findall(text)} - _NO_PACKAGES)

    def lines(self, shown: Iterable[str]) -> Iterator[str]:
        """Yield the counts in plain lines.

        Args:
            shown: packages that the jail shows.
        """
        if self.formats:
            yield "code tests by format: " + _listed(self.formats)
        if absent := Counter({name: rows for name, rows in self.packages.items() if name not in set(shown)}):
            names = ", ".join(name for name, _ in absent.most_common(_LISTED))
            yield f"code rows import {_listed(absent)}: add to verify.jail.packages: [{names}]"


def _listed(counts: Counter[str]) -> str:
    more = [f"{len(counts) - _LISTED} more"] if len(counts) > _LISTED else []
    return ", ".join([*(f"{name} {rows:,}" for name, rows in counts.most_common(_LISTED)), *more])


def _function(info: Mapping[str, Any]) -> str:
    metadata = info.get("metadata")
    named = _json(metadata) if isinstance(metadata, str) else metadata
    named = named if isinstance(named, Mapping) else {}
    return str(info.get("fn_name") or info.get("func_name") or named.get("func_name") or named.get("fn_name") or "")


@functools.lru_cache(maxsize=512)
def asserts_something(source: str) -> bool:
    """Return whether a text of tests can fail at all: it has an assertion, or calls what asserts.

    Raises:
        BadTestError: it is not Python, or too large.
    """
    if len(source) > MAX_TEST_CHARS:
        raise BadTestError("the tests are larger than 2 MiB")
    try:
        nodes = ast.walk(syntax_tree(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestError(f"{type(error).__name__}: {str(error)[:200]}") from error
    # Methods of unittest, numpy.testing and pytest by the beginnings of their names; too many are better than a valid
    # test refused.
    return any(isinstance(node, ast.Assert | ast.Raise) or _asserting_call(node) for node in nodes)


def _asserting_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name.startswith(("assert", "fail", "raises", "check_", "verify", "expect")) or name in ("raises", "exit")


_ONE = Lock()


def syntax_tree(source: str) -> ast.Module:
    """Return the syntax tree of a module.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse`.
    """
    with _ONE:
        return ast.parse(source)


_SINGLETONS = (None, True, False)
BUILTIN_NAMES = frozenset(dir(builtins))


@dataclass(frozen=True)
class LiteralCheck:
    """One assertion whose expected value is a literal.

    Attributes:
        source: the expression evaluated in the solution's jail.
        asked: the name of the solution that it starts from.
        relation: `==`, `is`, `near`, `true`, `false`, or `json` (a tuple counts as a list).
        expected: the literal for `==`, `is` and `json`; (value, distance, whether it may be reached) for `near`.
        wrapped: another value that `json` takes; None where there is none.
        tolerance: relative, of floats.
    """

    source: str
    asked: str
    relation: str
    expected: Any = None
    wrapped: Any = None
    tolerance: float = wire.FLOAT_TOLERANCE

    def with_tolerance(self, tolerance: float | None) -> LiteralCheck:
        """Return the same check with another tolerance for floats; None leaves it."""
        return self if tolerance is None else replace(self, tolerance=tolerance)

    def holds(self, node: wire.Node) -> bool | None:
        """Return whether the encoded answer satisfies the assertion; a malformed one satisfies none.

        Returns:
            None where the answer is not plain data: only in its own process Python could say.
        """
        try:
            return self._holds(node)
        except wire.NotPlainError:
            return None
        except wire.MALFORMED:
            return False

    def _holds(self, node: wire.Node) -> bool:
        if self.relation == "==":
            return wire.matches(self.expected, node, self.tolerance)
        if self.relation == "json":
            node = wire.as_json(node)
            wrapped = self.wrapped is not None and wire.matches(self.wrapped, node, self.tolerance)
            return wrapped or wire.matches(self.expected, node, self.tolerance)
        if self.relation == "is":
            return type(node) is type(self.expected) and node == self.expected
        if self.relation == "near":
            return wire.is_near(node, *self.expected)
        return wire.truth(node) is (self.relation == "true")


def of_call(call: CallTest, suite: ProblemTests) -> LiteralCheck:
    """Return the check of a call with plain data, as the judges of APPS and LiveCodeBench make it."""
    arguments = ", ".join(map(repr, call.arguments))
    function = suite.entry_point or suite.function
    return LiteralCheck(f"{callee(function)}({arguments})", function, "json", call.expected, call.wrapped)


def callee(function: str) -> str:
    """Return what a function under test is called by: a bare name may also be a method of `Solution`."""
    if not function.isidentifier():
        return function
    return f"(Solution().{function} if 'Solution' in globals() and {function!r} not in globals() else {function})"


def root(node: ast.expr) -> str | None:
    """Return the name that a chain of calls, attributes and indices starts from."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def sides(node: ast.expr) -> tuple[ast.expr, ast.expr | None]:
    """Return the two sides of a comparison; right is None where the expression is not one."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return node.left, node.comparators[0]
    return node, None


def read_check(test: ast.expr, asked: frozenset[str], entry_point: str = "") -> LiteralCheck | None:
    """Return the single-jail form of what is asserted, or None where it has none.

    Args:
        test: the asserted expression.
        asked: names that are the solution's; only what starts from one is asked of it.
        entry_point: how the data set calls what is under test.
    """
    left, right = sides(test)
    reader = _CheckReader(asked, entry_point)
    if right is None:
        negated = isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.Not)
        expression = left.operand if isinstance(left, ast.UnaryOp) and negated else left
        return reader.ask(expression, "false" if negated else "true")
    operator = test.ops[0] if isinstance(test, ast.Compare) else None
    if isinstance(operator, ast.Eq):
        return reader.equality(left, right) or reader.equality(right, left)
    if isinstance(operator, ast.Is) and isinstance(right, ast.Constant) and right.value in _SINGLETONS:
        return reader.ask(left, "is", right.value)
    if isinstance(operator, ast.Lt | ast.LtE) and "abs" not in asked:
        return reader.distance(left, right, closed=isinstance(operator, ast.LtE))
    return None


def _literal(node: ast.expr) -> tuple[bool, Any]:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return False, None
    return value is not ..., value


class _CheckReader:
    def __init__(self, asked: frozenset[str], entry_point: str) -> None:
        self._asked = asked
        self._entry_point = entry_point.replace(" ", "")

    def equality(self, asked: ast.expr, literal: ast.expr) -> LiteralCheck | None:
        known, expected = _literal(literal)
        return self.ask(asked, "==", expected) if known else None

    def distance(self, left: ast.expr, bound: ast.expr, *, closed: bool) -> LiteralCheck | None:
        """Return the check of `abs(CALL - LITERAL) < LITERAL`, or None."""
        match left:
            case ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=asked, op=ast.Sub(), right=literal)]):
                (known, value), (bounded, distance) = _literal(literal), _literal(bound)
                if known and bounded and all(isinstance(n, int | float) for n in (value, distance)):
                    return self.ask(asked, "near", (value, distance, closed))
        return None

    def ask(self, node: ast.expr, relation: str, expected: Any = None) -> LiteralCheck | None:
        """Return the check, or None; None too for a method of an answer, which would be shown what is expected."""
        start = root(node)
        if start is None or start not in self._asked or isinstance(node, ast.Name):
            return None
        part: ast.expr = node
        while isinstance(part, ast.Subscript) and relation in ("==", "near"):
            part = part.value
        if not isinstance(part, ast.Call):
            return None
        if not isinstance(part.func, ast.Name) and ast.unparse(part.func).replace(" ", "") != self._entry_point:
            return None
        return LiteralCheck(ast.unparse(node), start, relation, expected)


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id != self._old:
            return node
        return ast.copy_location(ast.parse(self._new, mode="eval").body, node)


def renamed(node: ast.expr, old: str, expression: str) -> Any:
    """Return the expression, changed in place, with `expression` for every `old`."""
    if not expression.isidentifier():
        return _Rename(old, expression).visit(node)
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id == old:
            part.id = expression
    return node


def read_function(text: str, entry_point: str) -> list[LiteralCheck] | None:
    """Return the checks of a test text that is no more than `def check(candidate)` with simple assertions.

    Returns:
        None where the text does anything else: then it has to be run.
    """
    functions: list[ast.FunctionDef] = []
    for node in syntax_tree(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1:
            functions.append(node)
        elif not _harmless(node):
            return None
    if len(functions) != 1 or functions[0].decorator_list or not entry_point:
        return None
    name = functions[0].args.args[0].arg
    start = root(ast.parse(entry_point, mode="eval").body)
    found: list[LiteralCheck] = []
    for node in functions[0].body:
        if _harmless(node) or (isinstance(node, ast.Assert) and _always_true(node.test)):
            continue
        if start is None or not isinstance(node, ast.Assert) or not _names(node.test) <= BUILTIN_NAMES | {name}:
            return None
        check = read_check(renamed(node.test, name, entry_point), frozenset({start}), entry_point)
        if check is None:
            return None
        found.append(check)
    return found or None


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _always_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and bool(node.value)


def _harmless(node: ast.stmt) -> bool:
    """Return whether a statement does nothing: a docstring, `pass`, or a literal whose name nothing else reads."""
    if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return True
    return isinstance(node, ast.Assign) and _literal(node.value)[0]
