"""`proofmill report`: the page of a version, or its funnel, from the folder alone."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proofmill.data.files import atomic
from proofmill.data.report.page import funnel as picture
from proofmill.data.report.page import render
from proofmill.data.versions import check_files, find


def run(home: Path, label: str, out: Path | None, console: Console, *, funnel: bool) -> None:
    """Writes the report of a version, after its files were compared with its manifest.

    Raises:
        StoreError: a file of the version is not what was published.
    """
    version = find(home, label)
    check_files(version)
    path = out or Path(f"{version.name}-v{version.number}.{'svg' if funnel else 'html'}")
    text = picture(version, alone=True) if funnel else render(version)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.print(f"written: {path}", markup=False, soft_wrap=True)
