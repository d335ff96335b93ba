"""`proofmill push`: push a version to the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import get_token
from huggingface_hub.utils.tqdm import disable_progress_bars
from rich.console import Console
from rich.markup import escape

from proofmill.data.files import human_size
from proofmill.data.hub import Hub, PushPlan, Say, checked_name, local_files, plan, push, tag_of
from proofmill.data.versions import Version, find

_SHOWN = 10
_CLIENT = "huggingface_hub"


def run(home: Path, label: str, repo: str, token: str | None, *, public: bool, dry_run: bool, console: Console) -> None:
    """Push a version, or print what a push would do."""
    say: Say = lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)  # noqa: E731
    version = find(home, label)
    repo = checked_name(repo)
    hub = Hub(repo, token=token, say=say) if token or get_token() or not dry_run else None
    say(f"comparing {version.label} with its manifest")
    files = local_files(version)
    if hub is None:
        say("There is no token for the hub, so this is what a repository that has nothing yet would get.")
        _told(version, PushPlan(None, False, None, files, []), repo, console, public=public)
        return
    if not console.is_terminal:
        disable_progress_bars()
    with _client_speaks(say):
        if dry_run:
            _told(version, plan(version, files, hub, public=public), repo, console, public=public)
            return
        done = push(version, files, hub, public=public)
    _finished(version, done, repo, console, public=public)


def _told(version: Version, todo: PushPlan, repo: str, console: Console, *, public: bool) -> None:
    if todo.tagged:
        console.print(f"{version.label} is on {repo} already: nothing would be done.", soft_wrap=True)
        return
    kind = "public" if public else "private"
    place = f"a new {kind} repository {repo}" if todo.private is None else f"branch {todo.onto and todo.onto.name}"
    total = sum(file.size for file in todo.add)
    console.print(f"[bold]{version.label}[/] to {place}: {len(todo.add)} files, {human_size(total)}", soft_wrap=True)
    lines = [f"  + {file.name}  {human_size(file.size)}" for file in todo.add] + [f"  - {name}" for name in todo.remove]
    for line in lines[:_SHOWN]:
        console.print(escape(line), soft_wrap=True)
    if len(lines) > _SHOWN:
        console.print(f"  … and {len(lines) - _SHOWN} more")
    console.print(f"then the tag {tag_of(version)}. Nothing was sent.", soft_wrap=True)


def _finished(version: Version, done: PushPlan, repo: str, console: Console, *, public: bool) -> None:
    tag = tag_of(version)
    if done.tagged:
        console.print(f"{version.label} is on {repo} already, tag {tag}: nothing to do.", soft_wrap=True)
    else:
        total = human_size(sum(file.size for file in done.add))
        console.print(
            f"[green]{version.label} is on {repo}[/], tag {tag}: {len(done.add)} files new or changed, {total}; every "
            "hash was compared there.",
            soft_wrap=True,
        )
    if public and done.private:
        console.print("The repository was private before and stays so; its settings on the hub change that.")
    console.print(f'  load_dataset("{repo}", "sft_stage1", revision="{tag}")', markup=False, soft_wrap=True)


@contextmanager
def _client_speaks(say: Say) -> Iterator[None]:
    """Pass on the client's messages about waiting and retries; its other lines contain signed addresses."""
    logger = logging.getLogger(f"{_CLIENT}.utils._http")
    handler = _Waits(say)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Waits(logging.Handler):
    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(("Retrying in", "Rate limited")):
            self._say(f"the hub did not take it: {text[0].lower()}{text[1:]}")
