r"""One spelling for the many ways in which models and data sets write the same mathematics.

Everything here is text to text, linear in the length, and keeps the meaning: what is cut away (sizes of
brackets, fonts, thin spaces, the dollar signs of LaTeX) never carries any.
"""

from __future__ import annotations

import re
import unicodedata

FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth exp ln log lg floor ceil Re Im arg",
    )
)
PLAIN_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "abs": "abs", "sqrt": "sqrt", "pi": "pi"}
CONSTANTS = {
    "pi": "pi",
    "infty": "infty",
    "e": "e",
    "i": "i",
    "infinity": "infty",
    "inf": "infty",
    "oo": "infty",
}
GREEK = frozenset(
    re.findall(
        r"\w+",
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu "
        "nu xi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi "
        "Sigma Phi Psi Omega ell hbar",
    )
)


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT = re.compile(r"[₀₁₂₃₄₅₆₇₈₉]+")
_VULGAR = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")

_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "⁄": "/", "÷": "/", "∕": "/",
        "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "∗": "*",
        "π": r"\pi ", "√": r"\sqrt", "∞": r"\infty ", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ",
        "∈": r"\in ", "ℝ": r"\mathbb{R}", "°": r"^\circ ", "θ": r"\theta ",
        "⟨": r"\langle ", "⟩": r"\rangle ",
        "、": ",", "或": " or ", "和": " and ", "ℤ": r"\mathbb{Z}", "Ω": r"\Omega ", "∖": r"\setminus ",
        "’": "'", "‘": "'", "“": '"', "”": '"', "\u200b": "", "\u2061": "", "\ufeff": "",
    }
)  # fmt: skip

_ALIASES = {
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "leq": r"\le", "leqslant": r"\le",
    "geq": r"\ge", "geqslant": r"\ge", "neq": r"\ne", "varnothing": r"\emptyset", "lbrace": r"\{",
    "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "lt": "<", "gt": ">", "vert": "|", "lvert": "|",
    "rvert": "|", "mid": "|", "degree": r"^\circ", "cdotp": r"\cdot", "ast": "*", "div": "/",
    "colon": ":", "land": ",", "lor": " or ", "dots": r"\ldots", "cdots": r"\ldots", "thinspace": " ",
    "reals": r"\mathbb{R}", "R": r"\mathbb{R}",
    "infin": r"\infty", "simeq": r"\approx", "doteq": r"\approx", "cosec": r"\csc", "tg": r"\tan",
    "ctg": r"\cot", "operatorname": r"\text", "mbox": r"\text", "textrm": r"\text", "textnormal": r"\text",
    "textup": r"\text", "textsf": r"\text", "rm": r"\text", "mathrm": r"\text", "mathit": r"\text",
    "textit": r"\text", "textbf": r"\text", "mathbf": r"\text", "bf": r"\text", "emph": r"\text",
    "boldsymbol": r"\text", "mathsf": r"\text", "mathop": r"\text", "overrightarrow": r"\vec",
}  # fmt: skip
_DROPPED = frozenset(
    re.findall(
        r"\w+",
        "left right bigl bigr Bigl Bigr biggl biggr Biggl Biggr big Big bigg Bigg displaystyle "
        "textstyle scriptstyle therefore because checkmark large Large LARGE huge Huge small normalsize "
        "underline limits nolimits hfill boxed fbox middle nonumber mleft mright",
    )
)
_SPACES = frozenset(["quad", "qquad", "enspace", "hspace", "space", "medspace", "thickspace"])

_FONT = re.compile(r"\\(?:rm|bf|it|sf|tt|cal)\s+(?=[\d\\({-])|\\bf(?=\d)")
_SPACED_THOUSANDS = re.compile(r"(?<=\d),(?:\\!\s*|\s*\\!)(?=\d{3}(?!\d))|(?<=\d)\\!\s*,\s*(?=\d{3}(?!\d))")
_SIDE_BY_SIDE = re.compile(
    r"(?<=[\d})\]])\s*(?:\\q?quad\s*|\n\s*|\\text\s?\{\s*\}\s*)+(?=-?[\d(]|-?\\(?:frac|sqrt|d?frac|\{))"
)
_COMMAND = re.compile(r"\\(?:(\\)|([A-Za-z]+)|([,;:!> ~]))")
_NOT = re.compile(r"(?<!\\)\\not ?(?:(=)|\\in(?![A-Za-z]))")
_DEGREE = re.compile(r"\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![A-Za-z]))\s?")
_SHORT_FRACTION = re.compile(r"\\frac ?(\d) ?(\d)")
_REPEATING = re.compile(r"(\d{0,50})\.(\d{0,50})\\(?:overline|bar|dot) ?\{(\d{1,50})\}")
_THOUSANDS_BRACE = re.compile(r"(?<=\d)\{\s?,\s?\}(?=\d{3}(?!\d))")
_SIGN_BRACE = re.compile(r"(?<!\\)\{\s?([,.:;=<>+-])\s?\}")  # spacing alone: 10{:}30
_ELLIPSIS = re.compile(r"(?<!\d)(\d{0,50})\.(\d{1,50})\s?(?:\.{3,}|\\[lc]?dots)(?=\W*\Z)")
_OPEN_END = re.compile(r"(?<=\d)\s?\.{3,}(?=\W*\Z)")
_PERIOD = re.compile(r"(\d*?)(\d{1,12}?)\2{2,}\Z")
_ROUNDED = 6  # digits; a decimal of as many may stand for what it goes on to
_COLOUR = re.compile(r"\\(?:color|textcolor|mathcolor) ?\{[A-Za-z\d!#]{1,30}\}")
_BARE_ARGUMENT = re.compile(r"\\(mathbb|text|vec|hat|bar|overline) ?([A-Za-z\d])(?![A-Za-z\d{])")
_SPACE = re.compile(r"[ \t\r\n\f\v]+")
NEEDLESS_SPACE = re.compile(r"(?<!\d) +| +(?!\d)")
"""Spaces that no meaning hangs on; between two digits one parts two numbers."""
_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("__", "__"),
    ("`", "`"),
    ('"', '"'),
)
_DELIMITER = re.compile(r"(?<!\\)\\[()\[\]]")
_THIN_SPACES = ("\\,", "\\;", "\\:", "\\!", "\\ ")
_EDGE = " \t\r\n.,;:"


def clean(answer: str) -> str:
    """The answer in one spelling: ASCII digits and signs, LaTeX for what ASCII lacks, no wrappers.

    `\\,` and the other thin spaces become one space, `\\!` nothing; `\\mathrm`, `\\textbf` and their like
    become `\\text`; a closing full stop goes.
    """
    if not answer.isascii():
        answer = _ascii(answer)
    if "..." in answer or "dots" in answer:
        answer = _OPEN_END.sub(r"\\ldots ", _ELLIPSIS.sub(_going_on, answer))
    text = unwrap(answer)
    if "\\" in text or "\n" in text:
        text = _plain_commands(text)
    if "=" in text:
        text = text.replace(" != ", r" \ne ").replace(">=", r"\ge ").replace("<=", r"\le ")
    if "C" in text:
        text = _CHOOSES.sub(r"\\binom{\1}{\2}", _CHOOSE.sub(_chosen, text))
    if "{" in text or "frac" in text:
        text = _plain_groups(text)
    if "$" in text:
        text = _without_math_shift(text)
    if "circ" in text:
        text = _DEGREE.sub(r"^\\circ ", text)
    text = text.replace("~", " ").replace("**", "^" if _is_power(text) else "")
    return unwrap(_SPACE.sub(" ", text))


def _plain_groups(text: str) -> str:
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _SIGN_BRACE.sub(r"\1", _THOUSANDS_BRACE.sub("", _COLOUR.sub("", text)))
    if "." in text:
        text = _REPEATING.sub(_repeating, text)
    return _SUM_INDEX.sub(_sorted_index, text) if "_{" in text else text


def _plain_commands(text: str) -> str:
    text = _SIDE_BY_SIDE.sub(" , ", _FONT.sub("", _SPACED_THOUSANDS.sub(",", text)))
    text = _COMMAND.sub(_plain_command, _NOT.sub(_negated, _DELIMITER.sub("", text)))
    return _BARE_ARGUMENT.sub(r"\\\1{\2}", text)


_CHOOSES = re.compile(r"(?<![A-Za-z\\])C ?\(([^(),]{1,12}),([^(),]{1,12})\)(?!\s?=)")
_SUM_INDEX = re.compile(r"_\{([a-zA-Z\d]{1,6}(?: ?[+-] ?[a-zA-Z\d]{1,6}){1,4})\}")


def _sorted_index(match: re.Match[str]) -> str:
    """`a_{n-1-k}` with the terms of its index in one order."""
    terms = re.findall(r"[+-]?[a-zA-Z\d]+", match[1].replace(" ", ""))
    signed = sorted((term.lstrip("+-"), term[0] == "-") for term in terms)
    signed.sort(key=lambda term: (term[0].isdigit(), term))
    return "_{" + "".join(("-" if negative else "+") + term for term, negative in signed).lstrip("+") + "}"


_INDEX = r"(?:\{\s?([^{}]{1,20}?)\s?\}|(\w))"
_CHOOSE = re.compile(rf"(?<![A-Za-z\\])C ?_{_INDEX} ?\^{_INDEX}|\{{?\}}?\^{_INDEX} ?C ?_{_INDEX}")


def _chosen(match: re.Match[str]) -> str:
    r"""`C_n^k` and `{}^nC_k` as a binomial; `C_1^2` is a constant squared."""
    upper, lower = [part for part in match.groups() if part is not None]
    if upper.isdigit() and lower.isdigit() and int(upper) < int(lower):
        return match[0]
    return f"\\binom{{{upper}}}{{{lower}}}"


def unwrap(text: str) -> str:
    """Cut white space, closing punctuation and pairs of math, bold, code and quotation marks off the ends."""
    while True:
        text = text.strip(" \t\r\n").lstrip(" \t\r\n:")
        while text.endswith(_THIN_SPACES):
            text = text[:-2].rstrip()
        text = text.rstrip(_EDGE)
        for left, right in _WRAPPERS:
            inner = text[len(left) : len(text) - len(right)]
            if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
                if left in inner or right in inner:
                    continue
                text = inner
                break
        else:
            return text


def _ascii(text: str) -> str:
    text = _VULGAR.sub(" ", text)
    text = _SUPERSCRIPT.sub(lambda match: "^{" + match[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _SUBSCRIPT.sub(lambda match: "_{" + match[0].translate(_SUBSCRIPTS) + "}", text)
    return unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)


def _repeating(match: re.Match[str]) -> str:
    """A repeating decimal as the fraction that it is."""
    whole, fixed, period = match.groups()
    lower = (10 ** len(period) - 1) * 10 ** len(fixed)
    upper = int(f"0{whole}{fixed}{period}") - int(f"0{whole}{fixed}")
    return f"\\frac{{{upper}}}{{{lower}}}"


def _going_on(match: re.Match[str]) -> str:
    """A decimal with dots behind it: a fraction where a period shows three times, else not the decimal itself."""
    whole, digits = match[1], match[2]
    if period := _PERIOD.match(digits):
        return f"{whole}.{period[1]}\\overline{{{period[2]}}}"
    return f"{whole}.{digits}" + ("" if len(digits) >= _ROUNDED else "\\ldots")


def _negated(match: re.Match[str]) -> str:
    return r"\ne " if match[1] else r"\notin "


def _plain_command(match: re.Match[str]) -> str:
    row_end, name, space = match.groups()
    if row_end is not None:  # read first, so that its second half is not taken for the space of `\\ `
        return match[0]
    if space is not None:
        return "" if space == "!" else " "
    if name in _DROPPED:
        return " " if name in ("boxed", "fbox") else ""
    if name in _SPACES:
        return " "
    if name.startswith(("quad", "qquad")):  # a space written into the name behind it
        return f" {name.removeprefix('q').removeprefix('uad').removeprefix('quad')}"
    return _ALIASES.get(name, match[0])


def _without_math_shift(text: str) -> str:
    r"""Drop the dollar signs of LaTeX, in pairs; what is left over, and `\$`, is money and stays."""
    parts = re.split(r"(?<!\\)\$", text)
    if len(parts) % 2 == 0:  # an odd sign: "$18" or "cost: $18 per $x$" is left to the units
        return text.replace("$$", "") if len(parts) > 2 else text
    return "".join(parts)


def _is_power(text: str) -> bool:
    """Whether `**` stands between operands, as in `2**10`, and is no bold mark."""
    before, _, after = text.partition("**")
    return bool(before) and before[-1].isalnum() and bool(after) and (after[0].isalnum() or after[0] in "(-{")
