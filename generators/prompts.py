"""Render a problem into the tokens that the model sees, and a trace into the messages that training sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.files import digest
from proofmill.filters.domains import find_domain
from proofmill.generators.engines.base import Request

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """The recipe's `prompt` section.

    Attributes:
        system: system message for all problems; a problem's own one wins.
        templates: by domain, text with `{problem}`.
        chat_template_args: passed to the chat template (`enable_thinking`, …).
        verifiers: custom verifiers by domain.
    """

    system: str | None
    templates: Mapping[str, str]
    chat_template_args: Mapping[str, Any]
    verifiers: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """Return the parts that decide the rendered prompts."""
        return {
            "system": self.system,
            "templates": dict(self.templates),
            "chat_template_args": dict(self.chat_template_args),
        }


def messages(style: PromptStyle, problem: Mapping[str, Any]) -> list[Message]:
    """Return the prompt of a problem (row of schema PROBLEMS) as sampled."""
    template = style.templates.get(problem["domain"])
    if template is None:
        ask = find_domain(problem["verifier"], style.verifiers).ask
        text = f"{problem['prompt']}\n\n{ask}" if ask else problem["prompt"]
    else:
        text = template.replace("{problem}", problem["prompt"])
    return _with_system(problem["system"] or style.system, text)


def bare(problem: Mapping[str, Any]) -> list[Message]:
    """Return the prompt of a problem without instructions on how to answer."""
    return _with_system(problem["system"], problem["prompt"])


def as_trained(style: PromptStyle, problem: Mapping[str, Any], train_as: str) -> list[Message]:
    """Return the prompt that training sees: as it was `sampled`, or `bare`."""
    return bare(problem) if train_as == "bare" else messages(style, problem)


def _with_system(system: str | None, text: str) -> list[Message]:
    start = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": text}]


class Renderer:
    """A model's own chat template and tokenizer.

    Args:
        model: folder of the model.

    Raises:
        InputError: at first use, when the folder's tokenizer can't be loaded or has no chat template.
    """

    def __init__(self, model: Path) -> None:
        self.model = model

    @cached_property
    def _tokenizer(self) -> Any:
        """The tokenizer, loaded at first use: importing transformers takes seconds, in which the engine can load."""
        return load_tokenizer(self.model)

    @property
    def template_digest(self) -> str:
        """Digest of the chat template."""
        return digest(str(self._tokenizer.chat_template))

    def text(self, prompt: list[Message], arguments: Mapping[str, Any]) -> str:
        """Return the prompt as text, with the generation prompt that the model continues."""
        return self._rendered(prompt, {**arguments, "add_generation_prompt": True})

    def exchange(self, turns: list[Message], arguments: Mapping[str, Any]) -> str:
        """Return a finished exchange as text."""
        return self._rendered(turns, arguments)

    def _rendered(self, turns: list[Message], arguments: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            rendered: str = self._tokenizer.apply_chat_template(turns, tokenize=False, **arguments)
        except TemplateError as error:  # many templates refuse a system message
            raise InputError(
                f"The model's chat template refuses a prompt: {error}.",
                where=str(self.model),
                remedy="leave prompt.system out and say it in prompt.templates, or use another model",
            ) from error
        return rendered

    @property
    def end(self) -> str:
        """What ends an assistant's turn."""
        return str(self._tokenizer.eos_token or "")

    def tokens_of(self, texts: list[str]) -> list[list[int]]:
        """Return token ids of many rendered texts at once."""
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return ids

    def tokens(self, text: str) -> list[int]:
        """Return token ids of rendered text."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decoded(self, tokens: list[int]) -> str:
        """Return the text of token ids, special tokens and all."""
        text: str = self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text


def load_tokenizer(model: Path) -> Any:
    """Return the tokenizer in a model folder.

    Raises:
        InputError: there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"The tokenizer of the model can't be loaded: {str(error).splitlines()[0]}",
            where=str(model),
            remedy="save one beside the weights: AutoTokenizer.from_pretrained(base).save_pretrained(folder)",
        ) from error
    if not tokenizer.chat_template:
        raise InputError(
            "The model has no chat template, so a prompt can't be rendered as it was trained.",
            where=str(model),
            remedy="add chat_template.jinja to the folder, or use an instruction-tuned model",
        )
    return tokenizer


def check_templates(templates: Mapping[str, str], section: str) -> None:
    """Refuse a template that would lose the problem.

    Raises:
        RecipeError: a template lacks `{problem}`.
    """
    for domain, template in templates.items():
        if "{problem}" not in template:
            raise RecipeError(
                f"The template for '{domain}' has no {{problem}} in it.",
                where=f"recipe key {section}.templates.{domain}",
                remedy="write {problem} where the problem's text should go",
            )


def opened_reasoning(rendered: str) -> str:
    """Return the reasoning tag that the template opens at the end of a prompt, to be kept with the response."""
    tail = rendered.rstrip()
    return "<think>\n" if tail.endswith("<think>") else ""


# --- how the student will see a training row, counted and checked with its own tokenizer and chat template -------
#
# Many chat templates drop or rewrite the reasoning of an assistant message. A row that loses it, or whose prompt is not
# a prefix of the rendered exchange, would train the student on text that was never proven. So publishing renders every
# row and stops at the first such one.


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row as published: messages or text, with counts where there is a student."""

    prompt: list[Message] | str
    completion: list[Message] | str
    completion_tokens: int | None
    total_tokens: int | None


class StudentView:
    """Renders rows as one student sees them, and counts their tokens.

    Args:
        student: its tokenizer and template; None: tokens are not counted, and only `messages` can be written.
        render: `messages`, or `text` already rendered with the student's template.
        arguments: of the chat template.

    Raises:
        InputError: `text` without a student.
    """

    def __init__(self, student: Renderer | None, render: str, arguments: Mapping[str, Any]) -> None:
        if render == "text" and student is None:
            raise InputError(
                "Rows can't be rendered to text without a student.",
                where="recipe keys publish.render and publish.student",
                remedy="set publish.student to a model, or publish.render to messages",
            )
        self._student = student
        self._text = render == "text"
        self._arguments = dict(arguments)
        self.longest = 0

    def render(self, rows: Sequence[tuple[list[Message], str, str]], *, counted: bool = True) -> list[Rendered]:
        """Return (prompt, completion, trace id) rows as published.

        Raises:
            InputError: the student's template loses the completion, or rewrites the prompt.
        """
        if self._student is None or not counted:
            return [Rendered(prompt, _assistant(text), None, None) for prompt, text, _ in rows]
        # A tokenizer may join spaces that begin a response with the end of the prompt.
        rows = [(prompt, text.lstrip(), trace) for prompt, text, trace in rows]
        pairs = [self._pair(prompt, text, trace) for prompt, text, trace in rows]
        prompt_ids = self._student.tokens_of([head for head, _ in pairs])
        row_ids = self._student.tokens_of([head + tail for head, tail in pairs])
        rendered = []
        for (prompt, text, trace), pair, head, ids in zip(rows, pairs, prompt_ids, row_ids, strict=True):
            if ids[: len(head)] != head:
                raise self._lost("the prompt's tokens are not a prefix of the whole row", trace)
            self.longest = max(self.longest, len(ids))
            shown: tuple[Any, Any] = pair if self._text else (prompt, _assistant(text))
            rendered.append(Rendered(*shown, len(ids) - len(head), len(ids)))
        return rendered

    def _pair(self, prompt: list[Message], text: str, trace: str) -> tuple[str, str]:
        """Return prompt and completion as the student's text."""
        student = self._student
        if student is None:
            raise TypeError("rendering needs a student")
        head = student.text(prompt, self._arguments)
        if self._text:
            return head, _after(head, text) + student.end
        exchange = student.exchange([*prompt, *_assistant(text)], self._arguments)
        if not exchange.startswith(head):
            raise self._lost("the template writes the prompt differently once it is answered", trace)
        tail = exchange[len(head) :]
        if _after(head, text).strip() not in tail:
            raise self._lost("the template drops a part of the response, most likely its reasoning", trace)
        return head, tail

    def _lost(self, why: str, trace: str) -> InputError:
        return InputError(
            f"The student can't hold this data as {'text' if self._text else 'messages'}: {why}.",
            where=f"trace {trace}, template of {self._student.model if self._student else 'no student'}",
            remedy="set publish.student to a model whose tokenizer keeps prompt and response apart"
            if self._text
            else "set publish.render to text: rows are then rendered with nothing lost",
        )


def _after(head: str, text: str) -> str:
    """Return the part of a response that follows the rendered prompt, whose end may already open the reasoning block.

    If the prompt opens the block, a response without reasoning closes it at once, so that it isn't read as reasoning.
    """
    if not opened_reasoning(head):
        return text
    return text.removeprefix("<think>").lstrip("\n") if text.startswith("<think>") else f"</think>\n\n{text}"


def _assistant(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def score_requests(
    rows: Iterable[tuple[str, list[Message], str]], renderer: Renderer, arguments: Mapping[str, Any]
) -> Iterator[Request]:
    """Yield a scoring request for each response that has at least one token.

    The prompt is rendered with the student's template, up to where the answer begins; the response's tokens follow as
    they are, without the token that ends the turn. A reasoning tag that the template opens itself belongs to the
    prompt, not to the response.

    Args:
        rows: id, prompt and response of each trace.
        renderer: the student's template and tokenizer.
        arguments: of the chat template.
    """
    for name, prompt, response in rows:
        text = renderer.text(prompt, arguments)
        prompt_ids = renderer.tokens(text)
        answer_ids = renderer.tokens(response.removeprefix(opened_reasoning(text)))
        if answer_ids:
            yield Request(name, (*prompt_ids, *answer_ids), seed=0, score_from=len(prompt_ids))


def answer_tokens(request: Request) -> int:
    """Return the number of tokens that a request scores."""
    return len(request.tokens) - (request.score_from or 0)
