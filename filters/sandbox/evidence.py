"""What a solution does at run time that its source could hide: the evidence beside the static look (`vetting`).

- `Guards`: called by the woven program at every store to an attribute and every attribute of a computed name;
- `Hooks`: what is unpickled, and modules that come from where a solution may write;
- `State`: functions, classes and hooks of the interpreter, before the solution was loaded and after every test, and
  special methods of classes that were made since.

Runs inside the jail, and uses nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from proofmill.filters.sandbox.vetting import (
    ASKED_METHODS,
    DUNDER_READS,
    MAX_FINDINGS,
    MEMBERS,
    MODULE,
    OWN_METHODS,
    SOURCE,
    is_dunder,
)


class Guards:
    """What the woven program calls; keeps the evidence."""

    def __init__(self, findings: list[str]) -> None:
        self.evidence = list(findings)

    def note(self, what: str) -> None:
        """Add one piece of evidence."""
        if len(self.evidence) < MAX_FINDINGS and what not in self.evidence:
            self.evidence.append(what)

    def names(self) -> dict[str, Callable[..., Any]]:
        """The globals of a woven program."""
        return {
            "__owner__": self.owner,
            "__getattr_guard__": self._getattr,
            "__setattr_guard__": self._setattr,
            "__delattr_guard__": self._delattr,
        }

    def owner(self, value: Any, name: str) -> Any:
        """`value`, an attribute of which is about to be set: only a solution's own things may change so."""
        kind = type(value)
        if isinstance(value, type):
            if not is_own(value):
                self.note(f"sets {name} of the class {value.__name__}")
        elif isinstance(value, types.FunctionType):
            if value.__code__.co_filename != SOURCE:
                self.note(f"sets {name} of a function that is not its own")
        elif isinstance(value, types.ModuleType) or kind in (types.BuiltinFunctionType, types.MethodType):
            self.note(f"sets {name} of {getattr(value, '__name__', kind.__name__)}")
        elif not is_own(kind) and (callable(getattr(kind, name, None)) or _of_mock(kind, name)):
            self.note(f"hides {kind.__name__}.{name}")
        return value

    def _named(self, name: object) -> Any:
        if not isinstance(name, str) or type(name) is not str:
            self.note("an attribute whose name is no text")
        elif name in MEMBERS or name == "sys" or (is_dunder(name) and name not in DUNDER_READS):
            self.note(f"reaches for {name}")
        return name

    def _getattr(self, value: Any, name: str, *default: Any) -> Any:
        if isinstance(value, types.ModuleType):
            self.note("takes a computed name from a module")
        return getattr(value, self._named(name), *default)

    def _setattr(self, value: Any, name: str, new: Any) -> None:
        if isinstance(name, str) and is_dunder(name):
            self.note(f"sets {name}")
        setattr(self.owner(value, self._named(name)), name, new)

    def _delattr(self, value: Any, name: str) -> None:
        delattr(self.owner(value, self._named(name)), name)


def _of_mock(kind: type, name: str) -> bool:
    """Whether an attribute is a mock's record of how it was called."""
    return kind.__module__ == "unittest.mock" and (name.startswith(("call", "assert")) or name.endswith("_calls"))


def is_own(kind: type) -> bool:
    """Whether a class was made by the solution: only there is the module of that name the running one."""
    return getattr(kind, "__module__", None) == MODULE


_OWN = "/tmp"  # noqa: S108 - the jail's own, and the only place to write to
_UNPICKLED = frozenset({"builtins", "collections", "copyreg", "datetime", "decimal", "fractions", "numpy", "pandas"})
_UNPICKLED |= frozenset({MODULE, "pathlib", "array", "uuid", "enum"})
_CONSTRUCTORS = frozenset(
    {"list", "dict", "set", "frozenset", "tuple", "int", "float", "str", "bytes", "bytearray", "complex", "bool"}
    | {"range", "slice", "object", "Exception", "ValueError", "KeyError", "TypeError"}
)


class Hooks:
    """Notes what only shows at run time: what is unpickled, and modules that come from where a solution may write.

    Args:
        guards: where the evidence goes.
        refused: called with what the jail refuses, where that is to be known.
    """

    def __init__(self, guards: Guards, refused: Callable[[str], None] | None) -> None:
        self._guards = guards
        self._refused = refused
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            module, name = (str(part) for part in arguments[:2])
            known = module.split(".")[0] in _UNPICKLED
            if not known or (module == "builtins" and name not in _CONSTRUCTORS):
                self._guards.note(f"unpickles {module}.{name}"[:80])
        elif event == "open" and isinstance(arguments[0], str):
            self._opened(arguments[0])
        elif self._refused is not None and event in REFUSED:
            self._refused(event)

    def _opened(self, path: str) -> None:
        """The import system opens files of modules; those of a solution's own making nobody has looked at."""
        reader = sys._getframe(2).f_code.co_filename
        if reader.startswith(("<frozen importlib", "<frozen zipimport")) and os.path.realpath(path).startswith(_OWN):
            self._guards.note("imports what it may have written itself")


REFUSED = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "socket.connect"}
    | {"socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname", "socket.bind", "socket.__new__"}
)
"""What the jail refuses, as the interpreter calls it."""


# what tests call most: looked at after every test, the rest once at the end
_CORE = frozenset(
    {"builtins", "collections", "copy", "datetime", "functools", "itertools", "json", "math", "operator", "os"}
    | {"posixpath", "random", "re", "string", "time", "unittest.case", "unittest.mock", "unittest.result", "numpy"}
    | {"unittest.suite", "unittest.util", "decimal", "fractions", "statistics", "numpy.testing", "pytest"}
)
_Entry = tuple[Any, str, object]  # the names of a module or class, one of them, what it was


def _entries(module: types.ModuleType) -> list[_Entry]:
    """Functions, classes and texts of a module, and the methods of its classes; not caches and counters."""
    names = vars(module)
    found: list[_Entry] = []
    for name, value in list(names.items()):
        if _tells(name, value, module.__name__):
            found.append((names, name, value))
        if type(value) is type and value.__module__ == module.__name__:
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
    """What tests rely on in the interpreter, as it was before the solution was loaded."""

    def __init__(self) -> None:
        remember_modules()
        self._modules = dict(_KNOWN)
        self._core = {name: self._modules[name] for name in _CORE & self._modules.keys()}
        self._hooks = self._hook_values()
        self._classes = set(map(id, _all_classes()))
        self._threads = threading.active_count()

    @staticmethod
    def _hook_values() -> tuple[object, ...]:
        return (
            sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook, sys.unraisablehook,
            tuple(sys.meta_path), tuple(sys.path_hooks),
        )  # fmt: skip

    def changes(self, *, core: bool) -> list[str]:
        """What is no longer as it was, by name.

        Args:
            core: look only at what tests call most.
        """
        seen = [] if self._hook_values() == self._hooks else ["a hook of the interpreter changed"]
        for name, (module, entries) in (self._core if core else self._modules).items():
            if sys.modules.get(name) is not module:
                seen.append(f"module {name} was replaced")
            seen += [f"{name}.{key} changed" for names, key, value in entries if names.get(key) is not value]
        return seen[:MAX_FINDINGS]

    def special_methods(self, asked: frozenset[str]) -> list[str]:
        """Special methods of classes made since that no library wrote, however those classes were made.

        A source may hide one from the static look: the name computed, the class made by a call. (The garbage
        collector must be off: a class that is made stays.)
        """
        seen: list[str] = []
        for kind in _all_classes():
            if id(kind) in self._classes or kind.__module__ == "__main__" or _in_module(kind):
                continue
            allowed = ASKED_METHODS if kind.__name__ in asked else OWN_METHODS | ASKED_METHODS
            for name, value in list(vars(kind).items()):
                if is_dunder(name) and name not in allowed and _acts(value) and not _of_library(value, kind):
                    seen.append(f"class {kind.__name__} has {name}"[:80])
        return seen[:MAX_FINDINGS]

    def threads_left(self) -> bool:
        """Whether more threads run than before."""
        return threading.active_count() > self._threads


def _in_module(kind: type) -> bool:
    """Whether a class is what a library's module has under its name: imported since."""
    module = sys.modules.get(kind.__module__)
    return module is not None and kind.__module__ != MODULE and vars(module).get(kind.__name__) is kind


def _all_classes() -> list[type]:
    found: dict[int, type] = {id(object): object}
    todo: list[type] = [object]
    while todo:
        below: list[type] = type.__subclasses__(todo.pop())
        for kind in below:
            if id(kind) not in found:
                found[id(kind)] = kind
                todo.append(kind)
    return list(found.values())


def _acts(value: object) -> bool:
    """Whether a special attribute of a class does anything, or is data."""
    return value is not None and (callable(value) or hasattr(type(value), "__get__"))


def _of_library(value: object, kind: type) -> bool:
    """Whether a special method was written by Python or a library; a mock of the tests may have any."""
    value = getattr(value, "__func__", value)
    if isinstance(value, types.FunctionType):
        return value.__code__.co_filename != SOURCE
    if type(value).__name__ in ("wrapper_descriptor", "member_descriptor", "getset_descriptor", "method_descriptor"):
        return True
    mock = sys.modules.get("unittest.mock")
    return mock is not None and kind.__module__ == "unittest.mock" and issubclass(kind, mock.NonCallableMock)


def _tells(key: str, value: object, module: str) -> bool:
    """Whether a changed member is evidence: functions and classes are, caches and counters are not."""
    if module == "sys" and key in ("stdout", "stdin", "stderr", "last_value", "last_type", "last_traceback"):
        return False
    if module == "builtins" and key == "_":
        return False
    return callable(value) or isinstance(value, str | types.ModuleType | staticmethod | classmethod | property)
