"""How the student will see a training row: counted and checked with its own tokenizer and chat template.

Many chat templates drop or rewrite the reasoning of an assistant message. A row that would lose it, or whose
prompt would not be a prefix of the whole, would train the student on something that was never proven; so
publishing renders every row and stops at the first such one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofmill.data.errors import InputError
from proofmill.generators.engines.base import Request
from proofmill.generators.prompts import Message, Renderer, opened_reasoning


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row as published: messages or text, with counts where there is a student."""

    prompt: list[Message] | str
    completion: list[Message] | str
    completion_tokens: int | None
    total_tokens: int | None


class StudentView:
    """How one student sees rows.

    Args:
        student: its tokenizer and template; None: rows are not counted, and only `messages` can be written.
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
        heads = self._student.tokens_of([head for head, _ in pairs])
        wholes = self._student.tokens_of([head + tail for head, tail in pairs])
        rendered = []
        for (prompt, text, trace), pair, head, whole in zip(rows, pairs, heads, wholes, strict=True):
            if whole[: len(head)] != head:
                raise self._lost("the prompt's tokens are not a prefix of the whole", trace)
            self.longest = max(self.longest, len(whole))
            shown: tuple[Any, Any] = pair if self._text else (prompt, _assistant(text))
            rendered.append(Rendered(*shown, len(whole) - len(head), len(whole)))
        return rendered

    def _pair(self, prompt: list[Message], text: str, trace: str) -> tuple[str, str]:
        """Prompt and completion as the student's text."""
        student = self._student
        if student is None:
            raise TypeError("rendering needs a student")
        head = student.text(prompt, self._arguments)
        if self._text:
            return head, _after(head, text) + student.end
        whole = student.exchange([*prompt, *_assistant(text)], self._arguments)
        if not whole.startswith(head):
            raise self._lost("the template writes the prompt differently once it is answered", trace)
        tail = whole[len(head) :]
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
    """What of a response the prompt has not said already, where its end opens the reasoning block.

    A response without reasoning closes the block at once, so that it isn't read as reasoning.
    """
    if not opened_reasoning(head):
        return text
    return text.removeprefix("<think>").lstrip("\n") if text.startswith("<think>") else f"</think>\n\n{text}"


def _assistant(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def score_requests(
    rows: Iterable[tuple[str, list[Message], str]], renderer: Renderer, arguments: Mapping[str, Any]
) -> Iterator[Request]:
    """Yield a request for each response that has a token.

    The prompt is rendered with the student's template, up to where its answer begins; the response's tokens
    follow as they are, without the token that would end the turn. A reasoning tag that the template opens by
    itself is the prompt's, not the response's.

    Args:
        rows: id, prompt and response of each trace.
        renderer: the student's template and tokenizer.
        arguments: of the chat template.
    """
    for name, prompt, response in rows:
        text = renderer.text(prompt, arguments)
        begun = renderer.tokens(text)
        answer = renderer.tokens(response.removeprefix(opened_reasoning(text)))
        if answer:
            yield Request(name, (*begun, *answer), seed=0, score_from=len(begun))


def answer_tokens(request: Request) -> int:
    """Return the number of tokens that a request scores."""
    return len(request.tokens) - (request.score_from or 0)
