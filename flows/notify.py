"""Tells a webhook when a run fails: `python -m proofmill.flows.notify URL`, once, against the Prefect server in use.

An ordinary Prefect automation: it can be seen, changed and paused in the UI like any other.
"""

from __future__ import annotations

import contextlib
import sys
from typing import cast

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture

from proofmill.data.errors import UsageError

NAME = "proofmill-failures"
_BODY = (
    '{"text": {{ ("proofmill: the run " ~ flow_run.name ~ " of " ~ deployment.name ~ " is " ~ flow_run.state.name '
    '~ ": " ~ flow_run.state.message) | tojson }}}'
)


def notify(url: str) -> None:
    """Makes the automation, or points the existing one to another address.

    Args:
        url: takes a POST with a JSON object whose `text` says what failed, as chat services do.

    Raises:
        UsageError: the address is none.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is no address.", remedy="give one that starts with https://")
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
    notify(sys.argv[1])
