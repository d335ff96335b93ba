"""Decides how the tests of a problem are run: what their names mean, and what can be compared outside.

Tests come with a data set: they are parsed here, never run here. Where every assertion is of the form
`assert CALL == LITERAL` (or bare, `not`, `is None`, `abs(CALL - LITERAL) < LITERAL`), no expected value enters a
jail: the calls are evaluated inside, and the typed answers are compared outside. Everything else is run.

A name that tests use and do not define belongs, in this order, to setup (or to the code of the prompt), to the
solution where it is the entry point, is imported from it or is named by the prompt, to the standard prelude. Where
nothing says which of several names is under test, the problem is at fault.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proofmill.filters.sandbox import extract, formats
from proofmill.filters.sandbox.formats import SOLUTION_MODULES, BadTestError, LiteralCheck, ProblemTests, syntax_tree

_IDENTITY = frozenset(
    {"id", "type", "isinstance", "issubclass", "callable", "hasattr", "getattr", "repr", "str", "dir"}
)
_FENCED = re.compile(
    r"^```[ \t]{0,4}(?:python3?|py)?[ \t]{0,4}\n(.{0,100000}?)^```", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_MEMBERS: Mapping[str, str] = {
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple",
    "datetime": "date timedelta",
    "decimal": "Decimal getcontext",
    "fractions": "Fraction",
    "functools": "cache cached_property cmp_to_key lru_cache partial reduce wraps",
    "heapq": "heapify heappop heappush heappushpop heapreplace nlargest nsmallest",
    "io": "BytesIO StringIO",
    "itertools": "accumulate chain combinations combinations_with_replacement compress count cycle dropwhile groupby "
    "islice pairwise permutations product repeat starmap takewhile zip_longest",
    "math": "acos asin atan atan2 ceil comb cos degrees dist e exp fabs factorial floor fmod gcd hypot inf isclose "
    "isinf isnan isqrt lcm log log10 log2 nan perm pi pow prod radians sin sqrt tan tau trunc",
    "operator": "add and_ itemgetter mul or_ sub xor",
    "random": "choice randint randrange sample shuffle",
    "statistics": "mean median stdev",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits punctuation",
    "typing": "Any Callable Deque DefaultDict Dict FrozenSet Generator Generic Iterable Iterator List Mapping "
    "NamedTuple Optional Sequence Set Tuple Type TypeVar Union",
    "array": "array",
    "dataclasses": "dataclass",
    "enum": "Enum IntEnum",
    "pathlib": "Path",
    "queue": "Queue",
    "threading": "Lock Thread",
    "types": "SimpleNamespace",
    "unittest": "TestCase",
    "uuid": "UUID",
    "unittest.mock": "MagicMock Mock call mock_open patch",
}
_ALIASES = {
    "np": ("numpy", ""), "pd": ("pandas", ""), "plt": ("matplotlib.pyplot", ""), "sns": ("seaborn", ""),
    "nx": ("networkx", ""), "tf": ("tensorflow", ""), "sp": ("sympy", ""), "mock": ("unittest.mock", ""),
    "Image": ("PIL.Image", ""), "dt": ("datetime", ""),
}  # fmt: skip
_ALIASES |= {
    name: (name, "") for name in ("numpy", "pandas", "pytest", "sympy", "scipy", "torch", "networkx", "sklearn")
}
PRELUDE: Mapping[str, tuple[str, str]] = {
    **_ALIASES,
    **{name: (module, name) for module, names in _MEMBERS.items() for name in names.split()},
}
"""What judges of LeetCode-like and contest sets import for both sides: name to (module, member)."""
_MODULES = frozenset(
    {"bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "io", "itertools"}
    | {"json", "math", "operator", "os", "random", "re", "statistics", "string", "sys", "time", "typing", "unittest"}
    | {"tempfile", "shutil", "asyncio", "inspect", "pathlib", "cmath", "contextlib", "threading"}
)

# modules that compute and do no more: with others, tests may see what a solution does to files, streams and clocks
_PURE = frozenset(
    {"array", "base64", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"}
    | {"fractions", "functools", "hashlib", "heapq", "itertools", "json", "math", "numbers", "numpy", "operator"}
    | {"random", "re", "statistics", "string", "typing", "unittest"}
)

# of tasks about other processes or the network, which the jail allows nobody
_OUTWARD = frozenset(
    {"subprocess", "socket", "multiprocessing", "urllib", "requests", "http", "ssl", "smtplib", "ftplib", "process"}
    | {"processes", "network", "server", "command", "shell", "url", "URL", "IP", "hostname"}
)


@functools.lru_cache(maxsize=16)
def _tree_of(source: str) -> ast.Module:
    """Return the tree of a trusted source, parsed once for all who only read it."""
    return syntax_tree(source)


@dataclass(frozen=True)
class Plan:
    """How the tests of one problem are run.

    Attributes:
        suite: the tests.
        setup: what runs before the solution: the problem's own setup, or the code of its prompt.
        checks: one for every test, where all of them can be compared outside; else empty.
        asked: names of the solution that tests may ask.
        library: names that tests leave to the standard prelude: (module, member).
        given: names that setup binds.
        texts: the sources of the tests.
        prompt: of the problem.
        prelude: the solution may use the prelude too, as the judges of such sets let it.
    """

    suite: ProblemTests
    setup: str
    checks: tuple[LiteralCheck, ...] = ()
    asked: frozenset[str] = frozenset()
    library: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    prompt: str = ""
    prelude: bool = False

    @functools.cached_property
    def _nodes(self) -> list[list[ast.AST]]:
        """All nodes of the tests' texts and of setup, by text; walked where a test has to be run."""
        return [list(ast.walk(_tree_of(text))) for text in (*self.texts, self.setup)]

    @functools.cached_property
    def imports(self) -> tuple[str, ...]:
        """Modules that tests and setup import."""
        return _imports(self._nodes)

    @functools.cached_property
    def named(self) -> frozenset[str]:
        """Every name in tests, setup and prompt: classes among them are what is under test."""
        return _all_names(self._nodes) | _words(self.prompt)

    @functools.cached_property
    def total(self) -> int:
        """Tests, counted where they can't all be reached."""
        return len(self.suite.sources) + len(self.suite.calls) + _assertions(self.suite.text)

    @functools.cached_property
    def shares_process(self) -> bool:
        """Whether tests ask for identity or types, or touch files, streams or mocks: two jails can't show it."""
        return _looks_at_identity(self._nodes[:-1]) or _touches_surroundings(self.imports)

    @property
    def outward(self) -> bool:
        """Whether the task is about processes or the network, by the words of its tests and its prompt."""
        return not _OUTWARD.isdisjoint(self.named)


@functools.lru_cache(maxsize=64)
def plan(suite: ProblemTests, setup: str = "", prompt: str = "", *, tolerance: float | None = None) -> Plan:
    """Return the plan for the tests that are not programs.

    Raises:
        BadTestError: setup or a test is not Python, or nothing says what is under test.
    """
    try:
        return _plan(suite, setup, prompt, tolerance)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, BadTestError):
            raise
        raise BadTestError(f"{type(error).__name__}: {str(error)[:200]}") from error


def _plan(suite: ProblemTests, setup: str, prompt: str, tolerance: float | None) -> Plan:
    setup = setup or prompt_setup(prompt, entry_name(suite))
    texts = (*suite.sources, *([suite.text] if suite.text.strip() else []))
    given = bound_by(setup)
    asked, library = _names(suite, texts, given, prompt)
    # LeetCode and the judges of called functions import the usual modules for the solution.
    prelude = "Solution" in (entry_name(suite), *asked) or bool(suite.calls)
    found = _checks(suite, asked, given, tolerance)
    return Plan(suite, setup, found, asked, library, given, texts, prompt, prelude)


def entry_name(suite: ProblemTests) -> str:
    """Return the solution's name that the problem says is under test; empty where it says none."""
    expression = suite.entry_point or suite.function
    match = re.match(r"[^\W\d]\w{0,200}", expression)
    return match[0] if match else ""


def _checks(
    suite: ProblemTests, asked: frozenset[str], given: frozenset[str], tolerance: float | None
) -> tuple[LiteralCheck, ...]:
    """Return one check for each test, or none at all."""
    # A name that setup binds is the problem's, unless the problem itself says that it is under test.
    own = asked - given if not entry_name(suite) else asked
    found: list[LiteralCheck | None] = [formats.of_call(call, suite) for call in suite.calls]
    found += [_check(source, own, suite.entry_point) for source in suite.sources]
    if suite.text.strip():
        found += formats.read_function(suite.text, suite.entry_point) or [None]
    # All or none: with one test that has to be run, all of them are run, so that one reading decides.
    whole = [check for check in found if check is not None]
    if len(whole) < len(found) or ("*" in given and not entry_name(suite)):  # a star may define what seems asked
        return ()
    return tuple(check.with_tolerance(tolerance) for check in whole)


def _names(
    suite: ProblemTests, texts: tuple[str, ...], given: frozenset[str], prompt: str
) -> tuple[frozenset[str], dict[str, tuple[str, str]]]:
    """Return the names that are the solution's, and those that are the prelude's."""
    free, bound, imported = set[str](), set[str](), set[str]()
    for text in texts:
        reads, binds = extract.names(text)
        free |= reads
        bound |= binds
        imported |= _from_solution(text)
    entry = entry_name(suite)
    asked = imported | ({entry} - {""})
    # What nobody has claimed yet: a name of the prelude, or the solution's.
    open_names = free - bound - given - asked - formats.BUILTIN_NAMES - {"candidate"}
    used = _used_as_modules(texts)
    library = {name: PRELUDE[name] for name in open_names if name in PRELUDE}
    library |= {name: (name, "") for name in open_names & used}
    rest = open_names - library.keys()
    # Then a name of a library or builtin must be the solution's own: something has to be tested.
    if not asked and not rest:
        return _only_name(open_names, texts, prompt), {}
    words = _code_words(prompt)
    lower = {name for name in rest if not name[:1].isupper()}
    if not asked and len(lower) <= 1:  # one function, and classes as it takes or gives them
        return frozenset(rest), library
    asked |= {name for name in rest if name in words}
    if not asked:
        raise BadTestError(f"nobody defines {', '.join(sorted(rest)[:5])}: say which is under test (entry_point)")
    return frozenset(asked), library


def _only_name(names: set[str], texts: tuple[str, ...], prompt: str) -> frozenset[str]:
    """Return the name under test where all are names of libraries or builtins: the only one, or the first called."""
    if len(names) == 1:
        return frozenset(names)
    named = names & _code_words(prompt)
    found = named if len(named) == 1 else frozenset().union(*(_tested_builtins(text) for text in texts))
    if not found and texts:
        raise BadTestError("nothing says which name is under test (entry_point)")
    return frozenset(found)


def _tested_builtins(source: str) -> set[str]:
    """Return the builtins under test where tests name nothing else: in `assert sum(1, 2) == 3` the solution's `sum`."""
    return {
        root
        for node in ast.walk(_tree_of(source))
        if isinstance(node, ast.Assert) and (root := formats.root(formats.sides(node.test)[0])) is not None
    }


def _from_solution(text: str) -> set[str]:
    """Return the names that a test text takes from the solution's module."""
    found, modules = set[str](), set[str]()
    if not any(name in text for name in SOLUTION_MODULES):
        return found
    nodes = list(ast.walk(_tree_of(text)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in SOLUTION_MODULES:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name in SOLUTION_MODULES}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add(node.attr)
    return found - {"*"}


def _used_as_modules(texts: tuple[str, ...]) -> set[str]:
    """Return the modules that the texts use without importing them, for nothing but their attributes."""
    roots, bare = set[str](), set[str]()
    for text in texts:
        seen = set[int]()
        if not any(f"{name}." in text for name in _MODULES):
            continue
        # A name that is also used bare may be anything; one that is only ever `name.attribute` is a module.
        for node in ast.walk(_tree_of(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                roots.add(node.value.id)
                seen.add(id(node.value))
            elif isinstance(node, ast.Name) and id(node) not in seen:
                bare.add(node.id)  # an attribute is walked before the name that it starts from
    return (roots & _MODULES) - bare


def _imports(texts: Iterable[list[ast.AST]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for nodes in texts:
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name: None for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module] = None
    return tuple(name for name in found if name.split(".")[0] not in SOLUTION_MODULES | {"__future__", "__main__"})


def _all_names(texts: Iterable[list[ast.AST]]) -> frozenset[str]:
    found: set[str] = set()
    for nodes in texts:
        for node in nodes:
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.name for alias in node.names}
    return frozenset(found)


@functools.lru_cache(maxsize=64)
def _words(prompt: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d]\w{0,100}", prompt[: 1 << 17]))


def _code_words(prompt: str) -> frozenset[str]:
    """Return the names that a prompt speaks of as code: called, defined, or in backticks."""
    text = prompt[: 1 << 17]
    called = re.findall(r"\b([^\W\d]\w{0,100})\(", text)
    marked = re.findall(r"(?:`|\bdef |\bclass )([^\W\d]\w{0,100})", text)
    return frozenset(called) | frozenset(marked)


def _looks_at_identity(texts: Iterable[list[ast.AST]]) -> bool:
    for nodes in texts:
        for node in nodes:
            if isinstance(node, ast.Is | ast.IsNot) or (isinstance(node, ast.Name) and node.id in _IDENTITY):
                return True
            if isinstance(node, ast.Attribute) and node.attr in ("assertIs", "assertIsNot", "assertIsInstance"):
                return True
    return False


def _touches_surroundings(imports: Iterable[str]) -> bool:
    return any(name.split(".")[0] not in _PURE or name == "unittest.mock" for name in imports)


def _assertions(test: str) -> int:
    if not test.strip():
        return 0
    return max(1, sum(isinstance(node, ast.Assert) for node in ast.walk(_tree_of(test))))


@functools.lru_cache(maxsize=512)
def prompt_setup(prompt: str, entry_point: str) -> str:
    """Return what the code of a prompt defines beside the stub of `entry_point`; empty for a prompt in prose.

    Helpers that the prompt hands out belong to the problem: tests must not call the solution's version.
    """
    if len(prompt) > 1 << 20 or not entry_point:
        return ""
    whole = _definitions(prompt, entry_point)
    if whole is not None:
        return whole
    parts = [_definitions(match[1], entry_point) for match in _FENCED.finditer(prompt)]
    return "\n".join(part for part in parts if part)


def _definitions(code: str, entry_point: str) -> str | None:
    """Return the definitions, imports and constants of some code without the entry point; None if it is not Python."""
    # A prompt often ends with the head of the function, which has no body yet.
    for text in (code, code.rstrip() + "\n    pass\n"):
        try:
            body = _tree_of(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
        kept: list[ast.stmt] = [
            node for node in body if isinstance(node, kinds) and getattr(node, "name", None) != entry_point
        ]
        return ast.unparse(ast.Module(kept, []))
    return None


def bound_by(setup: str) -> frozenset[str]:
    """Return the names that the statements of `setup` bind; `*` where a star import hides them."""
    bound: set[str] = set()
    for node in ast.walk(_tree_of(setup)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return frozenset(bound)


def _check(source: str, asked: frozenset[str], entry_point: str) -> LiteralCheck | None:
    body = syntax_tree(source).body  # its own: a name in it may be replaced
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        return None
    test = formats.renamed(body[0].test, "candidate", entry_point) if entry_point else body[0].test
    return formats.read_check(test, asked, entry_point)


def _shared(text: str) -> dict[str, tuple[str, str]]:
    """Return what a test text imports at its top: its harness lets the solution see it too."""
    found: dict[str, tuple[str, str]] = {}
    for node in _tree_of(text).body:
        if isinstance(node, ast.Import):
            found |= {a.asname or a.name: (a.name, "") for a in node.names if a.asname or "." not in a.name}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {a.asname or a.name: (node.module, a.name) for a in node.names if a.name != "*"}
    return found


def load_job_of(planned: Plan) -> dict[str, Any]:
    """Return what a jail has to know to load a solution, and nothing of its tests."""
    return {
        "setup": planned.setup, "entry_point": planned.suite.entry_point,
        "prelude": {k: list(v) for k, v in PRELUDE.items()} if planned.prelude else {},
    }  # fmt: skip


def job_of(planned: Plan) -> dict[str, Any]:
    """Return what a jail has to know to run the tests of a plan."""
    return load_job_of(planned) | {
        "tests": list(planned.suite.sources), "test": planned.suite.text,
        "asked": sorted(planned.asked), "given": sorted(planned.given),
        "named": sorted(planned.named), "library": {k: list(v) for k, v in planned.library.items()},
        "imports": list(planned.imports), "outward": planned.outward,
        "shared": {k: list(v) for k, v in _shared(planned.suite.text).items()},
    }  # fmt: skip
