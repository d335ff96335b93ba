"""How a command is written so that the reader can type it here."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence


def program() -> str:
    """`proofmill`, or the path that this one was started by where the shell would not find that name."""
    started = sys.argv[0]
    if os.path.basename(started) != "proofmill" or shutil.which("proofmill"):  # noqa: PTH119 (a word, not a place)
        return "proofmill"
    short = os.path.relpath(started)
    return short if len(short) < len(started) else started


def typed(*words: str, home: str | None = None) -> str:
    """A proofmill command line, with `--home` where this command was given one."""
    place: Sequence[str] = ("--home", home) if home else ()
    return shlex.join([program(), *words, *place])
