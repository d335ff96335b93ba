"""Runs the tests in one process with the solution, as the data sets' own harnesses do, and gathers the evidence of
tampering that decides whether a pass may be believed.

The solution's module and the tests' are two: what tests name and do not define is looked up in setup, in the real
libraries, and in the solution only where the name belongs to it (`_Names`). Calls of the tests pass a wrapper that
sees what is asked of whom (`_CallWatcher`).

What a solution's source could hide from the static look (`vetting`) shows at run time: what is unpickled, and modules
that come from where a solution may write (`Hooks`); functions, classes and hooks of the interpreter, before the
solution was loaded and after every test, and special methods of classes that were made since (`State`).
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import gc
import importlib
import linecache
import sys
import threading
import types
from collections import deque
from collections.abc import Callable
from typing import Any

from proofmill.filters.sandbox import instrument, solution_host, test_runner, vetting, wire
from proofmill.filters.sandbox.hooks import Hooks
from proofmill.filters.sandbox.vetting import (
    ASKED_METHODS,
    MAX_FINDINGS,
    MODULE,
    OWN_METHODS,
    SOURCE,
    is_dunder,
)

# what tests call most: looked at after every test, the rest once at the end
_CORE = frozenset(
    {"builtins", "collections", "copy", "datetime", "functools", "itertools", "json", "math", "operator", "os"}
    | {"posixpath", "random", "re", "string", "time", "unittest.case", "unittest.mock", "unittest.result", "numpy"}
    | {"unittest.suite", "unittest.util", "decimal", "fractions", "statistics", "numpy.testing", "pytest"}
)
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: nothing in Python can change such a class
# what the warm interpreter holds and neither the runner nor a test meets, unless the test names it
_IDLE = frozenset(
    {"typing", "argparse", "ipaddress", "urllib", "_ast", "inspect", "pathlib", "gettext", "shutil", "tempfile"}
    | {"difflib", "pprint", "textwrap", "locale", "selectors", "_socket", "socket", "signal", "subprocess", "struct"}
    | {"fnmatch", "tokenize", "token", "dis", "opcode", "linecache", "array", "_signal", "_locale", "_posixsubprocess"}
    | {"sortedcontainers", "sitebuiltins", "_sitebuiltins", "site", "ctypes", "_ctypes", "platform", "errno"}
)
_Entry = tuple[Any, str, object]  # the names of a module or class, one of them, what it was


def _entries(module: types.ModuleType) -> list[_Entry]:
    """Return the functions, classes and texts of a module, and the methods of its classes; not caches and counters."""
    names = vars(module)
    found: list[_Entry] = []
    for name, value in list(names.items()):
        if _tells(name, value, module.__name__):
            found.append((names, name, value))
        # The hundreds of node classes of `ast` are left out: to look at them would cost more than a test.
        changeable = type(value) is type and not value.__flags__ & _IMMUTABLE and not issubclass(value, ast.AST)
        # Each class once, where it was defined, not in every module that imports it.
        if changeable and value.__module__ == module.__name__:
            members = vars(value)
            found += [(members, key, part) for key, part in list(members.items()) if _tells(key, part, "")]
    return found


_KNOWN: dict[str, tuple[types.ModuleType, list[_Entry]]] = {}


def remember_modules() -> None:
    """Take down the modules loaded so far: once, in the warm interpreter, and again for those that came since."""
    for name, module in list(sys.modules.items()):
        if name in _KNOWN or not isinstance(module, types.ModuleType) or module.__name__ in (MODULE, "__main__"):
            continue
        _KNOWN[name] = (module, _entries(module))


class State:
    """What tests rely on in the interpreter, as it was before the solution was loaded.

    Args:
        named: names in tests, setup and prompt.
    """

    def __init__(self, named: frozenset[str]) -> None:
        remember_modules()
        idle = _IDLE - named
        self._modules = {name: held for name, held in _KNOWN.items() if name.split(".")[0] not in idle}
        self._core = {name: self._modules[name] for name in _CORE & self._modules.keys()}
        self._hooks = self._hook_values()
        # Ids are enough and keep nothing alive; with the collector off, none is given twice.
        self._classes = set(map(id, _young_classes()))
        self._threads = threading.active_count()

    @staticmethod
    def _hook_values() -> tuple[object, ...]:
        return (
            sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook, sys.unraisablehook,
            tuple(sys.meta_path), tuple(sys.path_hooks),
        )  # fmt: skip

    def changes(self, *, core: bool) -> list[str]:
        """Return the names of what has changed.

        Args:
            core: look only at what tests call most.
        """
        seen = [] if self._hook_values() == self._hooks else ["a hook of the interpreter changed"]
        for name, (module, entries) in (self._core if core else self._modules).items():
            if sys.modules.get(name) is not module:
                seen.append(f"module {name} was replaced")
            # Identity, not equality: `==` could call what the solution has put there.
            seen += [f"{name}.{key} changed" for names, key, value in entries if names.get(key) is not value]
        return seen[:MAX_FINDINGS]

    def special_methods(self, asked: frozenset[str]) -> list[str]:
        """Return the special methods of classes made since then that no library wrote, however those classes were made.

        A source may hide one from the static look: the name computed, the class made by a call. (The garbage
        collector must be off: a class that is made stays.)
        """
        seen: list[str] = []
        for kind in _young_classes():
            # `__main__` is the tests' own module here.
            if id(kind) in self._classes or kind.__module__ == "__main__" or _in_module(kind):
                continue
            allowed = ASKED_METHODS if kind.__name__ in asked else OWN_METHODS | ASKED_METHODS
            for name, value in list(vars(kind).items()):
                if is_dunder(name) and name not in allowed and _acts(value) and not _of_library(value, kind):
                    seen.append(f"class {kind.__name__} has {name}"[:80])
        return seen[:MAX_FINDINGS]

    def threads_left(self) -> bool:
        """Return whether more threads run than before."""
        return threading.active_count() > self._threads


def _in_module(kind: type) -> bool:
    """Return whether a class is what a library's module has under its name, because it was imported since."""
    module = sys.modules.get(kind.__module__)
    return module is not None and kind.__module__ != MODULE and vars(module).get(kind.__name__) is kind


def _young_classes() -> list[type]:
    """Return the classes made since the warm interpreter froze what it had. The collector must be off."""
    return [value for value in gc.get_objects() if isinstance(value, type)]


def _acts(value: object) -> bool:
    """Return whether a special attribute of a class does anything, or is data."""
    return value is not None and (callable(value) or hasattr(type(value), "__get__"))


def _of_library(value: object, kind: type) -> bool:
    """Return whether a special method was written by Python or a library; a mock of the tests may have any."""
    value = getattr(value, "__func__", value)
    if isinstance(value, types.FunctionType):
        return value.__code__.co_filename != SOURCE
    if type(value).__name__ in ("wrapper_descriptor", "member_descriptor", "getset_descriptor", "method_descriptor"):
        return True
    mock = sys.modules.get("unittest.mock")
    return mock is not None and kind.__module__ == "unittest.mock" and issubclass(kind, mock.NonCallableMock)


def _tells(key: str, value: object, module: str) -> bool:
    """Return whether a changed member is evidence: functions and classes are, caches and counters are not."""
    if module == "sys" and key in ("stdout", "stdin", "stderr", "last_value", "last_type", "last_traceback"):
        return False
    if module == "builtins" and key == "_":
        return False
    return callable(value) or isinstance(value, str | types.ModuleType | staticmethod | classmethod | property)


_PLAIN_CONTAINERS = (list, dict, set, bytearray, deque)
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_PATCHED = frozenset({"open", "input", "print", "exit", "quit"})  # what tests mock: looked up every time
# what text and sets say of themselves and another: a class of the solution's could say it of anything
_PREDICATES = frozenset({"startswith", "endswith", "issubset", "issuperset", "isdisjoint", "is_integer", "samefile"})
_PREDICATES |= frozenset(name for name in dir(str) if name.startswith("is"))
_TRUSTED_ASKERS = ("unittest", "pytest", "_pytest")


class _Names(dict[str, Any]):
    """The builtins of the tests' module, and behind them what the tests name without defining it."""

    def __init__(self, job: dict[str, Any], solution: dict[str, Any]) -> None:
        # A name that is missing here is looked up anew each time, so that a mock of `open` or `input` is seen.
        super().__init__({name: value for name, value in vars(builtins).items() if name not in _PATCHED})
        self._asked = frozenset(job["asked"])
        self._library: dict[str, list[str]] = job["library"]
        self._solution = solution
        self._entry = job["entry_point"]

    def __missing__(self, name: str) -> Any:
        if name in _PATCHED:
            return vars(builtins)[name]
        if name in self._library:
            return from_library(*self._library[name])
        # Not every global of the solution: one that happens to bear a name of the tests must not stand in for it.
        if name in self._solution and (name in self._asked or _is_library(self._solution[name])):
            return self._solution[name]
        if name == "candidate" and self._entry:
            return entry(self._entry, self._solution)
        raise KeyError(name)


def from_library(module: str, member: str) -> Any:
    """Return what a name of the standard prelude stands for; an absent package is the environment's fault."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        raise instrument.TestsFaultError(f"needs {module.split('.')[0]}") from None
    return getattr(found, member) if member else found


def _is_library(value: Any) -> bool:
    """Return whether a value that the solution's module binds is a library's own, under whatever name."""
    if isinstance(value, types.ModuleType):
        return sys.modules.get(value.__name__) is value and value.__name__ != vetting.MODULE
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    name = getattr(value, "__name__", "")
    own = getattr(value, "__module__", None) in (vetting.MODULE, "__main__")
    return not own and isinstance(name, str) and module is not None and vars(module).get(name) is value


def entry(expression: str, names: dict[str, Any]) -> Any:
    """Return what `Solution().f` or `f` is in the solution's module."""
    if expression in names:
        return names[expression]
    return eval(compile(expression, vetting.TESTS_SOURCE, "eval"), names)  # noqa: S307 - the data set's own text


class _CallWatcher:
    """Sees every call of the tests: who is asked, and whether what is handed over is changed.

    Args:
        asked: names of the solution that tests may ask.
        isolate: hand copies of what tests still hold to the solution.
    """

    def __init__(self, asked: frozenset[str], guards: vetting.Guards, *, isolate: bool) -> None:
        self.calls = 0
        self.changed = False
        self._asked = asked
        self._guards = guards
        self._isolate = isolate

    def names(self) -> dict[str, Callable[..., Any]]:
        """Return what instrumented tests call."""
        return {
            "__call_of_test__": self._call,
            "__method_of_test__": self._method,
            "__shield__": self._shield,
        }

    def _call(self, function: Any, kept: bool, /, *arguments: Any, **keywords: Any) -> Any:
        if not _of_solution(function):
            return function(*arguments, **keywords)
        self.calls += 1
        if not kept:
            return function(*arguments, **keywords)
        if self._isolate:
            arguments = tuple(_copied(value) for value in arguments)
            keywords = {name: _copied(value) for name, value in keywords.items()}
            return function(*arguments, **keywords)
        # Only what can be changed in place can be changed behind the test's back.
        held = [value for value in (*arguments, *keywords.values()) if isinstance(value, _PLAIN_CONTAINERS)]
        before = [_copied(value) for value in held]
        result = function(*arguments, **keywords)
        # A function that returns nothing is meant to change its arguments, as `sort` is.
        if result is not None and not self.changed:
            self.changed = any(map(_differs, held, before))
        return result

    def _method(self, value: Any, name: str, kept: bool, /, *arguments: Any, **keywords: Any) -> Any:
        function = getattr(value, name)
        result = self._call(function, kept, *arguments, **keywords)
        shown = arguments or keywords or name in _PREDICATES or isinstance(result, bool)
        if shown and not self._may_be_asked(value, name):  # what is shown nothing gives an answer like any other
            kind = value if isinstance(value, type) else type(value)
            self._guards.note(f"tests ask {kind.__name__}.{name}, which is the solution's own making")
        return result

    def _may_be_asked(self, value: Any, name: str) -> bool:
        """Return whether a method is a library's or the tests' own, or that of a class which tests name."""
        if isinstance(value, types.ModuleType):
            return True
        kind = value if isinstance(value, type) else type(value)
        if vetting.is_own(kind):
            # A method may be inherited: tests may ask any class that they name, and those that extend it.
            own = [base.__name__ for base in kind.__mro__ if vetting.is_own(base)]
            return name not in _PREDICATES and not self._asked.isdisjoint(own)
        if isinstance(value, type) or str(kind.__module__).startswith(_TRUSTED_ASKERS) or _of_tests(kind):
            return True
        return any(name in vars(base) or "__getattr__" in vars(base) for base in kind.__mro__)

    def _shield(self, function: Any) -> Any:
        """Return a solution's function for `map` and its like, wrapped: its StopIteration would end a test's loop."""
        if not isinstance(function, types.FunctionType) or not _of_solution(function):
            return function

        @functools.wraps(function)
        def shielded(*arguments: Any, **keywords: Any) -> Any:
            try:
                return self._call(function, True, *arguments, **keywords)
            except StopIteration as error:
                # As Python itself does for generators (PEP 479).
                raise RuntimeError("StopIteration") from error

        return shielded


def _of_solution(function: Any) -> bool:
    function = getattr(function, "__func__", function)
    if isinstance(function, type):
        return vetting.is_own(function)
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_filename == vetting.SOURCE)
    return vetting.is_own(type(function)) or getattr(function, "__module__", None) == vetting.MODULE


def _of_tests(kind: type) -> bool:
    return kind.__module__ == "__main__"


def _copied(value: Any) -> Any:
    if not isinstance(value, _PLAIN_CONTAINERS):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - what can't be copied is handed over as it is
        return value


def _as_json(value: Any) -> Any:
    """Return the value as JSON would give it back: a tuple is a list."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if type(value) is dict:
        return {str(key) if type(key) is int else key: _as_json(item) for key, item in value.items()}
    return value


def _differs(now: Any, before: Any) -> bool:
    try:
        return bool(now != before)
    except Exception:  # noqa: BLE001 - foreign comparison: what can't be compared counts as changed
        return True


class _InProcessRun:
    """One run of a solution and its tests in this process, and the evidence that it leaves."""

    def __init__(self, job: dict[str, Any], findings: list[str], score: test_runner.TestCounts) -> None:
        score.after_each = self.check_state
        self.job = job
        self.guards = vetting.Guards(findings)
        self.solution = types.ModuleType(vetting.MODULE)
        self.tests = types.ModuleType("__main__")
        self.asked = frozenset(job["asked"])
        self.watch = _CallWatcher(self.asked, self.guards, isolate=job["isolate"])
        self.names: dict[str, Any] = self.tests.__dict__
        self.names["__builtins__"] = _Names(job, self.solution.__dict__)
        self.state: State | None = None
        self.refused: str | None = None
        point = job["entry_point"]
        self.runner = test_runner.Tests(
            self.names, score, lambda: self._entry(point), point, watch=True,
            calls=lambda: self.watch.calls, asked=self.asked, tolerance=job["tolerance"], isolate=job["isolate"],
        )  # fmt: skip

    def set_up(self) -> list[types.CodeType]:
        """Import what the tests import, run setup, remember the interpreter as it is; setup's late statements."""
        # The names under which tests of data sets import the solution.
        for name in ("solution", "main", "your_module"):
            sys.modules[name] = self.solution
        sys.modules["__main__"] = self.tests
        for name in self.job["imports"]:
            try:
                importlib.import_module(name)
            except ImportError as error:
                # A package that is there but lacks a part fails at the test that uses it, not here.
                if name.split(".")[0] not in sys.modules:
                    raise instrument.TestsFaultError(f"needs {(error.name or name).split('.')[0]}") from None
        self.names |= self.watch.names() | {"__json__": _as_json}
        self.runner.prepare()
        late = solution_host.run_setup(self.job["setup"], self.names, instrument.watched)
        for name, value in list(self.names.items()):
            if not name.startswith("__"):  # data by copy: to change a constant of the setup must change no test
                self.solution.__dict__[name] = copy.deepcopy(value) if type(value) in _PLAIN_CONTAINERS else value
        return late

    def load(self, program: types.CodeType, late: list[types.CodeType]) -> None:
        """Run the solution's module, then what of setup had to wait for it."""
        code = self.job["code"]
        # `inspect.getsource` and tracebacks find the source here, since there is no file.
        linecache.cache[vetting.SOURCE] = (len(code), None, code.splitlines(keepends=True), vetting.SOURCE)
        space = self.solution.__dict__
        library = self.job["prelude"] | {
            n: place for n, place in self.job["shared"].items() if vetting.harmless(place[0])
        }
        solution_host.provide(program, library, space)
        space |= self.guards.names()
        # As late as possible: what setup opens and unpickles is the data set's own affair.
        Hooks(self.guards, self._note_refusal if self.job["outward"] else None)
        self.state = State(frozenset(self.job["named"]) | {name.split(".")[0] for name in self.job["imports"]})
        exec(program, space)  # noqa: S102 - the jail's purpose
        solution_host.bind_method(self.job["entry_point"], space)
        for statement in late:
            exec(statement, self.names)  # noqa: S102 - the data set's own

    def _note_refusal(self, event: str) -> None:
        """Note what the jail refused, if the task is about processes or the network: the solution may hide it."""
        self.refused = self.refused or event

    def run(self) -> None:
        """Run the tests."""
        self.runner.run(self.job["tests"], self.job["test"])

    def _entry(self, point: str) -> Any:
        """Return what `candidate` is: for `Solution().f`, a new object for every call, as in that set's harness."""
        if "(" not in point:
            return entry(point, self.solution.__dict__)
        return lambda *a, **k: self.watch._call(entry(point, self.solution.__dict__), True, *a, **k)

    def check_state(self, *, core: bool = True) -> None:
        """Compare the interpreter with what it was; after every test no more than what tests call most."""
        # Two findings decide as well as twenty; the looks after every further test are saved.
        if self.state is not None and len(self.guards.evidence) < 2:
            for change in self.state.changes(core=core):
                self.guards.note(change)


def read(channel: wire.Link, job: dict[str, Any]) -> None:
    """Look at the solution, say what was seen before any of it runs, run the tests, and report.

    The report carries the job's nonce: only who has read the job could write it, and the solution's process is
    believed to be the runner's own only where nothing was seen.
    """
    asked, given = frozenset(job["asked"]), frozenset(job["given"])
    try:
        program, findings, imports = vetting.look_at(job["code"], asked | frozenset(job["named"]), given, asked)
    except _UNREADABLE as error:
        channel.send(wire.ANSWER, {"raised": solution_host.describe(error)})
        return None
    # Sent first, so that no line of the solution can have touched it.
    channel.send(wire.ANSWER, {"ok": findings, "imports": sorted(imports)})
    gc.disable()  # every class that is made stays, to be looked at
    score = test_runner.TestCounts(job["all_tests"])
    reading = _InProcessRun(job, findings, score)
    report: dict[str, Any] = {"nonce": job["nonce"], "fault": None, "raised": None}
    try:
        late = reading.set_up()
    except BaseException as error:  # noqa: BLE001 - the data set's own setup: no code of the solution has run
        report["fault"] = _setup_fault(error)
        return channel.send(wire.DONE, report)
    try:
        reading.load(program, late)
    except BaseException as error:  # noqa: BLE001 - whatever the solution raises is its answer
        report["raised"] = solution_host.describe(error)
        return channel.send(wire.DONE, report)
    try:
        reading.run()
    except instrument.TestsFaultError as error:
        report["fault"] = str(error)
    except BaseException as error:  # noqa: BLE001 - what a test lets through is its failure
        score.record("rest", error)
    reading.check_state(core=False)
    for what in reading.state.special_methods(asked) if reading.state is not None else ():
        reading.guards.note(what)
    if score.failed and all(score.outcome.values()):
        reading.guards.note("an assertion failed, and that was hidden")
    if reading.state is not None and reading.state.threads_left():
        reading.guards.note("threads were left behind")
    report |= {
        "passed": sum(score.outcome.values()), "ran": len(score.outcome), "why": score.first_failure,
        "evidence": reading.guards.evidence, "changed": reading.watch.changed, "asserted": score.asserted,
        "refused": reading.refused if score.first_failure else None,
    }  # fmt: skip
    return channel.send(wire.DONE, report)


def _setup_fault(error: BaseException) -> str:
    if isinstance(error, instrument.TestsFaultError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"needs {error.name.split('.')[0]}"
    return f"setup raised {instrument.describe(error)}"
