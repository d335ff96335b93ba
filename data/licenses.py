"""Which licences may be published without being asked for by name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proofmill.data.errors import InputError

UNKNOWN = "unknown"
_RESTRICTIVE = re.compile(
    r"(?<![a-z])(nc|nd|non[-_ ]?commercial|research|proprietary|other|none|noassertion|all[-_ ]rights)(?![a-z])"
)


def check_licenses(found: Iterable[str | None], allowed: Iterable[str]) -> None:
    """Refuses licences that are unknown, non-commercial or forbid derivatives, unless they are allowed by name.

    Raises:
        InputError: names the licences and how to allow them.
    """
    allowed = {name.lower() for name in allowed}
    names = {(name or UNKNOWN).lower() for name in found}
    refused = sorted(name for name in names - allowed if name == UNKNOWN or _RESTRICTIVE.search(name))
    if refused:
        raise InputError(
            f"The licence of some problems is {' or '.join(refused)}, so they can't be published as they are.",
            where="recipe keys problems.sources[].license and samplers[].engine.license",
            remedy="state the source's licence there, or allow it: "
            f"--set 'publish.allow_licenses=[{', '.join(refused)}]'",
        )
