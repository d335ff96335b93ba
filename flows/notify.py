"""Tells a webhook when a run fails: `python -m proofmill.flows.notify URL`, once, against the Prefect server in use.

An ordinary Prefect automation: it can be seen, changed and paused in the UI like any other.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import cast

import httpx
from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.settings import PREFECT_API_URL

from proofmill.data.errors import UsageError

NAME = "proofmill-failures"
_BODY = (
    '{"text": {{ ("proofmill: the run " ~ flow_run.name ~ " of " ~ deployment.name ~ " is " ~ flow_run.state.name '
    '~ ": " ~ flow_run.state.message) | tojson }}}'
)


def notify(url: str) -> None:
    """Make the automation, or point the existing one to another address.

    Args:
        url: takes a POST with a JSON object whose `text` says what failed, as chat services do.

    Raises:
        UsageError: the address is none, or no Prefect server answers.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is no address.", remedy="give one that starts with https://")
    with _answering():
        _automate(url)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise UsageError(
            f"No Prefect server answers: {error}.",
            where=str(PREFECT_API_URL.value()),
            remedy="start it (prefect server start --background), or set PREFECT_API_URL to where it is",
        ) from error


def _automate(url: str) -> None:
    block = Webhook(method="POST", url=url).save(NAME, overwrite=True)
    automation = Automation(
        name=NAME,
        description="A failed or crashed run of proofmill calls a webhook.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match_related={"prefect.resource.name": "regenerate", "prefect.resource.role": "flow"},
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=block, payload=_BODY)],
    )
    with contextlib.suppress(ValueError):  # there is none yet
        cast(Automation, Automation.read(name=NAME)).delete()
    automation.create()


if __name__ == "__main__":
    try:
        notify(*sys.argv[1:2] or [""])
    except UsageError as error:
        sys.exit(f"error: {error}")
