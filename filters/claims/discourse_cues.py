"""What the words around a claim make of it: a supposition, a case, a conclusion, a rewriting, a correction."""

from __future__ import annotations

import re

ABOUT_WORDS = re.compile(r"\b(?:approx\w*|about|roughly|around|nearly|almost|estimat\w+)\b", re.IGNORECASE)
ROUNDING_WORDS = re.compile(
    r"\b(?:round(?:s|ed|ing)?|whole|nearest|truncat\w+|integer part|ceiling|floor|ceil|up to)\b",
    re.IGNORECASE,
)
CORRECTION = re.compile(
    r"\b(?:wait|oops|scratch that|correction|on second thought|my mistake|"
    r"made an? (?:\w+ )?(?:mistake|error)|"
    r"th(?:at|is)(?:['’]s| is| was) (?:not (?:right|correct)|wrong|incorrect|a mistake|an error)|"
    r"not correct|incorrect|let me (?:re\w+|correct|fix|check|try)|"
    r"let['’]s (?:re-?\w*(?:check|do|compute|calculate|evaluate|consider)|correct|fix))\b|"
    r"(?:^|[.!?\n]\s{0,3})(?:actually|no|hmm)\b",
    re.IGNORECASE,
)
_DEFINES = re.compile(
    r"\b(?:let|set|sets|setting|suppose|supposing|assum\w+|if|when|where|for|at|with|given|denote|define|case|cases|try|"
    r"trying|check\w*|verif\w+|substitut\w+|plug\w*|put|putting|say|take|taking|choose|choosing|consider|using|test|testing|example|"
    r"either|possible|possibly|maximum|minimum|max|min|initial\w*|start\w*|lines?|axis|axes|asymptot\w+|vert\w+|"
    r"cent(?:er|re)\w*|symmetr\w+|undefined|domain|holes?|endpoints?|boundar\w+|between|excluding|except|unless|"
    r"tangent|horizontal\w*|intersect\w*|critical|extrem\w+)\b[^.;\n]{0,60}\Z",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(
    r"\b(?:(?:let|suppose|supposing|assum\w+|if|case|cases|try|trying|test|testing|imagine)\b"
    r"|(?:for|at|when|with|where|setting|substituting|using)\s[\\($ ]{0,4}[A-Za-z]\s?=)[^.;\n]{0,60}\Z",
    re.IGNORECASE,
)
_CASES = re.compile(r"\bor\b|\\text\{\s*or\s*\}|\bcases?\b|\beither\b|±|\\pm", re.IGNORECASE)
_BINDING = re.compile(r"(?<![A-Za-z\\])(?<![-+*/=^]\s)(?<![-+*/=^])([A-Za-z])\s?=\s?-?\d")
_SIMPLIFIES = re.compile(r"\b(?:combin\w+|simplif\w+|like terms|expand\w*|distribut\w+)\b", re.IGNORECASE)
_REDUCES = r"(?:[Tt]h(?:is|at)|which|[Ii]t) (?:simplifies|reduces|amounts) to"
_OPENS_WITH_THAT = re.compile(rf"\s{{0,3}}{_REDUCES}[\s$:(\[\\]{{0,6}}")
_IMPLIES = re.compile(
    r"[\s$&,.;)\]]{0,6}(?:⇒|⟹|→|=+>|-+>|\\(?:Long)?[Rr]ightarrow|\\implies|\\iff|\\to|\\\\|so|thus|hence|therefore|"
    r"which (?:gives|means|yields)|giv(?:es|ing)|yields|that is|i\.e\.|"
    rf"{_REDUCES}"
    r")[\s$&,:(\[\\]{0,6}"
)
_ANNOUNCES = re.compile(
    r"\b(?:expand(?:ing)?|factor(?:ing)?|simplify(?:ing)?|distribut(?:e|ing)|multiply(?:ing)? out|foil(?:ing)?)\b"
    r"(?:\s(?:the|this|out|it|expression|product|square|brackets|parentheses|quadratic|polynomial|trinomial|binomial)){0,4}"
    r"[\s,:]{0,3}(?:we (?:get|have|obtain|find)|gives)?[\s,:$\\(\[]{0,6}\Z",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[\s$)\]\\*]{0,6}(?:[.;\n=]|\Z)")
_SOLVES = re.compile(r"\b(?:solv\w+|equations?|both sides|roots?|solutions?)\b", re.IGNORECASE)


def is_supposed(before: str, *, value: bool) -> bool:
    """Whether the words before a link, in its sentence, make it a supposition or, a `value`, a definition."""
    return bool((_DEFINES if value else _SUPPOSES).search(before))


def simplifies(before: str) -> bool:
    """Whether the words before a link announce a rewriting of the same expression."""
    return bool(_SIMPLIFIES.search(before))


def lists_cases(sentence: str) -> bool:
    """Whether a sentence names alternatives."""
    return bool(_CASES.search(sentence))


def binds_several(sentence: str) -> bool:
    """Whether a sentence gives values to several names: `here a = 2, b = -1` may speak of other letters than before."""
    return len(set(_BINDING.findall(sentence))) > 1


def implies(between: str) -> bool:
    """Whether the words between two equations say that the second follows from the first."""
    return _IMPLIES.fullmatch(between) is not None


def refers_back(before: str) -> bool:
    """Whether a step opens with words that take up the equation before it."""
    return _OPENS_WITH_THAT.fullmatch(before) is not None


def announces_rewriting(before: str, after: str) -> bool:
    """Whether the words before an equality say that one expression is written anew, and those behind it agree."""
    return bool(_ANNOUNCES.search(before) and _ENDS.match(after)) and not _SOLVES.search(before + after)
