"""The layers of the jail that model-written code runs in, tried out."""

from __future__ import annotations

from collections.abc import Iterator

from proofmill.filters.domains import find_domain, is_known
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verification import VERDICTS
from proofmill.flows.doctor.checks import FAIL, OK, WARN, Check, Place


def look(place: Place) -> Iterator[Check]:
    """One finding for the whole jail, or one for each layer that is missing."""
    section = place.recipe.options(VERDICTS).jail
    with Jail(1, allow_subprocess=section.allow_subprocess) as jail:
        layers = jail.probe()
    missing = [layer for layer in layers if not layer.ok]
    if not missing:
        yield Check("sandbox", OK, f"all {len(layers)} layers hold")
    for layer in missing:
        status = WARN if section.weaker or not _runs_code(place) else FAIL
        yield Check(f"sandbox: {layer.name}", status, layer.why, layer.remedy)


def _runs_code(place: Place) -> bool:
    domains = {source.domain for source in place.recipe.problems.sources}
    domains |= {getattr(sampler.engine, "domain", "") for sampler in place.recipe.samplers}
    custom = place.recipe.options(VERDICTS).verifiers
    return any(find_domain(name, custom).runs_in == "jail" for name in domains if is_known(name, custom))
