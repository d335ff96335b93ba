r"""The signs and words of mathematics, and one spelling for the many ways in which models and data sets write them.

`clean` brings an answer into that spelling: text to text, linear in the length, and the meaning is kept: what is cut
away (sizes of brackets, fonts, thin spaces, the dollar signs of LaTeX) never carries any.

`tokenize` cuts prose with formulas in it into tokens, in the same spelling, with their places and the gaps between
them: one linear pass of one regular expression, without backtracking to exploit.

The tables of words hold general English only; a word that is missing makes a claim `not_checkable`, never false.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

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
        "Sigma Phi Psi Omega lamda ell hbar",
    )
)


SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT = re.compile(r"[₀₁₂₃₄₅₆₇₈₉]+")
_VULGAR = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")

VULGAR = {sign: unicodedata.normalize("NFKC", sign).replace("⁄", "/") for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_GREEK_LETTERS = {letter: f"\\{unicodedata.name(letter).split()[-1].lower()}" for letter in "αβγδεζηθικμνξπρστφχψω"}
_GREEK_LETTERS["Δ"] = r"\Delta"
_SPELLED = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "⁄": "/", "÷": "/", "∕": "/",
    "×": r"\times ", "✕": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "∗": "*",
    "√": r"\sqrt", "∞": r"\infty ", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ",
    "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ",
    "≅": r"\approx ", "≐": r"\approx ", "≡": r"\equiv ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "ℝ": r"\mathbb{R}", "°": r"^\circ ", "º": r"^\circ ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "、": ",", "或": " or ", "和": " and ", "ℤ": r"\mathbb{Z}", "Ω": r"\Omega ", "∖": r"\setminus ",
    "¢": " cents", "’": "'", "‘": "'", "“": '"', "”": '"', "\u200b": "", "\u2061": "", "\ufeff": "",
} | {letter: f"{name} " for letter, name in _GREEK_LETTERS.items() if letter != "μ"}  # fmt: skip
_SIGNS = str.maketrans(_SPELLED)  # μ stays: more often micro than an unknown

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
    """Return the answer in one spelling: ASCII digits and signs, LaTeX for what ASCII lacks, no wrappers.

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
    text = _plain_signs(text)
    if ":" in text and (named := _NAMED_VALUES.match(text)):
        text = _NAMED_VALUE.sub(r"\1 =", named["pairs"])
    if "{" in text or "frac" in text:
        text = _plain_groups(text)
    if "$" in text:
        text = _without_math_shift(text)
    if "circ" in text:
        text = _DEGREE.sub(r"^\\circ ", text)
    text = text.replace("~", " ").replace("**", "^" if _is_power(text) else "")
    return unwrap(_SPACE.sub(" ", text))


def _plain_signs(text: str) -> str:
    if "\\in" in text:
        text = _NUMBER_SET.sub(r"\\in \\mathbb{\1}", text)
    return _plain_words(_plain_numbers(text))


def _plain_numbers(text: str) -> str:
    if ("," in text or text.count(".") > 1) and "(" not in text and "[" not in text:
        text = _DOTTED.sub(_undotted, text)
    if text[-1:] in "mM." and (clock := _DOTTED_CLOCK.match(text)):
        text = f"{clock[1]}:{clock[2]} {clock[3]}m"
    if "0" in text:
        text = _PREFIXED.sub(_with_base, text)
    return _SWISS.sub("", text) if "'" in text else text


def _plain_words(text: str) -> str:
    if " over " in text:
        text = _OVER.sub(r"\\frac{\1}{\2}", text)
    if "inf" in text:
        text = _INFINITY.sub(r"\\infty ", text)
    if text[:1] == "<" and text[-1:] == ">" and "," in text:
        text = f"({text[1:-1]})"  # a vector
    if " x " in text:
        text = _TIMES.sub(r" \\times ", text)
    if " choose " in text:
        text = _CHOOSE_WORD.sub(r"\\binom{\1}{\2}", text)
    return _CHOOSES.sub(r"\\binom{\1}{\2}", _CHOOSE.sub(_chosen, text)) if "C" in text else text


def _plain_groups(text: str) -> str:
    if text[:1] == "{" and text[-1:] == "}" and _BUILT.match(text):
        text = f"\\{text[:-1]}\\}}"
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _SIGN_BRACE.sub(r"\1", _THOUSANDS_BRACE.sub("", _COLOUR.sub("", text)))
    if "." in text:
        text = _REPEATING.sub(_repeating, text)
    return _SUM_INDEX.sub(_sorted_index, text) if "_{" in text else text


def _plain_commands(text: str) -> str:
    text = _SIDE_BY_SIDE.sub(" , ", _FONT.sub("", _SPACED_THOUSANDS.sub(",", text)))
    text = _COMMAND.sub(_plain_command, _NOT.sub(_negated, _DELIMITER.sub("", text)))
    return _BARE_ARGUMENT.sub(r"\\\1{\2}", text)


_AMOUNT_BEHIND = r"(?:€|EUR\b|[Ee]uros?\b|zł|kr\b|Kč)"
_DOTTED = re.compile(  # as much of Europe writes numbers; 1.200 alone is a decimal, 12,50 a list
    rf"(?<![\w.,])\d{{1,3}}(?:\.\d{{3}})+,\d{{1,9}}(?![\d,])|(?<![\w.,])\d{{1,3}}(?:\.\d{{3}}){{2,}}(?![\d.,])"
    rf"|(?<![\w.,])\d{{1,9}},\d{{1,2}}(?=\s?(?:\\text\s?\{{\s?)?{_AMOUNT_BEHIND})"
)
_PREFIXED = re.compile(r"(?<![\w.\\])0(?:[bB]([01]{1,64})|[oO]([0-7]{1,40})|[xX]([0-9A-Fa-f]{1,40}))(?![\w.])")
_NUMBER_SET = re.compile(r"\\in *([RZNQ])(?![A-Za-z_^'])")
_DOTTED_CLOCK = re.compile(r"(\d{1,2})[.h]([0-5]\d) ?([ap])\.? ?m\.?\Z", re.IGNORECASE)  # 12.15 pm
_SWISS = re.compile(r"(?<=\d)'(?=\d{3}(?!\d))")  # 1'250'000
_OVER = re.compile(r"\A(-?\d{1,9}) over (\d{1,9})\Z")
_VALUE_NAMED = r"[\"']?[A-Za-z][\"']?\s?:\s?(?:(?!\\\})[^,:;<>={}|\"']|\{[^{}]{1,40}\}){1,40}"
_NAMED_VALUES = re.compile(  # {x: 5, y: 2}
    rf"(?:\\?\{{\s?)?(?P<pairs>{_VALUE_NAMED}(?:,\s?{_VALUE_NAMED}){{1,7}})(?:\\?\}})?\Z"
)
_NAMED_VALUE = re.compile(r"[\"']?([A-Za-z])[\"']?\s?:")


def _undotted(match: re.Match[str]) -> str:
    return match[0].replace(".", "").replace(",", ".")


def _with_base(match: re.Match[str]) -> str:
    """Return `0b1011` as the digits with their base, `1011_{2}`."""
    return next(f"{digits}_{{{base}}}" for digits, base in zip(match.groups(), (2, 8, 16), strict=True) if digits)


MODULO = r" ?\(? ?(?:\\[bp]?mod|\\text ?\{ ?mod ?\}|mod) ?\{? ?"
"""What stands between a residue and its modulus: `3 \\pmod{7}`, `3 (mod 7)`."""
_INFINITY = re.compile(r"(?<![A-Za-z\\])inf(?:inity)?(?![A-Za-z])")
_CHOOSE_WORD = re.compile(r"(?<![\w.])(\w{1,9}) choose (\w{1,9})(?![\w.])")
_TIMES = re.compile(r"(?<=\d) x (?=\d)")
_BUILT = re.compile(r"\{ *[A-Za-z] *(?:\\in *\\mathbb *\{ *R *\} *)?[|:]")
_CHOOSES = re.compile(r"(?<![A-Za-z\\])C ?\(([^(),]{1,12}),([^(),]{1,12})\)(?!\s?=)")
_SUM_INDEX = re.compile(r"_\{([a-zA-Z\d]{1,6}(?: ?[+-] ?[a-zA-Z\d]{1,6}){1,4})\}")


def _sorted_index(match: re.Match[str]) -> str:
    """Return `a_{n-1-k}` with the terms of its index in one order."""
    terms = re.findall(r"[+-]?[a-zA-Z\d]+", match[1].replace(" ", ""))
    signed = sorted((term.lstrip("+-"), term[0] == "-") for term in terms)
    signed.sort(key=lambda term: (term[0].isdigit(), term))
    return "_{" + "".join(("-" if negative else "+") + term for term, negative in signed).lstrip("+") + "}"


_INDEX = r"(?:\{\s?([^{}]{1,20}?)\s?\}|(\w))"
_CHOOSE = re.compile(rf"(?<![A-Za-z\\])C ?_{_INDEX} ?\^{_INDEX}|\{{?\}}?[_^]{_INDEX} ?C ?_{_INDEX}")


def _chosen(match: re.Match[str]) -> str:
    r"""Return `C_n^k` and `{}^nC_k` as a binomial; `C_1^2` is a constant squared."""
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
    text = _SUPERSCRIPT.sub(lambda match: "^{" + match[0].translate(SUPERSCRIPTS) + "}", text)
    text = _SUBSCRIPT.sub(lambda match: "_{" + match[0].translate(SUBSCRIPTS) + "}", text)
    return unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)


def _repeating(match: re.Match[str]) -> str:
    """Return a repeating decimal as the fraction that it is."""
    whole, fixed, period = match.groups()
    lower = (10 ** len(period) - 1) * 10 ** len(fixed)
    upper = int(f"0{whole}{fixed}{period}") - int(f"0{whole}{fixed}")
    return f"\\frac{{{upper}}}{{{lower}}}"


def _going_on(match: re.Match[str]) -> str:
    """Return a decimal with dots behind it as a fraction if a period shows three times, else as no exact decimal."""
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
    """Return whether `**` stands between operands, as in `2**10`, and is not a bold mark."""
    before, _, after = text.partition("**")
    return bool(before) and before[-1].isalnum() and bool(after) and (after[0].isalnum() or after[0] in "(-{")


def words(text: str) -> frozenset[str]:
    """Return the words of a text, as a set."""
    return frozenset(text.split())


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"

NUMBER_WORDS = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * (index + 2) for index, word in enumerate(_TENS.split())
}
SCALE_WORDS = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}


def in_base(digits: str, base: str) -> int | None:
    """Return the value of a numeral in the base that a number or a word names; None where it is none."""
    size = NUMBER_WORDS.get(base.lower()) or (int(base) if base.isdecimal() and len(base) < 3 else 0)
    try:
        return int(digits, size) if 2 <= size <= 36 else None
    except ValueError:  # a digit that the base does not have
        return None


FRACTION_WORDS = {"half": Fraction(1, 2), "halves": Fraction(1, 2)} | {
    name + ending: Fraction(1, value)
    for value, names in {
        3: ("third",),
        4: ("quarter", "fourth"),
        5: ("fifth",),
        6: ("sixth",),
        7: ("seventh",),
        8: ("eighth",),
        9: ("ninth",),
        10: ("tenth",),
        100: ("hundredth",),
    }.items()
    for name in names
    for ending in ("", "s")
}
MULTIPLE_WORDS = {"twice": 2, "double": 2, "thrice": 3, "triple": 3, "quadruple": 4}

NAMED_FUNCTIONS = words("sqrt gcd lcm max min abs floor ceil log ln sin cos tan")
OPERATOR_WORDS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "mod": "mod",
    "modulo": "mod",
}
STOP_WORDS = words("""
    is are was were be been being am equal equals equaling makes make making gives give giving gets get
    getting yields yield totals means mean becomes become came comes come amounts adds add added results
    result leaves leave leaving and or but so then thus hence therefore for in on at to from of with by
    into as than that which who whom this these those there here it its he she they we you his her their
    our your my if while when where because since although though however until before after during
    between have has had do does did will would can could should may might must plus minus times
    multiplied multiply divided divide subtracted subtract more less fewer greater mod modulo remainder
    simplifies expands factors not no let per about approximately roughly around nearly almost i
    """)
FILLERS = words("""
    a an the total of exactly just only another about approximately approx roughly around nearly almost
    some additional now simply value sum result
    """)
APPROXIMATE_WORDS = words("about approximately approx roughly around nearly almost")
# A number right after one of these is a name, as in "day 2" or "option 3".
LABEL_WORDS = words("""
    day days week month year hour minute step case option question problem part room house number no
    chapter page figure table equation round game test box bag team group level grade row column item
    person player section method scenario line age ages approach way stage phase trip quarter season set
    point class task example exercise rule condition statement lemma claim sample type plan
    """)
# Words after which a calculation begins afresh: what stands before them does not change its value.
CLEAN_WORDS = words("""
    so thus therefore hence then since because that and but as get have know calculate find compute is
    are be equals gives now where means just also which we has had was were like using be
    """)


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
    # Spaces belong to the token behind them. The most frequent tokens come first: alternatives are tried in order.
    r" *(?:(?P<word>[A-Za-zÀ-ÖØ-öø-ɏ]+(?:['’][A-Za-z]+)?)|(?P<plain>[()\[\]+,/^;|_%}])"
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
    r"|(?P<sign><=|>=|!=|==?>|<?-+>|==|\*\*|<<|>>|\\.|.))",
    re.DOTALL,
)
_DASHES = frozenset("—‐‑")  # in prose they join words or parts of a sentence


def _in_prose(meanings: dict[str, str]) -> dict[str, str]:
    """Return what every spelling of the plain signs means, in Unicode or as a command."""
    spellings = {sign: plain.strip() for sign, plain in _SPELLED.items() if sign not in _DASHES}
    spellings |= {f"\\{name}": plain for name, plain in _ALIASES.items()} | {plain: plain for plain in meanings}
    return {spelling: meanings[plain] for spelling, plain in spellings.items() if plain in meanings}


_OPERATORS = _in_prose({sign: sign for sign in "+-*/^%!_√±°"} | {
    r"\times": "*", r"\cdot": "*", r"\*": "*", r"\pm": "±", r"\%": "%", r"^\circ": "°", r"\bmod": "mod", r"\mod": "mod",
})  # fmt: skip
_RELATIONS = _in_prose({sign: sign for sign in ("=", "<", ">", "<=", ">=", "!=")} | {
    "==": "=", r"\approx": "≈", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\equiv": "≡",
})  # fmt: skip
LOWERED = frozenset("₀₁₂₃₄₅₆₇₈₉")
CLOSING = {"(": ")", "[": "]", "{": "}"}
_KINDS = {
    "ratio": (PUNCTUATION, ""), "dots": (PUNCTUATION, "…"), "newline": (NEWLINE, "\n"),
    "raised": (OPERATOR, ""), "lowered": (PUNCTUATION, ""),
}  # fmt: skip
_LOOKAHEAD = 8
_WORD, _NUMBER, _FENCE, _SIZE = (_TOKEN.groupindex[name] for name in ("word", "number", "fence", "size"))
_CONTROL_LETTERS = {"\t": "\\t", "\f": "\\f", "\b": "\\b", "\r": "\\r"}
_NOTHING = (-1, "")
_KNOWN = (
    {sign: (PUNCTUATION, sign) for sign in "()[],;|}"}
    | {sign: (COMMAND, name) for sign, name in _GREEK_LETTERS.items()}
    | {sign: (NUMBER, fraction) for sign, fraction in VULGAR.items()}
    | {sign: (RELATION, normal) for sign, normal in _RELATIONS.items()}
    | {sign: (OPERATOR, normal) for sign, normal in _OPERATORS.items()}
    | dict.fromkeys(("$", "€", "£", "¥", "₹", "\\$", "&"), _NOTHING)  # `&` only marks a column in LaTeX
)
_SEPARATORS = re.compile(r"[^\d.]")


def tokenize(text: str) -> list[Token]:
    """Return the tokens of `text`, with a few `END` tokens behind the last, so that looking ahead needs no check.

    Signs of currency and borders of formulas are dropped; they only show in the next token's `gap`.
    """
    tokens: list[Token] = []
    add, new = tokens.append, tuple.__new__  # a million calls a second: no detour over `Token(…)`
    gap, behind = FENCED, 0
    for match in _TOKEN.finditer(text):
        group = match.lastindex or 0
        start, end = match.span(group)
        surface = match[group]
        if start != behind:
            gap = gap or SPACED
        behind = end
        if group == _WORD:
            kind, normal = WORD, surface
        elif group == _NUMBER:
            kind, normal = NUMBER, surface if surface.isdecimal() else _SEPARATORS.sub("", surface)
        elif surface in _KNOWN:
            kind, normal = _KNOWN[surface]
        elif group == _FENCE:
            gap = FENCED
            continue
        elif group == _SIZE:
            continue
        else:
            kind, normal = _classify(match.lastgroup or "", surface, match, gap)
        if kind < 0:
            gap = gap or SPACED
        else:
            add(new(Token, (kind, normal, start, end, gap)))
            gap = FENCED if kind == NEWLINE else TIGHT
    tokens.extend([Token(END, "", len(text), len(text), FENCED)] * _LOOKAHEAD)
    return tokens


def _classify(group: str, surface: str, match: re.Match[str], gap: int) -> tuple[int, str]:
    if group == "blank":
        return _NOTHING
    if group == "textword":
        return WORD, surface.partition("{")[2].strip(" }")
    if group in _KINDS:
        kind, normal = _KINDS[group]
        return kind, normal or surface
    if group == "broken":  # a JSON reader took `\\t` of `\\times` for a tab
        surface = _CONTROL_LETTERS[surface[0]] + surface[1:]
    if surface == "**":
        return (OPERATOR, "^") if _is_power_sign(match, gap) else _NOTHING
    is_command = surface[0] == "\\" and surface[1:].isalpha()
    return _KNOWN.get(surface) or ((COMMAND if is_command else PUNCTUATION), surface)


def _is_power_sign(match: re.Match[str], gap: int) -> bool:
    """Return whether two stars are a power, as in `2**3`; those of `**bold**` touch a blank or a border on one side."""
    before, after = match.start("sign") - 1, match.end()
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
    """Return the position of the closing bracket of every opening one that has it."""
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
