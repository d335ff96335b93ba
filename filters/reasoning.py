"""Where a response's reasoning block ends and its final part begins."""

from __future__ import annotations

import re
from typing import NamedTuple

# The think tags of R1-style models, of Magistral and of OpenThoughts. A tag between backticks is a
# mention, not a tag.
_OPEN = r"<think(?:ing)?>|\[THINK\]|<\|begin_of_thought\|>"
_CLOSE = r"</think(?:ing)?>|\[/THINK\]|<\|end_of_thought\|>"
_TAG = re.compile(rf"(?=[<\[])(?:(?P<open>{_OPEN})|(?P<close>{_CLOSE}))")  # one look at a character that begins none


class Think(NamedTuple):
    """A response cut at its reasoning block.

    Attributes:
        reasoning: the text inside the block, as it stands; empty where there is none.
        rest: the text after the block; empty where the block never closes.
        rest_start: offset of `rest` in the response.
        closed: False where a block was opened and not closed.
    """

    reasoning: str
    rest: str
    rest_start: int
    closed: bool


def split_think(response: str, *, opened: bool = False) -> Think:
    """Cut a response into its reasoning and what follows.

    Several blocks count as one, from the first opening to the last closing; a block opened again and
    left open makes the whole response unclosed. A closing tag with no opening before it closes a block
    that the prompt opened. Later closing tags without an opening are plain text.

    Args:
        response: what the model wrote.
        opened: the prompt ended inside a block (the chat template prefills the tag), so a response
            without a closing tag is unclosed.
    """
    start, end, rest_start, inside = 0, 0, 0, opened
    first = len(response) - len(response.lstrip())  # where a prefilled tag may be written once more
    for match in _TAG.finditer(response):
        if _is_mention(response, match):
            continue
        if match.lastgroup == "open":
            if not rest_start and (not inside or match.start() == first):
                start = match.end()
            inside = True
        elif inside or not rest_start:
            end, rest_start, inside = match.start(), match.end(), False
    if inside:
        return Think(response[start:], "", len(response), False)
    return Think(response[start:end], response[rest_start:], rest_start, True)


def split_final(response: str, final_start: int | None) -> tuple[str, str]:
    """(reasoning, final part) of a response: its think block and what follows it, else (an empty block says
    nothing) the text before and from the statement of the answer, at `final_start` in the response."""
    think = split_think(response)
    if think.reasoning.strip():
        return think.reasoning.strip(), think.rest.strip()
    if final_start is None:
        return think.rest.strip(), ""
    return response[think.rest_start : final_start].strip(), response[final_start:].strip()


def _is_mention(response: str, match: re.Match[str]) -> bool:
    return response.startswith("`", match.end()) and response.endswith("`", 0, match.start())
