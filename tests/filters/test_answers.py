"""What a text concludes: a corpus of answers in many writings beside their near misses, and texts made to cost time."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from proofmill.filters.answers.conclusion import conclude
from proofmill.filters.answers.reader import ANY_TEXT
from proofmill.filters.domains.math import VERIFIER
from proofmill.filters.verdicts import CORRECT, Problem
from proofmill.filters.verification import cut_reasoning

_ROWS = [json.loads(line) for line in Path(__file__).with_name("answers.jsonl").read_text().splitlines()]
_KINDS = sorted({row["kind"] for row in _ROWS})


@pytest.mark.parametrize("kind", _KINDS)
def test_every_row_of_the_corpus_is_judged_as_it_says(kind: str) -> None:
    mistaken = []
    for row in _ROWS:
        if row["kind"] != kind:
            continue
        cut = cut_reasoning(row["response"], None)
        problem = Problem("math", row["prompt"], row["answer"])
        verdict = (cut.verdict or VERIFIER.verify(problem, cut.text)).verdict
        agrees = verdict != CORRECT if row["expect"] == "not correct" else verdict == row["expect"]
        if not agrees:
            mistaken.append((row["answer"], row["response"], verdict))
    assert mistaken == []


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        ("<answer>a b</answer>", "a b", "tagged"),
        ('{"answer": "a b"}', "a b", "json"),
        ("The answer is a b.", "a b", "answer_is"),
        ("So it goes.\n#### a b", "a b", "hashes"),
        ("It is $7$", "$7$", "final_line"),
        ("It may be so.", "", "no_answer"),
    ],
)
def test_a_domain_without_a_grammar_takes_phrases_as_they_stand(text: str, answer: str, rule: str) -> None:
    found = conclude(text, ANY_TEXT)
    if rule == "final_line":
        assert found.text == "7" or found.text == answer
    else:
        assert (found.text, found.rule) == (answer, rule)


_HOSTILE = [
    "\"answer\": \"", "<answer>", "[ANSWER]", "answer ", "answer: ", "the answer is 1 ", "【答案】", "答案是", "= 1 ",
    "is 1 or ", "$1$ ", "\\(1\\) ", "####", "#### 1\n", "(1) ", "1, ", "5 of the ", "so 1, ", "1 - ",
    "\\text{and} ", "\\quad ", "if ", "since 1, ", "{", "\\boxed{}", "between 1 and ", "\\hat{i} + ",
    "1\\quad ", "for all x ", "k \\in \\mathbb{Z} ", "C_n^k ", "1 million ", "per a of ", "in the ", "1'",
    "a_{n-1} ", "**1** ", "```json\n", "x = 1 and ", "twenty-", "minus plus or ", "in the old ",
    "there is no x of ", "5! ", "Because:\n", "~~", "(a) 1 (b) ", " to reach 1 ", "x: 1, ", "1 hour 30 ",
    ", which is 1, ", "1.000.", "how many have ", "had 1 now ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", _HOSTILE)
@pytest.mark.parametrize("length", [300, 1_800, 20_000])
@pytest.mark.parametrize("frame", ["{}", "\\boxed{{{}}}", "The answer is {}", '{{"answer": "{}"}}', "So it is {}."])
def test_hostile_texts_cost_little(piece: str, frame: str, length: int) -> None:
    text = frame.format(piece * (length // len(piece)))
    began = time.process_time()
    VERIFIER.quick(Problem("math", "How many trips?", "5"), text)
    assert time.process_time() - began < 2.0
