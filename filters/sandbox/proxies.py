"""Stand-ins, in the jail of the tests, for what the solution's jail can't send as data.

A stand-in forwards what a test does *to* an object (call, attribute, index, length, text). It never
forwards what a test *expects of* it: comparing with a value of the test is answered here, so an
object that says it equals everything equals nothing, and no expected value reaches the solution.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from proofmill.filters.sandbox import instrument, solution_host, test_runner, wire


class SolutionGone(BaseException):
    """The solution's process has ended. Not an Exception, so that no test catches it."""

    beyond_tests = True


class RemoteError(Exception):
    """The solution raised something that has no builtin name."""


class CannotSend(BaseException):
    """A test hands over what has no typed form: it can't be run, and the trace is not to blame."""

    beyond_tests = True


class Wire:
    """The tests' end of the line to the solution.

    Attributes:
        inexact: something that is not plain data came as an answer: a stand-in is not the thing.
        calls: calls so far.
    """

    def __init__(self, channel: wire.Link, classes: Callable[[], dict[str, type]]) -> None:
        self._channel = channel
        self._classes = classes
        self._turn = threading.Lock()  # tests may have threads, and a channel has one conversation
        self.inexact = False
        self.calls = 0

    def call(self, operation: str, *arguments: object, **keywords: object) -> Any:
        """Do `operation` in the solution's jail; its result as builtins or a stand-in.

        Raises:
            SolutionGone: the solution's process has ended.
            CannotSend: an argument has no typed form.
            Exception: what the solution raised, where it is a builtin.
        """
        try:
            message = {
                "op": operation,
                "args": [self._encode(argument) for argument in arguments],
                "kw": {name: self._encode(value) for name, value in keywords.items()},
            }
            with self._turn:
                self._channel.send(wire.CALL, message)
                _, answer = self._channel.receive()
        except wire.WireError as error:
            raise CannotSend(str(error)) from None
        self.calls += operation == "call"
        if "gone" in answer:
            raise SolutionGone
        if "raised" in answer:
            raised = self._raised(*answer["raised"])
            if isinstance(raised, StopIteration) and operation != "next":  # it would end a loop of the test unseen
                raise RemoteError(f"StopIteration: {raised}")
            raise raised
        if operation == "call" and _holds_object(answer["ok"]):
            self.inexact = True
        if answer["ok"] is None:  # what returns something must not change what it is compared with
            for index, node in answer.get("back", ()):
                _restore(arguments[index], self._decode(node))
        return self._decode(answer["ok"])

    def _raised(self, names: list[str], message: str) -> BaseException:
        for name in names:
            kind = self._classes().get(name) or getattr(builtins, str(name), None)
            if isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError:
                try:
                    error = kind(message)
                except TypeError:  # UnicodeDecodeError and such want more than a message
                    break
                error.of_solution = True  # type: ignore[attr-defined]
                return error
        return RemoteError(f"{names[:1]}: {message}")

    def _encode(self, value: object) -> wire.Node:
        return wire.Encoder(self._other).encode(value)

    def _decode(self, node: wire.Node) -> Any:
        return wire.Decoder(self._own).decode(node)

    def _other(self, value: object) -> wire.Node:
        if isinstance(value, Remote):
            return object.__getattribute__(value, "_node")
        name = type(value).__name__
        if self._classes().get(name) is type(value) and hasattr(value, "__dict__"):
            return ["o", name, wire.Encoder(self._other).encode(dict(vars(value)))]
        raise wire.WireError(f"a test hands over a {name}, which has no typed form")

    def _own(self, node: list[wire.Node]) -> object:
        if node[0] == "o":
            made: Any = object.__new__(self._classes()[node[1]])
            made.__dict__.update(self._decode(node[2]))
            return made
        if node[0] == "h":
            return Remote(self, ["h", int(node[1])], str(node[2])[:100])
        raise wire.WireError("unknown tag")


def _holds_object(node: wire.Node) -> bool:
    """Return whether an answer is or holds an object that stayed in the solution's jail."""
    if not isinstance(node, list) or len(node) < 2:
        return False
    if node[0] in ("h", "o"):
        return True
    return isinstance(node[1], list) and any(
        _holds_object(part) for item in node[1] for part in (item if node[0] == "d" else [item])
    )


def _restore(argument: Any, now: Any) -> None:
    """Make the test's own object look as the solution left it."""
    if isinstance(argument, list | bytearray):
        argument[:] = now
    elif isinstance(argument, dict | set):
        argument.clear()
        argument.update(now)
    elif type(argument) is type(now) and hasattr(argument, "__dict__"):
        argument.__dict__.clear()
        argument.__dict__.update(vars(now))


def _forward(operation: str) -> Callable[..., Any]:
    def method(self: Remote, *arguments: object) -> Any:
        return _line(self).call(operation, self, *arguments)

    return method


def _both_remote(operation: str) -> Callable[..., Any]:
    """Return a method for two objects of the solution only: a value of the test must not be shown to either."""

    def method(self: Remote, other: object) -> Any:
        if not isinstance(other, Remote):
            return NotImplemented
        return _line(self).call(operation, self, other)

    return method


def _line(remote: Remote) -> Wire:
    line: Wire = object.__getattribute__(remote, "_wire")
    return line


class Remote:
    """An object, function or class of the solution, seen from the tests."""

    __slots__ = ("_kind", "_node", "_wire")

    def __init__(self, line: Wire, node: wire.Node, kind: str) -> None:
        for name, value in (("_wire", line), ("_node", node), ("_kind", kind)):
            object.__setattr__(self, name, value)

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        """Call it in the solution's jail."""
        return _line(self).call("call", self, *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__name__":
            raise AttributeError(name)
        return _line(self).call("getattr", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _line(self).call("setattr", self, name, value)

    def __eq__(self, other: object) -> bool:
        """Return whether two objects of the solution have one class and state; a value of the test never equals one."""
        if self is other:
            return True
        if not isinstance(other, Remote):
            return False
        mine, theirs = (object.__getattribute__(side, "_node") for side in (self, other))
        if mine == theirs:
            return True
        try:
            return bool(_line(self).call("state", self) == _line(self).call("state", other))
        except TypeError:  # an object without a state is equal to itself only
            return False

    def __hash__(self) -> int:
        return hash(str(object.__getattribute__(self, "_node")))

    def __instancecheck__(self, value: object) -> bool:
        """Return whether a value of the solution is of this class of the solution's; nothing of the test is shown.

        Raises:
            CannotSend: the class extends a builtin, and its objects arrive as that builtin.
        """
        if isinstance(value, Remote):
            return _line(self).call("isinstance", value, self) is True
        bases = _line(self).call("bases", self)
        if value is not None and type(value).__name__ in bases:
            raise CannotSend("a test asks whether a plain value is of a class of the solution's")
        return False

    def __contains__(self, item: object) -> bool:
        return any(item is own or item == own for own in self)

    def __len__(self) -> int:
        return int(_line(self).call("len", self))

    def __bool__(self) -> bool:
        return _line(self).call("bool", self) is True

    def __str__(self) -> str:
        text = _line(self).call("str", self)
        return text if isinstance(text, str) else ""

    def __iter__(self) -> Iterator[Any]:
        items = _line(self).call("iter", self)
        if not isinstance(items, Remote):
            return iter(items)
        end = object()
        return iter(lambda: next(items, end), end)

    __repr__ = __str__
    __getitem__, __setitem__, __delitem__ = _forward("getitem"), _forward("setitem"), _forward("delitem")
    __next__, __neg__, __abs__ = _forward("next"), _forward("neg"), _forward("abs")
    __add__, __sub__, __mul__ = _both_remote("add"), _both_remote("sub"), _both_remote("mul")
    __truediv__, __floordiv__ = _both_remote("truediv"), _both_remote("floordiv")
    __mod__, __and__ = _both_remote("mod"), _both_remote("and")
    __or__, __xor__ = _both_remote("or"), _both_remote("xor")
    __lt__, __le__ = _both_remote("lt"), _both_remote("le")
    __gt__, __ge__ = _both_remote("gt"), _both_remote("ge")


class _SolutionModule(types.ModuleType):
    """`from solution import f`, as some data sets' tests begin."""

    def __init__(self, line: Wire) -> None:
        super().__init__(solution_host.MODULE)
        self.__dict__["_line"] = line
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(self.__dict__["_line"], name)


def _named(line: Wire, name: str) -> Any:
    """Return the solution's global `name`: data, or a stand-in; raises what the solution's side raises."""
    return line.call("value", Remote(line, ["n", name], "name"))


def run_apart(channel: wire.Link, job: dict[str, Any]) -> None:
    """Run the job's tests against stand-ins for a solution in another jail, and report how many passed."""
    space, score = solution_host.Space("tests"), test_runner.TestCounts(job["all_tests"])
    names = space.names
    names["__name__"] = "__main__"  # a guard at the end of a test text holds, as it does beside the solution
    line = Wire(channel, lambda: {n: names[n] for n in space.classes if isinstance(names.get(n), type)})
    module = _SolutionModule(line)
    sys.modules[solution_host.MODULE] = sys.modules["main"] = sys.modules["your_module"] = module
    asked = frozenset(job["asked"])
    point = job["entry_point"]
    tests = test_runner.Tests(
        names, score, lambda: names["candidate"], point, calls=lambda: line.calls, asked=asked,
    )  # fmt: skip
    report: dict[str, Any] = {"fault": None, "gone": False}
    try:
        solution_host.run_setup(job["setup"], names)
        space.classes = {name for name, value in names.items() if isinstance(value, type)}
        _bind(names, line, job)
        tests.run(job["tests"], job["test"])
    except SolutionGone:
        report["gone"] = True
    except (instrument.TestsFaultError, CannotSend) as error:
        report["fault"] = instrument.describe(error)
    except Exception as error:  # noqa: BLE001 - what a test lets through is its failure
        score.record("rest", error)
    report |= {"passed": sum(score.outcome.values()), "ran": len(score.outcome), "why": score.first_failure}
    channel.send(wire.DONE, report | {"inexact": line.inexact})


def _bind(names: dict[str, Any], line: Wire, job: dict[str, Any]) -> None:
    for name, (module, member) in job["library"].items():
        found = importlib.import_module(module)
        names[name] = getattr(found, member) if member else found
    for name in job["asked"]:
        with contextlib.suppress(Exception):  # the solution lacks the name: the test that uses it says so
            names[name] = _named(line, name)
    if "(" in job["entry_point"]:
        kind, _, method = job["entry_point"].partition("().")
        names["candidate"] = lambda *a, **k: getattr(names[kind](), method)(*a, **k)
    elif job["entry_point"]:
        names["candidate"] = names.get(job["entry_point"])
