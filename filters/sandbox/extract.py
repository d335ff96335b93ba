"""Finds the code in an answer: a pure scan of lines, linear in the text; hostile code is not parsed here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PYTHON = frozenset({"python", "py", "python3", "py3", "python2", "ipython", "pycon3"})
# what models fence that is no program: its presence says nothing about the language of the answer
NOT_CODE = frozenset(
    {"text", "txt", "plaintext", "plain", "output", "console", "shell", "sh", "bash", "zsh", "pycon", "json",
     "yaml", "xml", "html", "css", "csv", "markdown", "md", "latex", "tex", "math", "diff", "log", "none",
     "ascii", "input", "stdin", "stdout", "mermaid", "toml", "ini"}
)  # fmt: skip
# a fence may stand in a list item or a quotation, and may open right behind the item's mark
_FENCE = re.compile(r"([ \t>]{0,12})((?:[-*+]|\d{1,9}[.)])[ \t]{1,4})?(`{3,20}|~{3,20})[ \t]{0,8}([^`\n]{0,100})")
_QUOTE = re.compile(r"[ \t]{0,12}>[ \t]?")
_BARE = re.compile(r"^(?:def|class|import|from|async def|@|if|for|while|try|with|print\()", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        code: its text, without the indentation and the quote marks of what it stands in.
        language: first word of its info string, lower case.
        start: offset of its fence in the text.
        closed: whether its closing fence was seen.
    """

    code: str
    language: str
    start: int
    closed: bool


@dataclass(frozen=True)
class Found:
    """The code an answer stands by.

    Attributes:
        code: the block chosen, None where there is none.
        rule: by which rule.
        start: offset of its fence in the text.
        earlier: the complete blocks before it, from which names that it lacks may be taken.
    """

    code: str | None
    rule: str
    start: int | None = None
    earlier: tuple[str, ...] = ()


def blocks(text: str) -> list[Block]:
    """All fenced blocks in order; one that is still open at the end is not `closed`."""
    found: list[Block] = []
    fence, language, quotes, start, lines, offset = "", "", 0, 0, list[str](), 0
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if not fence and mark:
            fence, quotes, start, lines = mark[3], mark[1].count(">"), offset, []
            language = (mark[4].split() or [""])[0].strip("{}.:").lower()
        elif fence and mark and _closes(mark, fence):
            found.append(Block(_code(lines, quotes), language, start, closed=True))
            fence = ""
        elif fence:
            lines.append(line)
        offset += len(line)
    if fence:
        found.append(Block(_code(lines, quotes), language, start, closed=False))
    return found


def _closes(mark: re.Match[str], fence: str) -> bool:
    bare = not mark[2] and not mark[4].strip()
    return bare and mark[3][0] == fence[0] and len(mark[3]) >= len(fence)


def _code(lines: list[str], quotes: int) -> str:
    """The lines without `quotes` quote marks, and without what the first line of code is indented by."""
    for _ in range(quotes):
        lines = [_QUOTE.sub("", line, count=1) for line in lines]
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    indent = len(first) - len(first.lstrip())
    return "".join(line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in lines)


def defines(code: str, names: Iterable[str]) -> bool:
    """Whether the text has, at the start of a line, a definition of one of `names`."""
    for name in names:
        pattern = rf"^(?:(?:async )?def|class) {{1,4}}{re.escape(name)}\b|^{re.escape(name)} ?[:=]"
        if re.search(pattern, code, re.MULTILINE):
            return True
    return False


def find_code(text: str, names: Iterable[str]) -> Found:
    """The code that an answer stands by.

    Policy: of the closed Python blocks (or unmarked ones), the last that defines a name under test; else the
    last one; a block still open at the end counts only where no closed one is left. Without any fence, the
    whole text, if lines of it start like Python. What the block or the tests name and it doesn't define is
    taken from the last complete block before it that does (`joining`). Blocks of another language and none of Python:
    `unsupported_language`.
    """
    wanted = list(names)
    every = blocks(text)
    usable = [block for block in every if block.language in PYTHON]
    if not usable:
        usable = [block for block in every if not block.language]
    for closed in (True, False):
        candidates = [block for block in usable if block.closed is closed and block.code.strip()]
        defining = [block for block in candidates if defines(block.code, wanted)]
        chosen = (defining or candidates)[-1:]
        if chosen:
            rule = ("block" if closed else "open_block") + ("" if len(usable) == 1 else "_last")
            before = tuple(block.code for block in candidates if block.start < chosen[0].start)
            return Found(chosen[0].code, rule, chosen[0].start, before)
    if any(block.language and block.language not in NOT_CODE | PYTHON for block in every):
        return Found(None, "unsupported_language")
    if every or not _BARE.search(text) or (wanted and not defines(text, wanted)):
        return Found(None, "no_code")
    return Found(text, "bare", 0)
