"""Which licences may be published without being asked for by name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proofmill.data.errors import InputError

UNKNOWN = "unknown"
_RESTRICTIVE = re.compile(
    r"(?<![a-z])(nc|nd|non[-_ ]?commercial|research|proprietary|other|none|noassertion|all[-_ ]rights)(?![a-z])"
)

_HUB = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0
    gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail
    openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib
    """.split()  # noqa: SIM905 (readable as it is)
)
"""Licences that the hub knows by name (its documentation, "Licenses"); any other is `other` with a name."""


def hub_license(name: str) -> str | None:
    """The hub's name of a licence, None where it has none."""
    return name.lower() if name.lower() in _HUB else None


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
