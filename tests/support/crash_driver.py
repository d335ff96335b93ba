"""Runs the main job in forked children that stop or kill themselves at an exact call: `python crash_driver.py`.

Orders come as JSON lines, answers go out as JSON lines. A child is a fork of this process, which has imported
everything and started nothing, so that a run costs no imports. The code that runs is the product's own; only the
calls that make a change lasting (`fsync`, `rename`, `unlink`, `truncate`) are counted on their way to the system, and
its workers are forks of such a fork, where they would be forks of a fresh interpreter that imports the same.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import signal
import sys
import threading
import traceback
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock

from proofmill.filters import workers

COUNTED = ("fsync", "rename", "unlink", "truncate")
# What a run imports late, and each fork would import again.
WARM = (
    "proofmill.flows.regenerate",
    "prefect.flow_engine",
    "prefect.utilities.visualization",
    "fastapi",
    *(f"proofmill.filters.domains.{name}" for name in ("math", "code", "logic", "choice", "instruction")),
)


class Fault:
    """Sends this process a signal at one counted call, before or after it.

    The order says which: the `at`-th of all, or the first whose name is `call`, whose file's path matches `path`
    somewhere, and whose file has `line` in it.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.at, self.after = order.get("at", 0), order.get("after", False)
        self.named = {name: order.get(name, "") for name in ("call", "path", "line")}
        self.signal = getattr(signal, order.get("signal", "SIGKILL"))
        self.count = 0
        self._lock = threading.Lock()
        for name in COUNTED:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                self.count += 1
                now = self.count == self.at or (name == self.named["call"] and self._meant(name, args))
            if now and not self.after:
                os.kill(os.getpid(), self.signal)
            result = real(*args, **options)
            if now and self.after:
                os.kill(os.getpid(), self.signal)
            return result

        return call

    def _meant(self, name: str, args: tuple[Any, ...]) -> bool:
        given = args[1] if name == "rename" else args[0]
        path = str(Path(f"/proc/self/fd/{given}").readlink()) if isinstance(given, int) else str(given)
        if not re.search(self.named["path"], path):
            return False
        return not self.named["line"] or (Path(path).is_file() and self.named["line"] in Path(path).read_text())


class ForkedServer(workers._ForkServer):
    """The process that forks this run's workers: a fork that nothing has happened in, instead of a new interpreter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._orders.close()
            workers.fork_workers(theirs.fileno())
            os._exit(0)
        theirs.close()
        self._process: Any = self  # in the place of a `subprocess.Popen`

    def poll(self) -> int | None:
        """Return None while it runs."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended.si_status if ended else None


def child(order: dict[str, Any]) -> None:
    """Run one run; its exit status tells how it ended, and its result is in the file `said`."""
    from proofmill.data.errors import ProofmillError
    from proofmill.flows.regenerate import regenerate

    workers._servers.append(ForkedServer())
    os.environ.update(order.get("environment", {}))
    if order.get("no_locks"):  # as on a shared folder that is mounted without them
        filelock.FileLock = lambda *_, **__: SimpleNamespace(acquire=lambda: None, release=lambda: None)  # type: ignore[assignment]
    fault = Fault(order)
    said: dict[str, Any] = {}
    if order.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"],) * 2)
    try:
        said["version"] = regenerate(recipe=order["recipe"], home=order["home"], **order.get("options", {}))["version"]
        status = 0
    except ProofmillError as error:
        said["error"], status = str(error), error.exit_code
    except BaseException:  # noqa: BLE001 (the parent reads what it was)
        said["error"], status = traceback.format_exc(), 70
    said["calls"] = fault.count
    Path(order["said"]).write_text(json.dumps(said))
    os._exit(status)


def main() -> None:
    """Serve orders: {"op": "start", …} returns a process id, {"op": "wait", "pid": …} how it ended."""
    for module in (*WARM, *sys.argv[1:]):
        importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "start":
            if (answer := os.fork()) == 0:
                child(order)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["pid"], 0)[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
