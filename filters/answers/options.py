"""What a text concludes where the answers are a known few, such as the options of a question.

Marks are found, denied and conditioned as for every answer (`conclusion`); what differs is that a domain knows further
ways to name one of the few in words, and that a mark which names none of them says nothing against one that does.

- What the text says last is what it concludes. A statement in words gives way to a tag, a box or a key behind it;
  otherwise marks that differ are no answer (`several_answers`), unless the text corrects itself between them ("wait",
  "however"), or concludes after more words.
- A last box or tag counts whatever it holds; boxes before it that name none of the few hold what was calculated.
- "The wrong answer is A" names A only where the question asks for what is wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol

from proofmill.filters.answers.hedging import (
    called_faulty,
    concludes,
    conditional,
    conditional_behind,
    denied,
    of_another_question,
    retracted,
    revises,
    second_thought,
)
from proofmill.filters.answers.marks import Mark

_APART = 30  # characters between two marks, from which on there is room for a second thought
_REACH = 300
_IN_WORDS = frozenset({"answer_is", "stated", "called", "named", "final_line", "opening_line"})


class Options(Protocol):
    """What a domain knows of its few answers."""

    def named(self, phrase: str) -> Hashable:
        """Return which ones a phrase names; falsy where it names none."""

    def placeholder(self, phrase: str) -> bool:
        """Return whether a mark is left to be filled in: "X", "letter"."""

    def statement(self, text: str, mark: Mark) -> Mark | None:
        """Return a mark in words with what it says, up to the end of the sentence; None where that names none."""

    def stated(self, text: str) -> Iterator[Mark]:
        """Yield further statements in words, wherever they stand."""

    def closing(self, text: str, behind: int | None) -> list[Mark]:
        """Return what a text says behind its last mark, or all that it says where it has none."""

    def goes_on(self, text: str, last: Mark) -> bool:
        """Return whether the words behind a mark are an option's own, though they sound like a second thought."""

    def another(self, text: str, last: Mark) -> bool:
        """Return whether the sentence of a mark goes on to another one."""


def statements(text: str, marks: list[Mark], options: Options, question: str) -> Iterator[Mark]:
    """Yield the statements in words that name an option and that nothing before them denies or limits."""
    places = [(mark.start, mark.end) for mark in marks]
    further = [mark for mark in options.stated(text) if not any(a <= mark.start < b for a, b in places)]
    for mark in (*marks, *further):
        filled = options.statement(text, mark)
        if filled is None or denied(text, mark.start) or called_faulty(text, mark.start, mark.end, question):
            continue
        if of_another_question(text, mark.start, mark.end, question):
            continue
        before, behind = text[max(0, mark.start - _REACH) : mark.start], text[mark.end : mark.end + _REACH]
        if not conditional(before, question) and not conditional_behind(behind, question):
            yield filled


def chosen(text: str, marks: list[Mark], options: Options, *, form: str) -> tuple[Mark | None, str]:
    """Return the mark that counts of those that stand, and why it is no answer: "" where it is one.

    Args:
        text: the response.
        marks: those of every kind that stand.
        options: what the domain knows of its answers.
        form: the mark that the prompt asks for; no words count then.
    """
    ordered = sorted((mark for mark in marks if not options.placeholder(mark.phrase)), key=lambda mark: mark.start)
    naming = [mark for mark in ordered[:-1] if options.named(mark.phrase)]
    if naming or (ordered and options.named(ordered[-1].phrase)):
        ordered = naming + ordered[-1:]
    if not form:
        ordered += options.closing(text, ordered[-1].end if ordered else None)
    if not ordered:
        return None, "no_answer"
    last = ordered[-1]
    if retracted(text, last.end) and not options.goes_on(text, last):
        return None, "taken_back"
    if in_words(last, text) and second_thought(last.phrase):
        return None, "taken_back"
    return last, "several_answers" if _undecided(text, ordered, options) else ""


def _undecided(text: str, marks: list[Mark], options: Options) -> bool:
    """Return whether marks differ and the last one does not replace the others."""
    last = marks[-1]
    if in_words(last, text) and options.another(text, last):
        return True
    named = options.named(last.phrase)
    earlier = next((mark for mark in reversed(marks[:-1]) if options.named(mark.phrase) != named), None)
    if earlier is None:
        return False
    between = text[earlier.end : last.start]
    if not in_words(last, text):
        if in_words(earlier, text):
            return False
        return len(between) < _APART or not revises(between)
    apart = len(between) >= _APART and concludes(between) and in_words(earlier, text)
    return not (revises(between) or apart)


def in_words(mark: Mark, text: str) -> bool:
    """Return whether a mark is a statement, and no tag, box, key or 【答案】, which hold nothing but an answer."""
    return mark.rule in _IN_WORDS and not text.startswith("【", mark.start)
