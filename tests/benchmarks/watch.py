"""Memory and temporary files of a process that a benchmark runs, told apart by their kind."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import psutil


def resident(pid: int) -> tuple[int, int]:
    """Bytes of anonymous memory and of mapped files that a process holds; none of one that has ended."""
    kinds = {b"RssAnon:": 0, b"RssShmem:": 0, b"RssFile:": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            kind, *rest = line.split()
            if kind in kinds:
                kinds[kind] = int(rest[0]) << 10
    anonymous, shared, mapped = kinds.values()
    return anonymous + shared, mapped


class Watch(threading.Thread):
    """Looks at a process, its children and its temporary files while it lives; keeps the highest values, in MiB."""

    def __init__(self, pid: int, out: Path) -> None:
        super().__init__()
        self._pid, self._out = pid, out
        self.peaks = (0.0, 0.0, 0.0)
        self.start()

    def run(self) -> None:
        while psutil.pid_exists(self._pid):
            now = (*self._memory(), self._files())
            self.peaks = tuple(map(max, zip(self.peaks, now, strict=True)))
            time.sleep(0.05)

    def _memory(self) -> tuple[float, float]:
        found = [(0, 0)]
        with contextlib.suppress(psutil.Error):
            whole = psutil.Process(self._pid)
            found += [resident(process.pid) for process in whole.children(recursive=True) or [whole]]
        anonymous, mapped = (sum(kind) / 2**20 for kind in zip(*found, strict=True))
        return anonymous, mapped

    def _files(self) -> float:
        """All beside the file that is written."""
        total = 0
        for folder, _, names in os.walk(self._out.parent):
            for name in names:
                with contextlib.suppress(OSError):
                    total += 0 if self._out.name in name else (Path(folder) / name).stat().st_size
        return total / 2**20
