"""The solution's side of a jail: loads the code, then answers with typed data or runs as a program, in Python or C++.

Everything in this process may be taken over by the code it loads; nothing here is a secret, and
nothing the parent concludes depends on this module behaving.

C++ is compiled once in a jail that has the compiler, and run once a test in the usual one, as the only thing to
execute. The compiler reads hostile text (`#include` of any file it can see, templates that never end), so it has walls
and limits of its own. The binary never touches a disk outside, and is never run outside.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import dis
import importlib
import io
import operator
import os
import resource
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from proofmill.filters.sandbox import walls, wire

MODULE = "solution"
_MESSAGE_CHARS = 300


def describe(error: BaseException) -> list[Any]:
    """Return the class names from the raised one up to BaseException, and the start of the message."""
    try:
        message = str(error)[:_MESSAGE_CHARS]
    except Exception as broken:  # noqa: BLE001 - foreign code: its __str__ may do anything
        message = type(broken).__name__
    return [[kind.__name__ for kind in type(error).__mro__[:10]], message]


class Space:
    """The module that setup and solution run in, and the objects in it that can't leave as data."""

    def __init__(self, name: str = MODULE) -> None:
        self.module = types.ModuleType(name)
        self.names = self.module.__dict__
        self.classes: set[str] = set()
        self._held: dict[int, object] = {}
        sys.modules[name] = self.module

    def execute(self, source: str, label: str) -> None:
        """Run `source` in the module."""
        exec(compile(source, f"<{label}>", "exec", dont_inherit=True), self.names)  # noqa: S102 - the jail's purpose

    def encode(self, value: object) -> wire.Node:
        """Return the value as data, or as a handle where it has no plain form."""
        return wire.Encoder(self._other).encode(value)

    def decode(self, node: wire.Node) -> Any:
        """Return the value that the other side sent."""
        return wire.Decoder(self._own).decode(node)

    def _other(self, value: Any) -> wire.Node:
        kind = type(value)
        if kind.__name__ in self.classes and hasattr(value, "__dict__"):
            return ["o", kind.__name__, wire.Encoder(self._other).encode(dict(vars(value)))]
        # Held, so that its id is not given to another object while the tests' side has the handle.
        self._held[id(value)] = value
        return ["h", id(value), kind.__name__]

    def _own(self, node: list[wire.Node]) -> object:
        if node[0] == "h":
            return self._held[node[1]]
        if node[0] == "n":
            return self.names[node[1]] if node[1] in self.names else getattr(builtins, node[1])
        if node[0] == "o":
            kind = self.names[node[1]]
            # Without `__init__`: the object is to be as it was, not made anew.
            made = object.__new__(kind)
            made.__dict__.update(self.decode(node[2]))
            return made
        raise wire.WireError("unknown tag")


def run_setup(
    setup: str, names: dict[str, Any], transform: Callable[[Any], Any] = lambda tree: tree
) -> list[types.CodeType]:
    """Run the statements of `setup` in `names` up to the first that lacks a name; the rest, compiled, for later.

    Args:
        setup: source of the data set's own.
        names: the globals it binds.
        transform: applied to each statement before it is compiled.
    """
    import ast

    body = ast.parse(setup).body
    modules = [ast.fix_missing_locations(transform(ast.Module([node], []))) for node in body]
    compiled = [compile(module, "<setup>", "exec", dont_inherit=True) for module in modules]
    for index, statement in enumerate(compiled):
        try:
            exec(statement, names)  # noqa: S102 - the jail's purpose
        # It may name what only the solution defines; a name that nobody defines fails again later.
        except NameError:
            return compiled[index:]
    return []


def provide(program: types.CodeType, library: dict[str, list[str]], names: dict[str, Any]) -> None:
    """Bind those names of `library` that a program reads, as the judges of its kind of data set do.

    A package that is not in the jail stays unbound: the program says which name it lacks.
    """
    read, todo = set[str](), [program]
    while todo:
        code = todo.pop()
        # `co_names` alone would not do: a method `add` of a class is no use of `operator.add`.
        steps = [] if library.keys().isdisjoint(code.co_names) else dis.get_instructions(code)
        read.update(step.argval for step in steps if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"))
        todo += [part for part in code.co_consts if isinstance(part, types.CodeType)]
    # Only what is read: importing the whole prelude would cost every run its time.
    for name in read & library.keys():
        if name in names or name in vars(builtins):
            continue
        module, member = library[name]
        with contextlib.suppress(ImportError, AttributeError):
            found = importlib.import_module(module)
            names[name] = getattr(found, member) if member else found


def bind_method(entry_point: str, names: dict[str, Any]) -> None:
    """Bind a name under test that is a method of a class `Solution`, as on LeetCode: a new object for each call."""
    if not entry_point.isidentifier() or entry_point in names or not hasattr(names.get("Solution"), entry_point):
        return
    kind = names["Solution"]
    names[entry_point] = lambda *arguments, **keywords: getattr(kind(), entry_point)(*arguments, **keywords)


def _state(value: object) -> object:
    return [type(value).__name__, dict(vars(value))]


def _bases(kind: type) -> list[str]:
    return [base.__name__ for base in kind.__mro__ if base is not object]


OPERATIONS: dict[str, Callable[..., Any]] = {
    "getattr": getattr, "setattr": setattr, "getitem": operator.getitem, "setitem": operator.setitem,
    "delitem": operator.delitem, "len": len, "iter": lambda value: iter(value), "next": next, "str": str,
    "repr": repr, "bool": bool, "abs": abs, "neg": operator.neg, "state": _state, "add": operator.add,
    "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv, "floordiv": operator.floordiv,
    "mod": operator.mod, "and": operator.and_, "or": operator.or_, "xor": operator.xor, "lt": operator.lt,
    "le": operator.le, "gt": operator.gt, "ge": operator.ge, "value": lambda value: value, "isinstance": isinstance,
    "bases": _bases,
}  # fmt: skip


def _answer(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return compute()
    except BaseException as error:  # noqa: BLE001 - whatever the solution raises is its answer
        return {"raised": describe(error)}


def _call(space: Space, message: dict[str, Any]) -> dict[str, Any]:
    positional = [space.decode(node) for node in message["args"]]
    if message["op"] != "call":
        return {"ok": space.encode(OPERATIONS[message["op"]](*positional))}
    keyword = {name: space.decode(node) for name, node in message["kw"].items()}
    result = positional[0](*positional[1:], **keyword)
    # A call that returns something must not change what the test compares it with; see `proxies`.
    if result is not None:
        return {"ok": space.encode(result)}
    return {"ok": None, "back": _changed(space, positional, message["args"])}


def _changed(space: Space, values: list[Any], nodes: list[wire.Node]) -> list[list[Any]]:
    """Return the arguments that the call changed in place, as [position, new value]."""
    changed = []
    for index, (value, node) in enumerate(zip(values, nodes, strict=True)):
        if isinstance(node, list) and node[0] in ("l", "d", "s", "B", "Q", "o"):
            after = space.encode(value)
            if after != node:
                changed.append([index, after])
    return changed


def _respond(channel: wire.Link, answer: dict[str, Any]) -> None:
    try:
        channel.send(wire.ANSWER, answer)
    except (wire.WireError, MemoryError):
        # Nothing of the large answer was sent, so the channel is still at the border of a message.
        channel.send(wire.ANSWER, {"raised": [["WireError"], "result too large"]})


def _set_up(channel: wire.Link, space: Space, job: dict[str, Any]) -> list[types.CodeType]:
    """Run setup and report on it before any line of the solution runs, so that the report can be trusted."""
    late: list[types.CodeType] = []

    def run() -> dict[str, Any]:
        late.extend(run_setup(job["setup"], space.names))
        space.classes = {name for name, value in space.names.items() if isinstance(value, type)}
        return {"ok": None}

    channel.send(wire.ANSWER, _answer(run))
    return late


def serve(channel: wire.Link, job: dict[str, Any]) -> None:
    """Load setup and solution, then evaluate expressions, or take calls until the parent hangs up."""
    space = Space()
    late = _set_up(channel, space, job)

    def load() -> dict[str, Any]:
        program = compile(job["code"], f"<{MODULE}>", "exec", dont_inherit=True)
        provide(program, job.get("prelude", {}), space.names)
        exec(program, space.names)  # noqa: S102 - the jail's purpose
        bind_method(job.get("entry_point", ""), space.names)
        for statement in late:
            exec(statement, space.names)  # noqa: S102 - the jail's purpose
        return {"ok": None}

    loaded = _answer(load)
    channel.send(wire.ANSWER, loaded)
    while "ok" in loaded:
        kind, message = channel.receive()
        if kind == wire.CALL:
            _respond(channel, _answer(lambda m=message: _call(space, m)))  # type: ignore[misc]
            continue
        for source in message:
            code = compile(source, "<test>", "eval", dont_inherit=True)
            _respond(channel, _answer(lambda c=code: {"ok": space.encode(eval(c, space.names))}))  # type: ignore[misc] # noqa: S307
        return


_STREAMS = {"/dev/stdin": 0, "/dev/fd/0": 0, "/proc/self/fd/0": 0, "/dev/stdout": 1, "/dev/fd/1": 1}


def _open_streams() -> None:
    """Let a program open its streams by name: the jail has no /proc that /dev/stdin could point into."""
    plain = io.open

    def opener(file: Any, *arguments: Any, **keywords: Any) -> Any:
        name = os.fspath(file) if isinstance(file, str | os.PathLike) else file
        return plain(_STREAMS.get(name, file) if isinstance(name, str) else file, *arguments, **keywords)

    builtins.open = io.open = opener


def run_program(channel: wire.Link, job: dict[str, Any]) -> None:
    """Run the code as a script on standard input; ends the process as the script would."""
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__ = sys.stdin, sys.stdout  # type: ignore[misc]
    printed = sys.stdout
    _open_streams()
    space, status = Space("__main__"), 0
    space.names["__file__"] = "/tmp/solution.py"  # noqa: S108 - the jail's own
    _set_up(channel, space, job)
    try:
        space.execute(job["code"], MODULE)
    except SystemExit as leave:
        status = 0 if leave.code in (None, 0) else 1
    except BaseException as error:  # noqa: BLE001 - whatever the solution raises ends it
        status = 1
        channel.send(wire.DONE, {"raised": describe(error)})
    threading._shutdown()  # type: ignore[attr-defined] # threads that a script leaves are waited for
    atexit._run_exitfuncs()
    for stream in (sys.stdout, printed):
        with contextlib.suppress(ValueError):  # a script may have closed it
            stream.flush()
    # Past the interpreter's own end, which would run hooks and finalisers a second time.
    os._exit(status)


COMPILER = "g++"
COMPILER_FOLDERS = ("/usr/bin", "/usr/include", "/usr/lib", "/usr/libexec")
"""What the compiler's jail shows: system folders, read-only."""
_OPTIONS = ("-x", "c++", "-std=c++17", "-O2", "-static", "-pipe", "-w", "-fmax-errors=1", "-fdiagnostics-color=never")
_STACK = 256 << 20


def compiler_installed() -> bool:
    """Return whether this machine has the compiler."""
    import shutil  # few runs compile, and every fork would pay for it

    return shutil.which(COMPILER) is not None


def compile_program(channel: wire.Link, _job: dict[str, Any]) -> None:
    """Compile standard input, and write the binary to standard output. Runs in a jail."""
    import subprocess  # as above

    target = "/tmp/program"  # noqa: S108 - the jail's own
    # Linked statically: the jail that runs the binary shows no libraries of C++.
    command = [COMPILER, *_OPTIONS, "-o", target, "-"]
    done = subprocess.run(command, stdin=0, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().split("\n")
        first = next((line for line in lines if "error" in line), lines[0])
        return channel.send(wire.DONE, {"raised": [["CompileError"], first[:_MESSAGE_CHARS]]})
    with open(target, "rb") as binary:  # noqa: PTH123
        while part := binary.read(1 << 20):
            os.write(1, part)
    return channel.send(wire.DONE, {"ok": None})


def execute_program(channel: wire.Link, _job: dict[str, Any]) -> None:
    """Become the program that was handed in. Runs in a jail, where nothing else can be executed."""
    channel.send(wire.ANSWER, {"ok": None})
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK if hard < 0 else min(_STACK, hard), hard))
    os.execve(walls.PROGRAM_FD, ["program"], {})  # noqa: S606 - in a jail, with nothing else to execute
