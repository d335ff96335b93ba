"""C++: compiled once in a jail that has the compiler, run once a test in the usual one, as the only thing to execute.

The compiler reads hostile text (`#include` of any file it can see, templates that never end), so it has walls and
limits of its own. The binary never touches a disk outside, and is never run outside.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from typing import Any

from proofmill.filters.sandbox import sandbox_process, wire

COMPILER = "g++"
SHOWN = ("/usr/bin", "/usr/include", "/usr/lib", "/usr/libexec")
"""What the compiler's jail shows: system folders, read-only."""
_OPTIONS = ("-x", "c++", "-std=c++17", "-O2", "-static", "-pipe", "-w", "-fmax-errors=1", "-fdiagnostics-color=never")
_STACK = 256 << 20
_MESSAGE_CHARS = 300


def installed() -> bool:
    """Whether this machine has the compiler."""
    return shutil.which(COMPILER) is not None


def compile_program(channel: wire.Link, _job: dict[str, Any]) -> None:
    """In a jail: compile standard input, and write the binary to standard output."""
    target = "/tmp/program"  # noqa: S108 - the jail's own
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
    """In a jail: become the program that was handed in. Nothing else can be executed there."""
    channel.send(wire.ANSWER, {"ok": None})
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK if hard < 0 else min(_STACK, hard), hard))
    os.execve(sandbox_process.PROGRAM_FD, ["program"], {})  # noqa: S606 - in a jail, with nothing else to execute
