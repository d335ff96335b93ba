"""What Prefect's UI shows of a run: its progress while it goes on, the funnel and the version at its end."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from proofmill.data.manifest import REPORT, Manifest
from proofmill.flows.display import Progress, listed

log = logging.getLogger("proofmill")
_SECONDS = 15.0  # between two updates; an update is one request


@contextmanager
def progress(shown: Progress, name: str) -> Iterator[None]:
    """Keep a progress artifact up to date while the block runs; errors of the server never stop a run."""
    artifact = _tried(lambda: create_progress_artifact(0.0, key=_key("progress", name), description=shown.message))
    done = threading.Event()

    def follow() -> None:
        while not done.wait(_SECONDS):
            _tried(lambda: update_progress_artifact(cast(UUID, artifact), shown.percent(), shown.line()))

    follower = threading.Thread(target=copy_context().run, args=(follow,), daemon=True)
    if artifact:
        follower.start()
    try:
        yield
    finally:
        done.set()
    if artifact:
        follower.join()
        _tried(lambda: update_progress_artifact(cast(UUID, artifact), 100.0, shown.line()))


def result(name: str, version: Mapping[str, Any]) -> None:
    """Publish the funnel as a table, and where the version and its report are."""
    manifest: Manifest = version["manifest"]
    table = [
        {
            "step": step,
            "in": ledger.entered,
            "kept": ledger.kept,
            "dropped": listed(ledger.dropped),
        }
        for step, ledger in manifest.stages.items()
    ]
    _tried(lambda: create_table_artifact(table, key=_key("funnel", name), description="Where every row went"))
    published = "published" if version["new"] else "unchanged, so not written again"
    folder = version["folder"]
    configs = "\n".join(f"- {config}: {rows:,} rows" for config, rows in manifest.published_rows.items())
    report = (Path(folder) / REPORT).absolute()
    text = f"# {version['version']}: {published}\n\n`{folder}`\n\n{configs}\n\nReport: `{report}`\n"
    _tried(lambda: create_markdown_artifact(text, key=_key("version", name)))
    about = "The report, a file on the machine that made it"
    _tried(
        lambda: create_link_artifact(report.as_uri(), version["version"], key=_key("report", name), description=about)
    )


def _key(kind: str, name: str) -> str:
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"


def _tried(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 (a display's fault must not end hours of work)
        log.warning("Prefect did not take an artifact: %s", error)
        return None
