"""Finds the code in an answer: a pure scan of lines, linear in the text (`find_code`); and makes one program of an
answer in several blocks (`joined`).

Hostile code is not parsed outside: `join` and `send_outlines` run in a jail of their own.
"""

from __future__ import annotations

import builtins
import re
import symtable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proofmill.filters.sandbox import wire

PYTHON, CPP, UNKNOWN = "python", "cpp", "unknown"
# labels by language, as far as a label is letters; versions and file names behind it don't count
_LABELS = {
    **dict.fromkeys(("python", "py", "pypy", "ipython", "pycon", "cython", "sage"), PYTHON),
    **dict.fromkeys(("cpp", "c++", "cxx", "cc", "g++"), CPP),
    **dict.fromkeys(("", "code", "solution", "program", "main", "answer"), ""),
}
# what models fence that is no program: its presence says nothing about the language of the answer
NOT_CODE = frozenset(
    {"text", "txt", "plaintext", "plain", "output", "console", "shell", "sh", "bash", "zsh", "json", "yaml", "xml"}
    | {"html", "css", "csv", "markdown", "md", "latex", "tex", "math", "diff", "log", "none", "ascii", "input", "stdin"}
    | {"stdout", "mermaid", "toml", "ini", "sample", "example", "expected", "result", "makefile", "dockerfile"}
)
# a fence may stand in a list item or a quotation, and may open right behind the item's mark
_FENCE = re.compile(r"([ \t>]{0,12})((?:[-*+]|\d{1,9}[.)])[ \t]{1,4})?(`{3,20}|~{3,20})[ \t]{0,8}([^`\n]{0,100})")
_LAST_LINE = re.compile(r"[ \t]*[^`\s][^`]*(`{3,20})[ \t]*\n?")  # a closing fence behind code
_FENCE_AGAIN = re.compile(r"\A(?:`{3,20}[ \t]{0,8}\w{0,20}[ \t]*\n)+")  # a block that was opened twice
_QUOTE = re.compile(r"[ \t]{0,12}>[ \t]?")
_BARE = re.compile(r"^(?:def|class|import|from|async def|@|if|for|while|try|with|print\()", re.MULTILINE)
_BARE_CPP = re.compile(r"^[ \t]{0,8}#[ \t]{0,4}include[ \t]{0,4}[<\"]", re.MULTILINE)
_STRING = re.compile(r"\"\"\"|'''|\\.|#|\"|'")
_DEFINITION = re.compile(r"^(?:(?:async )?def|class) {1,4}(\w+)|^(\w+) ?[:=]", re.MULTILINE)
_OTHER_WAY = re.compile(
    r"\b(?:alternativ|another (?:way|approach|solution|option)|brute.force|naive|less efficient)", re.IGNORECASE
)
_READS_INPUT = re.compile(r"\binput\(|\bstdin\b|\bopen\(0")


@dataclass(frozen=True)
class CodeBlock:
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
class FoundCode:
    """The code block that is an answer's final program.

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


def language_of(label: str) -> str:
    """Return the language of a label: `python`, `cpp`, empty for an unmarked block, or the label itself (`{.py}`)."""
    word = (label.split() or [""])[0].strip("{}.:").lower()
    if word.endswith(".py") or word == "py3":
        return PYTHON
    letters = re.match(r"[a-z+]*", word)
    known = letters[0] if letters else ""
    return _LABELS.get(known, word)


def blocks(text: str) -> list[CodeBlock]:
    """Return all fenced blocks in order; one that is still open at the end is not `closed`.

    A fence inside a string of three quotes belongs to the string, where the text comes out even that way; else only
    one that is indented further than its block does.
    """
    # Strings may hold fences, as in programs that write Markdown. A block that then never ends had no such string.
    found, even = _scan(text, strings_hold=True)
    return found if even else _scan(text, strings_hold=False)[0]


def _scan(text: str, *, strings_hold: bool) -> tuple[list[CodeBlock], bool]:
    """Return the blocks, and whether none of them ended inside a string."""
    found: list[CodeBlock] = []
    fence, language, quotes, start, lines, offset = "", "", 0, 0, list[str](), 0
    indent, string = 0, ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        inside = bool(string and mark and (strings_hold or len(mark[1]) > indent))
        # Some models close the fence right behind the last line of code.
        last = _LAST_LINE.fullmatch(line) if fence and not string and not mark and "`" in line else None
        if not fence and mark:
            fence, quotes, start, lines, string = mark[3], mark[1].count(">"), offset, [], ""
            language, indent = language_of(mark[4]), len(mark[1])
        elif fence and mark and not inside and _closes(mark, fence):
            found.append(CodeBlock(_code(lines, quotes), language, start, closed=True))
            fence = ""
        elif last and fence[0] == "`" and len(last[1]) >= len(fence):
            lines.append(line[: last.start(1)] + "\n")
            found.append(CodeBlock(_code(lines, quotes), language, start, closed=True))
            fence = ""
        elif fence:
            lines.append(line)
            string = _open_string(line, string)
        offset += len(line)
    if fence:
        found.append(CodeBlock(_code(lines, quotes), language, start, closed=False))
    return found, not (fence and string)


def _open_string(line: str, string: str) -> str:
    """Return the three quotes of the string that is open at the end of `line`; empty for none."""
    quote = ""  # of a string on this line
    for part in _STRING.finditer(line):
        mark = part[0]
        if string:
            string = "" if mark == string else string
        elif quote:
            quote = "" if mark[0] == quote else quote
        # A comment: quotes behind it open nothing.
        elif mark == "#":
            return ""
        elif len(mark) == 3:
            string = mark
        elif mark[0] != "\\":
            quote = mark
    return string


def _closes(mark: re.Match[str], fence: str) -> bool:
    bare = not mark[2] and not mark[4].strip()
    return bare and mark[3][0] == fence[0] and len(mark[3]) >= len(fence)


def _code(lines: list[str], quotes: int) -> str:
    """Return the lines without `quotes` quote marks, and without what the first line of code is indented by."""
    for _ in range(quotes):
        lines = [_QUOTE.sub("", line, count=1) for line in lines]
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    # A block in a list is indented as a whole, which Python would refuse.
    indent = len(first) - len(first.lstrip())
    code = "".join(line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in lines)
    return _FENCE_AGAIN.sub("", code.lstrip("\ufeff\u200b"))


def defines(code: str, names: Iterable[str]) -> bool:
    """Return whether the text has, at the start of a line, a definition of one of `names`."""
    wanted = frozenset(names)
    return any((match[1] or match[2]) in wanted for match in _DEFINITION.finditer(code))


def find_code(text: str, names: Iterable[str], language: str = PYTHON) -> FoundCode:
    """Return the code block that is an answer's final program.

    Policy: of the closed blocks in `language` (or unmarked ones), the last that defines a name under test; where none
    is known, the last that reads input; else the last one. A block that the text calls an alternative is passed over
    where another will do, and one still open at the end counts only where no closed one is left. Without any fence,
    the whole text, if lines of it start like a program. What the block or the tests name and it doesn't define is
    taken from the last complete block before it that does (`joined`). Blocks of another language and none of
    this one: `unsupported_language`.
    """
    wanted = list(names)
    every = blocks(text) or _html_blocks(text)
    # Unmarked blocks only where none is marked: they may as well be outputs.
    usable = [block for block in every if block.language == language] or [b for b in every if not b.language]
    for closed in (True, False):
        candidates = [block for block in usable if block.closed is closed and block.code.strip()]
        chosen = _chosen(candidates, wanted, text)
        if chosen:
            rule = ("block" if closed else "open_block") + ("" if len(usable) == 1 else "_last")
            before = tuple(block.code for block in candidates if block.start < chosen.start)
            return FoundCode(chosen.code, rule, chosen.start, before if language == PYTHON else ())
    if any(block.language and block.language not in NOT_CODE | {language} for block in every):
        return FoundCode(None, "unsupported_language")
    starts = _BARE if language == PYTHON else _BARE_CPP
    if every or not starts.search(text) or (wanted and not defines(text, wanted)):
        return FoundCode(None, "no_code")
    return FoundCode(text.lstrip("\ufeff\u200b"), "bare", 0)


def _chosen(candidates: list[CodeBlock], wanted: list[str], text: str) -> CodeBlock | None:
    if wanted:
        fitting = [block for block in candidates if defines(block.code, wanted)]
    else:
        fitting = [block for block in candidates if _READS_INPUT.search(block.code)]
    fitting = fitting or candidates
    # "Alternatively, …" before a block: the answer does not stand by it.
    first = [block for block in fitting if not _OTHER_WAY.search(_introduction(text, block.start))]
    return (first or fitting)[-1] if fitting else None


def _introduction(text: str, start: int) -> str:
    """Return the last line of prose before a block."""
    before = text[max(0, start - 400) : start].rstrip()
    return before[before.rfind("\n") + 1 :]


def _html_blocks(text: str) -> list[CodeBlock]:
    """Return the blocks in HTML, as some models write them: `<pre><code class="language-python">…</code></pre>`."""
    start = text.find("<pre><code")
    opened = text.find(">", start + 6) if start >= 0 else -1
    end = text.find("</code>", opened) if opened >= 0 else -1
    if end < 0 or opened - start > 100:
        return []
    import html  # it is large, and every fork of a jail would pay for it

    label = re.search(r"language-([\w+]{1,20})", text[start:opened])
    return [
        CodeBlock(html.unescape(text[opened + 1 : end]), language_of(label[1] if label else ""), start, closed=True)
    ]


_PYTHON = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the global names that `source` reads and doesn't bind itself, and those that it binds.

    Raises:
        SyntaxError: it is not Python.
    """
    # Python's own analysis of scopes, which a walk over the tree would have to repeat.
    top = symtable.symtable(source, "<names>", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    read, tables = set[str](), [top]
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        read |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    return frozenset(read - bound), frozenset(bound)


def joined(code: str, earlier: list[str], needed: frozenset[str], known: frozenset[str]) -> str:
    """Return the program that the blocks of an answer make together.

    Args:
        code: the chosen block.
        earlier: the blocks before it, in order.
        needed: names that the tests ask of it.
        known: names that the problem's own setup binds.
    """
    try:
        free, bound = names(code)
    except _UNREADABLE:
        return code
    wanted = (free | needed) - bound - known - _PYTHON
    taken = _taken(wanted, _definitions(earlier), known | bound) if wanted else []
    return _behind_future("\n\n".join(taken), code) if taken else code


def _definitions(blocks: list[str]) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Return the functions, classes, imports and assignments of the blocks: source, names read, names bound."""
    import ast

    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
    found = []
    for block in blocks:
        try:
            statements = [ast.unparse(node) for node in ast.parse(block).body if isinstance(node, kinds)]
            found += [(text, *names(text)) for text in statements]
        except _UNREADABLE:
            continue  # a sketch, or an output that was marked as Python
    return found


def _taken(
    wanted: frozenset[str], definitions: list[tuple[str, frozenset[str], frozenset[str]]], known: frozenset[str]
) -> list[str]:
    places = {name: place for place, (_, _, bound) in enumerate(definitions) for name in bound}  # the last wins
    open_names, seen, chosen = set(wanted), set(wanted), set[int]()
    while open_names:
        place = places.get(open_names.pop())
        if place is not None and place not in chosen:
            chosen.add(place)
            # What a taken definition reads itself has to be taken too.
            more = definitions[place][1] - known - _PYTHON - seen
            seen |= more
            open_names |= more
    # In the order of the blocks: a class before one that extends it.
    return [definitions[place][0] for place in sorted(chosen)]


def _behind_future(before: str, code: str) -> str:
    """Return `before`, then `code`; imports from `__future__` stay first, as Python wants them."""
    import ast

    ends = [
        n.end_lineno or 0 for n in ast.parse(code).body if isinstance(n, ast.ImportFrom) and n.module == "__future__"
    ]
    lines = code.split("\n")
    cut = max(ends, default=0)
    return "\n".join([*lines[:cut], before, "", *lines[cut:]])


def join(channel: wire.Link, job: dict[str, Any]) -> None:
    """Answer with the program of the job."""
    known = frozenset(job["known"])
    channel.send(wire.DONE, {"ok": joined(job["code"], job["earlier"], frozenset(job["needed"]), known)})


def outline(source: str) -> str:
    """Return what is left of a program without comments, layout, docstrings, annotations, imports and its own names.

    Programs with one outline are copies of each other. Some that are no copies have one too, which does no harm where
    independent programs are looked for.

    Raises:
        SyntaxError: it is not Python.
    """
    import ast

    tree = ast.parse(source)
    own = {alias for node in ast.walk(tree) if isinstance(node, ast.alias) for alias in (node.asname, node.name)}
    # Before names are numbered: what is taken out here must not count.
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                setattr(node, name, None)
            elif isinstance(value, list):
                setattr(node, name, [part for part in value if not _computes_nothing(part)])
    own |= {name for node in ast.walk(tree) for name in _given_by(node)}
    numbers: dict[str, str] = {}
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, str) and value in own and not isinstance(node, ast.Constant):
                setattr(node, name, numbers.setdefault(value, f"_{len(numbers)}"))
    return ast.dump(tree)


def _given_by(node: Any) -> tuple[str | None, ...]:
    """Return the names that a node gives to variables, functions, classes, arguments or caught errors."""
    import ast

    if isinstance(node, ast.Name):
        return () if isinstance(node.ctx, ast.Load) else (node.id,)
    return () if isinstance(node, ast.keyword) else (getattr(node, "name", None), getattr(node, "arg", None))


def _computes_nothing(node: Any) -> bool:
    """Return whether a statement is an import, a declaration, a docstring or another bare constant."""
    import ast

    bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return bare or isinstance(node, ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal | ast.Pass)


def send_outlines(channel: wire.Link, job: dict[str, Any]) -> None:
    """Answer with a digest of the outline of each program of the job."""
    import hashlib

    for program in job["programs"]:
        try:
            found = hashlib.sha256(outline(program).encode("utf-8", "surrogatepass")).hexdigest()
        except _UNREADABLE:
            found = None
        channel.send(wire.ANSWER, {"ok": found})
