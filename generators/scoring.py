"""How likely a student finds a trace: requests that score a response after its prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proofmill.generators.engine import Request
from proofmill.generators.prompts import Message, Renderer, opened_reasoning


def score_requests(
    rows: Iterable[tuple[str, list[Message], str]], renderer: Renderer, arguments: Mapping[str, Any]
) -> Iterator[Request]:
    """A request for each response that has a token.

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
    """Number of tokens that a request scores."""
    return len(request.tokens) - (request.score_from or 0)
