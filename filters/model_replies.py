"""What goes into a question to a model, and what its reply says, for all filters that ask one."""

from __future__ import annotations

import json
import re
from typing import Any

from proofmill.filters.reasoning import split_think

MALFORMED, CUT = "malformed", "cut"


def quoted(text: str) -> str:
    """Text of others inside a prompt: what could pass for a chat template's own marks is broken up."""
    return re.sub(r"<(?=[|/]|s>)|\[(?=/?INST\])", lambda mark: f"{mark[0]} ", text)


def json_reply(text: str, finish_reason: str) -> dict[str, Any] | str:
    """The JSON object of a reply, after a reasoning block if there is one, or why there is none."""
    if finish_reason != "stop":
        return CUT if finish_reason == "length" else finish_reason
    try:
        value = json.loads(split_think(text).rest)
    except (ValueError, RecursionError):
        return MALFORMED
    return value if isinstance(value, dict) else MALFORMED
