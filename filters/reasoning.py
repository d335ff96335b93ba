r"""Where a response's reasoning block ends, where its final part begins, and where the model has stopped.

It knows the blocks of R1-style models (`<think>`, also written `<thinking>`, `<reasoning>`, `<thought>`,
`<scratchpad>`, `◁think▷`, or closed by LaTeX's `\end{think}`), of Magistral (`[THINK]`), of OpenThoughts
(`<|begin_of_thought|>`), and the channels of gpt-oss (`<|channel|>analysis`, `<|channel|>final`; also as left
by a decoder that drops special tokens: `analysis…assistantfinal…`) and of Gemma (`<|channel>thought…<channel|>`). A
recipe can name tags of its own. After the block, tokens that end a turn (`<|im_end|>`, `</s>`, `<eoa>`) and all
that follows them are not part of what the model says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_NAMES = r"think(?:ing)?|reasoning|thoughts?|scratchpad|seed:think"
_CHANNEL = r"\|(?:start\|>\s?assistant\s?<\|)?channel\|>\s?"
_MESSAGE = r"\b[^<\n]{0,80}(?:<\|constrain\|>\s?\w{1,20}\s?)?<\|message\|>"
# What follows the first character of a tag, `<`, `[`, `◁` or a backslash: a scan for one of four characters is fast.
_OPENINGS = (
    rf"(?<=<)(?i:{_NAMES})>",
    r"(?<=\[)THINK\]",
    r"(?<=◁)think▷",
    r"(?<=<)\|begin_of_thought\|>",
    rf"(?<=<){_CHANNEL}(?:analysis|commentary){_MESSAGE}",
    r"(?<=<)\|channel>\s?(?:thought|analysis)\b",
)
_CLOSINGS = (
    rf"(?<=<)/(?i:{_NAMES})>",
    r"(?<=\[)/THINK\]",
    r"(?<=◁)/think▷",
    r"(?<=<)\|end_of_thought\|>",
    rf"(?<=<){_CHANNEL}final{_MESSAGE}",
    r"(?<=<)channel\|>",
)
# Channels whose special tokens were dropped when the response was decoded; only where the response begins so.
_BARE_CHANNEL = re.compile(r"\s?analysis(?=[\sA-Z\"'(])")
_BARE_FINAL = re.compile(r"assistant\s?final(?=[\s\W\dA-Z]|\Z)")
_END_TOKEN = re.compile(
    r"<(?:\|(?:im_end|eot_id|eot|eom_id|end|endoftext|end_of_text|end_of_turn|end_of_solution|return|user|endofprompt"
    r"|END_OF_TURN_TOKEN|end_of_role|eos|im_start|start_header_id|begin_of_text|start|observation)\|"
    "|\uff5c(?:end\u2581of\u2581sentence|User|Assistant)\uff5c"
    r"|end_of_turn|start_of_turn|turn\||\|turn|EOS_TOKEN|EOS|eos|eoa|eom|eot|eod|pad|PAD|s|/s)>"
)
_GOES_ON = re.compile(r"[ \t]*(?:\n|<|\[|\Z)")  # what may follow a token that ends a turn; else it is only mentioned
_HTML = ("<s>", "</s>")  # strike-through too, so these count at the very end only


def _has_no_tag(response: str) -> bool:
    """Return whether no tag of a family that is known can stand in a response."""
    return "<" not in response and "[" not in response and "◁" not in response and "{think}" not in response


class Think(NamedTuple):
    """A response cut at its reasoning block.

    Attributes:
        reasoning: the text inside the block, as it stands; empty where there is none.
        rest: the text after the block, up to where the model ended its turn; empty where the block never closes.
        rest_start: offset of `rest` in the response.
        closed: False where a block was opened and not closed.
    """

    reasoning: str
    rest: str
    rest_start: int
    closed: bool


def split_think(response: str, *, opened: bool = False, tags: Sequence[str] = ()) -> Think:
    """Cut a response into its reasoning and what follows.

    Several blocks count as one, from the first opening to the last closing; a block opened again and
    left open makes the whole response unclosed. A closing tag with no opening before it closes a block
    that the prompt opened. Later closing tags without an opening are plain text.

    Args:
        response: what the model wrote.
        opened: the prompt ended inside a block (the chat template prefills the tag), so a response
            without a closing tag is unclosed.
        tags: names of further tags: `plan` for `<plan>…</plan>`.
    """
    if not opened and not tags and _has_no_tag(response) and "analysis" not in response[:10]:
        return Think("", response, 0, True)
    if not opened and response[:10].lstrip().startswith("analysis") and _BARE_CHANNEL.match(response):
        final = _BARE_FINAL.search(response)
        if final:
            return _cut(response, response.index("analysis") + len("analysis"), final.start(), final.end())
    start, end, rest_start, inside = 0, 0, 0, opened
    first = len(response) - len(response.lstrip())  # where a prefilled tag may be written once more
    for match in _tags(tuple(tags), "{think}" in response).finditer(response):
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
    return _cut(response, start, end, rest_start)


@lru_cache(maxsize=32)
def _tags(names: tuple[str, ...], latex: bool) -> re.Pattern[str]:
    own = [re.escape(name.strip("<>/[]")) for name in names]
    openings = "|".join((*_OPENINGS, *(f"(?<=<){name}>" for name in own), *[r"(?<=\\)begin\{think\}"] * latex))
    closings = "|".join((*_CLOSINGS, *(f"(?<=<)/{name}>" for name in own), *[r"(?<=\\)end\{think\}"] * latex))
    first = r"<\[◁\\" if latex else r"<\[◁"  # mathematics is full of backslashes, and tags seldom begin with one
    return re.compile(rf"[{first}](?:(?P<open>{openings})|(?P<close>{closings}))")


def _cut(response: str, start: int, end: int, rest_start: int) -> Think:
    return Think(response[start:end], response[rest_start : turn_end(response, rest_start)], rest_start, True)


def turn_end(response: str, start: int = 0) -> int:
    """Return where the model's own turn ends: before the first token that ends one, or at the response's end."""
    if response.find("<", start) < 0:
        return len(response)
    tokens = list(_END_TOKEN.finditer(response, start))
    begun = next((i for i in range(start, len(response)) if not response[i].isspace()), len(response))
    ends = (
        match.start()
        for match in tokens
        if match[0] not in _HTML
        and match.start() > begun
        and _GOES_ON.match(response, match.end())
        and not _is_mention(response, match)
    )
    end = next(ends, len(response))
    for match in reversed(tokens):  # and the tokens right before it
        if match.start() >= end:
            continue
        if match.start() <= begun or response[match.end() : end].strip():
            break
        end = match.start()
    return end


class Parts(NamedTuple):
    """A response as filters read it.

    Attributes:
        reasoning: its think block, else the text before the statement of the answer.
        final: the rest.
        closed: False where a think block is opened and not closed.
    """

    reasoning: str
    final: str
    closed: bool


def split_final(response: str, final_start: int | None, tags: Sequence[str] = ()) -> tuple[str, str]:
    """Return (reasoning, final part) of a response: its think block and what follows it, else (an empty block says
    nothing) the text before and from the statement of the answer, at `final_start` in the response.
    """
    return parts_of(response, final_start, tags)[:2]


def parts_of(response: str, final_start: int | None, tags: Sequence[str] = ()) -> Parts:
    """Return the parts of a response, as `split_final` cuts it, and whether its think block is closed."""
    think = split_think(response, tags=tags)
    if think.reasoning.strip():
        return Parts(think.reasoning.strip(), think.rest.strip(), think.closed)
    if final_start is None:
        return Parts(think.rest.strip(), "", think.closed)
    end = think.rest_start + len(think.rest)
    return Parts(response[think.rest_start : final_start].strip(), response[final_start:end].strip(), think.closed)


def _is_mention(response: str, match: re.Match[str]) -> bool:
    """Return whether a tag is only mentioned: in backticks, or as a string of code (`split("</think>")`)."""
    start, end = match.span()
    before, quote = response[max(0, start - 2) : max(0, start - 1)], response[max(0, start - 1) : start]
    if not quote or quote not in "`\"'" or not response.startswith(quote, end):
        return False
    return quote == "`" or before in tuple("([{,=+: ")  # else it is the quote of the text before
