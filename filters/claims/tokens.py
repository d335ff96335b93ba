"""Cut a trace into steps, and a step into tokens.

Steps are lines, sentences, numbered items, LaTeX environments and code blocks. Tokens come from one linear pass of one
regular expression, without backtracking to exploit.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import NamedTuple

_BLOCK = re.compile(
    r"```|\\\[|\\\]|\$\$|\\begin\{(?:align|equation|gather|aligned|cases|array|[bpv]?matrix|split|multline)\*?\}"
    r"|\\end\{(?:align|equation|gather|aligned|cases|array|[bpv]?matrix|split|multline)\*?\}"
)
_CLOSERS = {"```": "```", "\\[": "\\]", "$$": "$$"}
# A line that ends in an operator goes on in the next one, and so does one before a line that opens with a sign.
# A sentence ends at a stop before a blank and a capital, a figure or an opening sign, but not behind a
# single letter ("a.m. Then" stays one, "5 m. Then" too) nor behind a number that begins a line ("1. First").
_BREAK = re.compile(
    r"(?<! [-+/])(?<! [-+/] )\n+(?!\s{0,20}&?\s{0,3}(?:=|≈|\\approx))"
    r"|(?<=[a-z\d)}%\]$\"”*][a-z\d)}%\]$\"”*\\][.!?])[ \t]{1,8}(?=[A-Z\d$\\(\"“*])"
    r"|(?<=[\s=]\d[.!?])[ \t]{1,8}(?=[A-Z\"“*])"
)
_JSON = re.compile(r"\s{0,9}(?:```(?:json)?\s{0,9})?\{\s{0,9}\"\w{1,40}\"\s{0,3}:")
# Four backslashes are two, two are one; `\n` is a line break unless it begins a command such as `\neq`.
_ESCAPE = re.compile(r"\\\\\\\\|\\\\|\\\"|\\n(?!e(?:q|g)?(?![a-z])|u(?![a-z])|ot(?![a-z])|abla|mid)")
_NUMBERED = re.compile(r"(?:^|\n)\s{0,8}\(?\d{1,3}[.)]\Z")


def without_json_escapes(text: str) -> str:
    """Return a JSON answer with its escapes as what they stand for, every offset kept; other texts as they are.

    Models often leave LaTeX unescaped in JSON, so a lone backslash before a letter stays, but for line breaks.
    """
    if _JSON.match(text) is None:
        return text
    return _ESCAPE.sub(lambda match: _unescaped(match[0]), text)


def _unescaped(escape: str) -> str:
    if escape == "\\n":
        return " \n"
    if escape == '\\"':
        return ' "'
    return " \\" if len(escape) == 2 else "  \\\\"


def split_steps(text: str) -> list[tuple[int, int]]:
    """The steps of a trace as (start, end) offsets, in order, blank ones left out."""
    protected = _blocks(text)
    cuts = [0]
    index = 0
    for match in _BREAK.finditer(text):
        while index < len(protected) and protected[index][1] <= match.start():
            index += 1
        inside = index < len(protected) and protected[index][0] < match.start()
        if not inside and not _NUMBERED.search(text, max(cuts[-1] - 1, match.start() - 12), match.start()):
            cuts.append(match.end())
    cuts.append(len(text))
    spans = [(start, end) for start, end in pairwise(cuts)]
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _blocks(text: str) -> list[tuple[int, int]]:
    """Displayed formulas and fenced code, which are never cut inside."""
    found: list[tuple[int, int]] = []
    opening: tuple[str, int] | None = None
    for match in _BLOCK.finditer(text):
        sign = match.group()
        if opening is None:
            if sign in _CLOSERS or sign.startswith("\\begin"):
                opening = (_CLOSERS.get(sign) or sign.replace("\\begin", "\\end"), match.start())
        elif sign == opening[0]:
            found.append((opening[1], match.end()))
            opening = None
    return found


NUMBER, WORD, OPERATOR, RELATION, COMMAND, PUNCTUATION, NEWLINE, END = range(8)

TIGHT, SPACED, FENCED = range(3)  # what stands before a token: nothing, a space, or a line or formula border


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: one of the constants above.
        text: normalised text: `*` for every sign of multiplication, `<=` for every ≤.
        start: offset in the step.
        end: offset behind it.
        gap: `TIGHT`, `SPACED` or `FENCED`.
    """

    kind: int
    text: str
    start: int
    end: int
    gap: int


# What is left of `\\times`, `\\frac`, `\\beta` where a JSON reader took their first two signs for a control character.
_TAIL = r"(?:imes|ext|heta|an|rac|eta|inom|oxed|egin|ight|ho)(?![a-z])"
# Commands that stay commands behind two backslashes, where others begin a line.
_ESCAPED_TWICE = (
    "(?:cdot|times|[dt]?frac|sqrt|text|left|right|pi|theta|boxed|mathrm|approx|equiv|pmod|[lg]eq?|neq?|div|circ|binom|"
    "log|ln|sin|cos|tan)(?![a-zA-Z])"
)
_TOKEN = re.compile(
    # The most frequent tokens come first: alternatives are tried in order.
    r"(?P<word>[A-Za-zÀ-ÖØ-öø-ɏ]+(?:['’][A-Za-z]+)?)|(?P<space> +)|(?P<plain>[()\[\]+,/^;|_%}])"
    rf"|(?P<broken>[\t\f\x08\r]{_TAIL})"
    rf"|(?P<blank>(?:[^\S\n\t\f\r]|[\t\f\r](?!{_TAIL}))+"
    r"|\\[,;:! ]|~|\{\}|\\(?:displaystyle|quad|qquad)(?![a-zA-Z]))"
    r"|(?P<size>\\(?:left|right|big|Big|bigg|Bigg)[lr]?(?![a-zA-Z])"  # `-\left(3` reads as `-(3`
    rf"|\\(?=\\{_ESCAPED_TWICE}))"
    r"|(?P<ratio>\d+(?::\d+)+)"  # a ratio or a time of day: not in the grammar
    r"|(?P<number>(?<=[$€£])\d{1,3}(?:\ \d{3})+(?![\d.])"  # a blank groups digits only behind a currency
    r"|\d{1,3}(?:(?:,\\!|,|\{,\}|\\,\\!|\\,|\\!)\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<fence>\\?\\[()])"
    r"|(?P<newline>\n|\\?\\[\[\]]|\$\$|\\\\)"
    r"|(?P<textword>\\(?:text|textrm|mathrm|mbox)\{\s{0,3}(?:of|and|or|is|if|so|times|plus|minus)\s{0,3}\})"
    r"|(?P<dots>\.{2,}|…+|\\[cld]?dots[bcmio]?(?![a-zA-Z]))"
    r"|(?P<command>\\[a-zA-Z]+)"
    r"|(?P<raised>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)|(?P<lowered>[₀₁₂₃₄₅₆₇₈₉]+)"
    r"|(?P<sign><=|>=|!=|==?>|<?-+>|==|\*\*|<<|>>|\\.|.)",
    re.DOTALL,
)
_OPERATORS = {
    "+": "+", "-": "-", "−": "-", "–": "-", "*": "*", "×": "*", "·": "*", "⋅": "*", "∙": "*", "✕": "*",
    "∗": "*", "\\*": "*", "/": "/", "÷": "/", "∕": "/", "^": "^", "%": "%", "\\%": "%", "!": "!", "_": "_", "√": "√",
    "±": "±", "°": "°",
}  # fmt: skip
_RELATIONS = {
    "=": "=", "==": "=", "≈": "≈", "≃": "≈", "≅": "≈", "≐": "≈", "<": "<", ">": ">", "<=": "<=", ">=": ">=",
    "≤": "<=", "≥": ">=", "⩽": "<=", "⩾": ">=", "≠": "!=", "!=": "!=", "≡": "≡",
}  # fmt: skip
_COMMAND_OPERATORS = {
    "\\times": "*", "\\cdot": "*", "\\ast": "*", "\\div": "/", "\\pm": "±", "\\bmod": "mod", "\\mod": "mod",
}  # fmt: skip
_COMMAND_RELATIONS = {
    "\\approx": "≈", "\\simeq": "≈", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=",
    "\\geq": ">=", "\\geqslant": ">=", "\\lt": "<", "\\gt": ">", "\\ne": "!=", "\\neq": "!=", "\\equiv": "≡",
}  # fmt: skip
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8"}
_GREEK = {letter: f"\\{unicodedata.name(letter).split()[-1].lower()}" for letter in "αβγδεζηθικμνξπρστφχψω"}
_GREEK["Δ"] = "\\Delta"
LOWERED = frozenset("₀₁₂₃₄₅₆₇₈₉")
LOWERED_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
CLOSING = {"(": ")", "[": "]", "{": "}"}
_KINDS = {
    "ratio": (PUNCTUATION, ""), "dots": (PUNCTUATION, "…"), "newline": (NEWLINE, "\n"),
    "raised": (OPERATOR, ""), "lowered": (PUNCTUATION, ""),
}  # fmt: skip
_PLAIN = {sign: (OPERATOR if sign in _OPERATORS else PUNCTUATION, sign) for sign in "()[]+,/^;|_%}"}
_LOOKAHEAD = 8
_CONTROL_LETTERS = {"\t": "\\t", "\f": "\\f", "\b": "\\b", "\r": "\\r"}
_CURRENCY = frozenset("$€£¥₹") | {"\\$"}
_SEPARATORS = re.compile(r"[^\d.]")


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, with a few `END` tokens behind the last, so that looking ahead needs no check.

    Signs of currency and borders of formulas are dropped; they only show in the next token's `gap`.
    """
    tokens: list[Token] = []
    add, new, gap = tokens.append, tuple.__new__, FENCED  # a million calls a second: no detour over `Token(…)`
    for match in _TOKEN.finditer(text):
        group = match.lastgroup
        if group == "word":
            start, end = match.span()
            add(new(Token, (WORD, match[0], start, end, gap)))
            gap = TIGHT
        elif group == "space" or group == "blank":
            gap = gap or SPACED
        elif group == "plain":
            start, end = match.span()
            add(new(Token, (*_PLAIN[match[0]], start, end, gap)))
            gap = TIGHT
        elif group == "fence":
            gap = FENCED
        elif group != "size":
            kind, normal = _classify(group, match[0], match, gap)
            if kind >= 0:
                start, end = match.span()
                add(new(Token, (kind, normal, start, end, gap)))
                gap = FENCED if kind == NEWLINE else TIGHT
            else:
                gap = gap or SPACED
    tokens.extend([Token(END, "", len(text), len(text), FENCED)] * _LOOKAHEAD)
    return tokens


def _classify(group: str | None, surface: str, match: re.Match[str], gap: int) -> tuple[int, str]:
    if group == "number":
        return NUMBER, _SEPARATORS.sub("", surface)
    if group == "textword":
        return WORD, surface.partition("{")[2].strip(" }")
    if group in _KINDS:
        kind, normal = _KINDS[group]
        return kind, normal or surface
    if group == "command":
        return _command(surface)
    if group == "broken":  # a JSON reader took `\\t` of `\\times` for a tab
        return _command(_CONTROL_LETTERS[surface[0]] + surface[1:])
    if surface in _CURRENCY or surface == "&":  # `&` only marks a column in LaTeX
        return -1, ""
    if surface == "**":
        return (OPERATOR, "^") if _is_power(match, gap) else (-1, "")
    return _sign(surface)


def _command(surface: str) -> tuple[int, str]:
    if surface in _COMMAND_OPERATORS:
        return OPERATOR, _COMMAND_OPERATORS[surface]
    if surface in _COMMAND_RELATIONS:
        return RELATION, _COMMAND_RELATIONS[surface]
    return COMMAND, surface


def _sign(surface: str) -> tuple[int, str]:
    if surface in _OPERATORS:
        return OPERATOR, _OPERATORS[surface]
    if surface in _RELATIONS:
        return RELATION, _RELATIONS[surface]
    if surface in _VULGAR:
        return NUMBER, _VULGAR[surface]
    if surface in _GREEK:
        return COMMAND, _GREEK[surface]
    return PUNCTUATION, surface


def _is_power(match: re.Match[str], gap: int) -> bool:
    """`2**3` is a power; the stars of `**bold**` touch a blank or a border on one side."""
    before, after = match.start() - 1, match.end()
    text = match.string
    return (
        gap == TIGHT
        and before >= 0
        and after < len(text)
        and (text[before].isalnum() or text[before] == ")")
        and (text[after].isdecimal() or text[after] in "(-")
        and text.count("**", max(0, before - 40), before) % 2 == 0
    )


def match_brackets(tokens: list[Token]) -> dict[int, int]:
    """The position of the closing bracket of every opening one that has it."""
    closing: dict[int, int] = {}
    open_positions: list[int] = []
    for position, token in enumerate(tokens):
        if token.kind != PUNCTUATION:
            continue
        if token.text in CLOSING:
            open_positions.append(position)
        elif open_positions and CLOSING[tokens[open_positions[-1]].text] == token.text:
            closing[open_positions.pop()] = position
    return closing
