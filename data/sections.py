"""Building blocks of recipe sections: the base class, shared types, and the engines that a section may name.

They are in the lowest layer because filters declare their own sections, generators run the engines, and flows combine
all of them into the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
PinnedVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}@v[0-9]+$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
FieldMap = dict[str, str]


@dataclass(frozen=True)
class Needs:
    """Marks an option that does nothing without another one: `Annotated[int, Needs("mix")]`.

    Given a value of its own where that one is not there, it is refused, since its user expects it to do something.

    Attributes:
        other: what it needs: the other option, or in words what that one must hold.
        met: whether that is there, by the section; None: the option `other` is neither null nor empty nor 0.
        of_recipe: `met` and `other` are about the whole recipe.
    """

    other: str
    met: Callable[[Any], Any] | None = None
    of_recipe: bool = False

    def is_met(self, owner: Any) -> bool:
        """Return whether it is there, by the section, or the recipe."""
        return bool((self.met or attrgetter(self.other))(owner))


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, and so are options that do nothing; values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _no_idle_option(self) -> Self:
        for fault in self.idle_options():
            raise ValueError(fault)
        return self

    def idle_options(self, recipe: Any = None) -> Iterator[str]:
        """Yield what is wrong with options that do nothing for want of others (`Needs`).

        Args:
            recipe: also look at what options of inner sections need of the whole recipe; None: at this section alone.
        """
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            for needs in field.metadata:
                mine = isinstance(needs, Needs) and needs.of_recipe == (recipe is not None)
                if mine and value != field.default and not needs.is_met(self if recipe is None else recipe):
                    yield f"{name}: does nothing without {needs.other}; give that too, or leave {name} out"
            for inner in (value if isinstance(value, tuple) else (value,)) if recipe is not None else ():
                if isinstance(inner, Section):
                    yield from (f"{name}.{fault}" for fault in inner.idle_options(recipe))


class VllmEngine(Section):
    """vLLM in a process of its own on this machine."""

    kind: Literal["vllm"] = "vllm"
    dtype: str | None = Field(None, description="None: bfloat16 where the hardware has it, else float32")
    max_model_len: int | None = Field(None, ge=16, description="tokens of prompt and completion; None: the model's own")
    window: int | None = Field(None, ge=1, description="requests in flight; None: what fits the machine")
    restarts: int = Field(5, ge=0, description="deaths in a row, with no prompt to blame, before the run gives up")
    args: dict[str, Any] = Field({}, description="passed through to vLLM's EngineArgs, and recorded")


class OpenAIEngine(Section):
    """Servers that speak the OpenAI protocol; `samplers[].model` names the tokenizer of what they serve."""

    kind: Literal["openai"]
    endpoints: tuple[str, ...] = Field((), description="base addresses, like http://gpu1:8000/v1")
    endpoints_from: str | None = Field(
        None, description="folder of files that hold an address each; servers whose files come and go are followed"
    )
    served: str | None = Field(None, description="name under which they serve the model; None: the only one")
    revision: str | None = Field(None, description="which weights they serve, in your words; recorded")
    api: Literal["completions", "chat"] = Field(
        "completions", description="completions sends tokens, the very prompts of engine vllm; chat sends messages"
    )
    api_key_env: str | None = Field(None, description="name of the environment variable that holds the API key")
    window: int = Field(128, ge=1, description="requests in flight at one endpoint")
    timeout_s: float = Field(1800.0, gt=0, description="of one request")
    retries: int = Field(5, ge=0, description="faults of one request before its sample is recorded as `failed`")
    wait_s: float = Field(300.0, ge=0, description="how long to wait while no endpoint can be used")
    max_model_len: int | None = Field(None, ge=16, description="for servers that don't say it")

    @field_validator("endpoints")
    @classmethod
    def _addresses(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        addresses = [address_of(endpoint) for endpoint in endpoints]
        if len(set(addresses)) < len(addresses):
            raise ValueError("the same endpoint is listed twice")
        return tuple(addresses)

    @model_validator(mode="after")
    def _somewhere(self) -> OpenAIEngine:
        if not self.endpoints and self.endpoints_from is None:
            raise ValueError("endpoints: name at least one server, or a folder with endpoints_from")
        return self


def address_of(endpoint: str) -> str:
    """Return the base address of a server, with its version.

    Raises:
        ValueError: it is none, or holds a password.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
        raise ValueError(f"'{endpoint}' is not an address like http://host:8000/v1")
    if "@" in parts.netloc:
        raise ValueError("an address must not hold a password; name a variable with api_key_env")
    return endpoint.rstrip("/") if parts.path.strip("/") else endpoint.rstrip("/") + "/v1"


class ReplayEngine(Section):
    """Recorded samples instead of a model: files, published versions, or hub data sets."""

    kind: Literal["replay"] = "replay"
    files: tuple[str, ...] = Field((), description="JSONL (.gz, .zst), Parquet, NAME@vN, or hf://user/name")
    split: str = Field("train", description="split of a hub data set")
    map: FieldMap = Field({}, description="our field: theirs; `response: solutions[]` makes a list many rows")
    domain: str = Field("math", description="of rows that name none")
    license: str | None = Field(None, description="of rows that name none; unknown ones are not published")
    model: str | None = Field(None, description="who wrote the samples, where the rows don't say")
    limit: int | None = Field(None, ge=1, description="rows of each entry at most; null: all")


def _engine(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": "vllm", **value} if isinstance(value, dict) else value


Engine = Annotated[
    Annotated[VllmEngine | OpenAIEngine | ReplayEngine, Field(discriminator="kind")], BeforeValidator(_engine)
]
LiveEngine = Annotated[Annotated[VllmEngine | OpenAIEngine, Field(discriminator="kind")], BeforeValidator(_engine)]
"""An engine that runs a model, so not `replay`."""


class ModelSection(Section):
    """The model that a filter asks: that of one of the run's samplers, whose engine stays loaded, or another one."""

    sampler: Name | None = Field(None, description="whose model and engine are asked; instead of `model`")
    model: str | None = Field(None, description="hub id, local folder, or `bundled`")
    engine: LiveEngine | None = Field(
        None, description="of that model; None: the engine of the sampler that has it, else vllm"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.sampler is not None and (self.model is not None or self.engine is not None):
            raise ValueError("sampler: it brings its own model and engine, so leave `model` and `engine` out")
        return self


def portable_name(source: str) -> str:
    """Return the name of a source in rows and keys: the last part of a path, since the rest belongs to this machine."""
    try:
        known = Path(source).expanduser().exists()
    except (OSError, RuntimeError):  # a long text that has a slash, or `~` without a user
        known = False
    return Path(source).name if known else source


def portable(value: Any) -> Any:
    """Return a part of a recipe with its paths shortened as in `portable_name`."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    return portable_name(value) if isinstance(value, str) and "/" in value else value
