"""Problems as people type them: the same question and answer, asked less tidily.

A model that has learned a task keeps its answers when the question has typing errors, other wording, a sentence that
has nothing to do with it, or asks for another form of the answer; one that has learned the look of its training
prompts doesn't. What a question is about is never touched: text in quotes, code, mathematics, numbers, and words that
occur more than once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Literal, get_args

from proofmill.data.files import digest

Untidiness = Literal["typos", "wording", "irrelevant", "format"]
KINDS: tuple[Untidiness, ...] = get_args(Untidiness)

_KEPT = re.compile(r"```.*?```|`[^`]*`|\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]|\"[^\"]*\"|“[^”]*”", re.DOTALL)
_WORD = re.compile(r"(?<![\w'\\])[A-Za-z]{4,}(?![\w'])")
_TYPING_ERRORS = 0.34  # of the words that may have one

# Words that ask, each with another way to ask the same. Nouns and verbs of a problem's own matter stay.
_WORDING: tuple[tuple[str, str], ...] = (
    (r"\bcalculate\b", "work out"),
    (r"\bcompute\b", "work out"),
    (r"\bevaluate\b", "work out"),
    (r"\bfind\b", "determine"),
    (r"\bdetermine\b", "find"),
    (r"\bhow many times does\b", "how often does"),
    (r"\bhow many\b", "what number of"),
    (r"\bhow much is\b", "what do you get for"),
    (r"\bwhat is\b", "tell me"),
    (r"\bsolve\b", "find the solution of"),
    (r"\bconsider these statements\b", "suppose the following is true"),
    (r"\bdoes it logically follow that\b", "can one conclude that"),
    (r"\bappear in\b", "occur in"),
    (r"\bwrite a\b", "give me a"),
)
_FRAMES = ("Can you help me with this? {}", "I have a question.\n\n{}", "{}\n\nThanks in advance!", "Next one:\n{}")
_ASIDES = (
    "My sister's train leaves on the 14th of May.",
    "It has been raining here since Tuesday.",
    "The shop on the corner sells 36 kinds of tea.",
    "I painted the kitchen blue last year.",
    "By the way, our cat is 7 years old.",
)
_FORMS = (
    "Give the answer between <answer> and </answer>.",
    "Close with a line that says: Answer: …",
    'Close with a JSON object {"answer": …}.',
    "Put the answer in \\boxed{}.",
)


def untidied(prompt: str, kind: Untidiness) -> str:
    """Return a prompt asked in one untidy way; the same prompt always in the same way."""
    return _WAYS[kind](prompt, Random(digest("untidy", kind, prompt)))


def _typos(prompt: str, random: Random) -> str:
    counts = Counter(word.lower() for text in _KEPT.split(prompt) for word in _WORD.findall(text))
    once = sorted(word for word, count in counts.items() if count == 1)
    chosen = set(random.sample(once, max(min(len(once), 1), round(_TYPING_ERRORS * len(once)))))

    def mistyped(match: re.Match[str]) -> str:
        return _mistyped(match[0], random) if match[0].lower() in chosen else match[0]

    return _outside(prompt, lambda text: _WORD.sub(mistyped, text))


def _mistyped(word: str, random: Random) -> str:
    """Two letters exchanged, one left out, or one typed twice; the first and the last stay."""
    place = random.randrange(1, len(word) - 2)
    way = random.randrange(3)
    if way == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word[:place] + word[place + 1 :] if way == 1 else word[:place] + word[place] + word[place:]


def _wording(prompt: str, random: Random) -> str:
    def other(text: str) -> str:
        for pattern, words in _WORDING:
            if match := re.search(pattern, text, re.IGNORECASE):
                return text[: match.start()] + _cased(words, match[0]) + text[match.end() :]
        return text

    return random.choice(_FRAMES).replace("{}", _outside(prompt, other))


def _cased(words: str, like: str) -> str:
    return words.capitalize() if like[:1].isupper() else words


def _irrelevant(prompt: str, random: Random) -> str:
    return f"{random.choice(_ASIDES)} {prompt}"


def _format(prompt: str, random: Random) -> str:
    return f"{prompt}\n\n{random.choice(_FORMS)}"


def _outside(text: str, change: Callable[[str], str]) -> str:
    """The text with its parts changed that are no quotation, code or mathematics."""
    parts, end = [], 0
    for match in _KEPT.finditer(text):
        parts += [change(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(text[end:])])


_WAYS: Mapping[Untidiness, Callable[[str, Random], str]] = {
    "typos": _typos,
    "wording": _wording,
    "irrelevant": _irrelevant,
    "format": _format,
}
