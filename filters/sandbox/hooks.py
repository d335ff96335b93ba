"""The interpreter's audit events, by which a solution that shares a process with its tests is watched and refused.

The static look (`vetting`) sees what the source names. What it can't see is refused here: text that is run as code, by
whatever function, and frames, from which one reaches the tests and the channel on which they are reported.
"""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from proofmill.filters.sandbox import vetting
from proofmill.filters.sandbox.vetting import MODULE, SOURCE

_OWN = "/tmp"  # noqa: S108 - the jail's own, and the only place to write to
_UNPICKLED = frozenset({"builtins", "collections", "copyreg", "datetime", "decimal", "fractions", "numpy", "pandas"})
_UNPICKLED |= frozenset({MODULE, "pathlib", "array", "uuid", "enum"})
# Of builtins, what data is made of. `eval`, `getattr` and their like would run code on unpickling.
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

    def __init__(self, guards: vetting.Guards, refused: Callable[[str], None] | None) -> None:
        self._guards = guards
        self._refused = refused
        # An audit hook can't be removed again, not even by the solution.
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            module, name = (str(part) for part in arguments[:2])
            known = module.split(".")[0] in _UNPICKLED and ("." not in name or module == MODULE)
            if not known or (module == "builtins" and name not in _CONSTRUCTORS):
                self._refuse(f"unpickles {module}.{name}"[:80])
        elif event in _RUNS_TEXT:
            if self._solution_runs_text():
                self._refuse("runs text as code")
        elif event == "object.__getattr__":
            if arguments[1] in _FRAMES and not _trusted(sys._getframe(1).f_code.co_filename, _READS_FRAMES):
                self._refuse(f"reads .{arguments[1]}")
        elif event in _TRACES:
            self._refuse(event)
        elif event == "open" and isinstance(arguments[0], str):
            self._opened(arguments[0])
        elif self._refused is not None and event in REFUSED:
            self._refused(event)

    def _refuse(self, what: str) -> NoReturn:
        """Note what leads to the tests and their channel, and prevent it: whoever has these can send any report."""
        self._guards.note(what)
        raise PermissionError(what)

    def _solution_runs_text(self) -> bool:
        """Return whether the solution makes code of text, itself or by a library that does so for others."""
        maker = sys._getframe(2)  # 0 is this method, 1 is `_audit`, 2 is what runs the text
        if _makes_code(maker):
            return False
        frame: types.FrameType | None = maker
        while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
            if frame.f_code.co_filename == SOURCE:
                return True
            frame = frame.f_back
        return frame is None  # a thread that a solution has started, not the runner

    def _opened(self, path: str) -> None:
        """Note a module opened from where the solution may write: nobody has looked at it."""
        # Frame 0 is this method, 1 is `_audit`, 2 is what opened the file.
        reader = sys._getframe(2).f_code.co_filename
        if reader.startswith(("<frozen importlib", "<frozen zipimport")) and os.path.realpath(path).startswith(_OWN):
            self._guards.note("imports what it may have written itself")


_RUNS_TEXT = frozenset({"exec", "compile", "code.__new__"})
_TRACES = frozenset({"sys.settrace", "sys.setprofile"})
_FRAMES = frozenset({"gi_frame", "cr_frame", "ag_frame", "tb_frame"})  # from a frame one reaches the tests' own
_HERE, _LIBRARY = (str(Path(file).parent) for file in (__file__, os.__file__))
# What makes code of a text that is its own, not the caller's. By function, since others in these files call what they
# are given, which may be `exec`.
_MAKES_CODE = {
    f"{_LIBRARY}/collections/__init__.py": {"namedtuple"}, f"{_LIBRARY}/dataclasses.py": {"_create_fn"},
    f"{_LIBRARY}/ast.py": {"parse"}, f"{_LIBRARY}/unittest/mock.py": {"_set_signature"},
}  # fmt: skip
_LOADS_MODULES = ("<frozen importlib", "<frozen zipimport", _HERE)
_READS_FRAMES = (
    _HERE, *(f"{_LIBRARY}/{name}" for name in ("traceback.py", "contextlib.py", "asyncio/", "unittest/")),
)  # fmt: skip
_PACKAGES = re.compile(r"/(?:site|dist)-packages/(?:_pytest/|pluggy/|networkx/utils/decorators\.py)")  # which do both


def _makes_code(frame: types.FrameType) -> bool:
    """Return whether what runs in a frame makes code of its own text; of `_create_fn`, if the library itself asks."""
    file, function = frame.f_code.co_filename, frame.f_code.co_name
    if function == "_create_fn" and (frame.f_back is None or frame.f_back.f_code.co_filename != file):
        return False
    return function in _MAKES_CODE.get(file, ()) or _trusted(file, _LOADS_MODULES)


def _trusted(file: str, places: tuple[str, ...]) -> bool:
    """Return whether a file is one of these libraries', and no solution's."""
    return file.startswith(places) or (_PACKAGES.search(file) is not None and not file.startswith(_OWN))


REFUSED = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "socket.connect"}
    | {"socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname", "socket.bind", "socket.__new__"}
)
"""What the jail refuses, as the interpreter calls it."""
