"""Broken texts are told from sound ones, on prose, code, LaTeX and tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.data.schemas import SPLIT_COLUMNS
from proofmill.filters.degenerate_text import find_loop
from proofmill.filters.reasoning import parts_of
from proofmill.filters.repetition import LIMITS, QUALITY, Quality, QualityOptions, annotate, duplication, measure

DATA = Path(__file__).parents[2].parent / "shared" / "data"

SENTENCES = [
    "A train leaves the station at nine and reaches the coast some three hours later.",
    "Its speed is eighty kilometres per hour on the plain but only half of that in the hills.",
    "Since the plain takes two of the three hours, the first part is one hundred and sixty long.",
    "The hills add forty more, which we may check by adding both parts again from the map.",
    "So the whole way comes to two hundred kilometres, and the mean speed is a little above sixty six.",
    "Nothing in the statement tells us about stops, therefore no time has to be taken off.",
    "If there were a stop of ten minutes, the result would change only by a small amount.",
    "We are asked for the distance alone, hence the last remark does not matter for us here.",
]
PROSE = "\n".join(SENTENCES)
CODE = (
    "We sort first.\n```python\n"
    + "".join(f"    if value == {n}:\n        return result\n    result.append(value)\n" for n in range(40))
    + "```\nThat is all there is to it."
)
TABLE = "The grid becomes:\n" + "\n".join("0 1 0 1 0 1 0 1" for _ in range(12))
LATEX = "We solve it line by line.\n" + "\n".join(
    f"\\begin{{aligned}}\nx_{{{n}}} &= {n} + 1 \\\\\ny_{{{n}}} &= 2\n\\end{{aligned}}" for n in range(30)
)
LIST = "\n".join(f"Step {n}: we add {n * n + 3} to the sum and get {n * 7 + n * n} as the new sum." for n in range(9))
MARKDOWN = "| n | square |\n|---|---|\n" + "\n".join(f"| {n} | {n * n} |" for n in range(60))
SOUND = {
    "prose": PROSE,
    "code": CODE,
    "table": TABLE,
    "LaTeX": LATEX,
    "steps": LIST,
    "Markdown table": MARKDOWN,
    "residues": PROSE
    + "".join(
        f"\nIf n = {n}, then n^2 + n + 1 = {n * n + n + 1}, which leaves remainder {(n * n + n + 1) % 25} when divided"
        " by 25, so this case is not possible."
        for n in range(25)
    )
    + "\nNo residue is left, and so there is no such number.",
    "pairs": PROSE
    + "".join(
        f"\nFor ({a}, {b}) the sum is {a + b} and the product is {a * b}, so the ratio is {a * b / (a + b):.3f}."
        for a in range(1, 9)
        for b in range(1, 9)
    )
    + "\nThe largest ratio is therefore four.",
    "zeros": "The matrix is\n" + str([[0] * 12] * 12),
    "fraction": "The value is 1/3 = 0." + "3" * 300,
    "rule": PROSE + "\n" + "-" * 400,
    "short": "Three and four make seven.",
    "emphasis": "No, no, no, that is not so: three and four make seven.",
}


def judge(text: str, finish_reason: str | None = "stop", prompt: str = "") -> Quality:
    return measure(text, reasoning=text, final="", finish_reason=finish_reason, prompt=prompt)


@pytest.mark.parametrize("name", SOUND)
def test_sound_texts_pass(name: str) -> None:
    quality = judge(SOUND[name])
    assert quality.reason is None, quality
    assert quality.repetition < 0.3


LOOPS = {
    "sentence": PROSE + "\nSo the answer is 66." * 6,
    "cut in the middle": PROSE + ("\nWait, let me check that again, from the start." * 9)[:-17],
    "word": "It is " + "very " * 60,
    "paragraph": "Well.\n" + (PROSE + "\n\n") * 3,
    "syllable": "ha" * 200,
    "letter": "a" * 3000,
    "digits": "The value is " + "142857" * 600,
    "Chinese": "我们再检查一遍这个答案。" * 12,
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_found(name: str) -> None:
    quality = judge(LOOPS[name])
    assert quality.loop
    assert quality.reason == "loop"
    assert quality.evidence
    assert quality.repetition > 0.1


@given(st.text("ab \n", min_size=1, max_size=40), st.integers(25, 60), st.integers(0, 39))
def test_any_unit_with_words_said_often_is_a_loop(unit: str, turns: int, cut: int) -> None:
    text = ("xy" + unit) * turns
    text = "Something else before. " + text[: len(text) - cut % len(unit)]
    loop = find_loop(text)
    assert loop is not None
    assert loop.chars <= len(text)


def test_reasoning_that_loops_before_the_answer() -> None:
    reasoning = PROSE + "\nHmm, that is wrong." * 8
    quality = measure(f"<think>{reasoning}</think>66", reasoning=reasoning, final="66", finish_reason="stop")
    assert (quality.loop, quality.reason) == (True, "loop")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n".join(SENTENCES[n % 4] for n in (0, 1, 2, 3, 0, 2, 1, 3, 2, 0, 3, 1)), "duplicate_lines"),
        (" ".join(SENTENCES[n % 4] for n in (0, 1, 2, 3, 0, 2, 1, 3, 2, 0, 3, 1)), "duplicate_10_gram_chars"),
        (" ".join(f"{word} therefore it {word}s" for word in PROSE.split()), "top_2_gram_chars"),
    ],
)
def test_duplication(text: str, reason: str) -> None:
    assert judge(text).reason == reason


def test_final_part_may_restate_the_reasoning() -> None:
    text = f"<think>{PROSE}</think>{PROSE}"
    assert measure(text, reasoning=PROSE, final=PROSE, finish_reason="stop").reason is None


def test_shares_by_hand() -> None:
    words = [f"word{n:03}" for n in range(100)]
    text = " ".join([*words, *words[:25]])
    assert duplication(text)["duplicate_10_gram_chars"] == pytest.approx(25 / 125)
    assert duplication("\n".join([" ".join(words[:50])] * 4))["duplicate_lines"] == pytest.approx(3 / 4)
    assert duplication("too short") == {}
    assert set(duplication(" ".join(words * 4))) == set(LIMITS)


@pytest.mark.parametrize(
    ("text", "reasoning", "finish", "reason"),
    [
        (PROSE, PROSE, "length", "truncated"),
        (f"<think>{PROSE}", PROSE, None, "unclosed"),
        ("\\boxed{7}", "", "stop", "empty_reasoning"),
        ("<think>\n\n</think>7", "\n\n", "stop", "empty_reasoning"),
        ("7. The answer is 7.", "7.", "stop", "empty_reasoning"),
        (PROSE + "<|im_end|>", PROSE, "stop", "template"),
        (PROSE + "\nUser: What is 3 + 5?", PROSE, "stop", "template"),
        (PROSE + "\nThe answer is [insert answer here].", PROSE, "stop", "template"),
        (PROSE + "\n但是我们需要检查\n" + PROSE, PROSE, "stop", "script_switch"),
        (PROSE + "\nПоэтому ответ равен шести\n" + PROSE, PROSE, "stop", "script_switch"),
        (
            PROSE + "\n因此我们需要重新检查一下这个结果是否正确。\n" + PROSE,
            PROSE,
            "stop",
            "script_switch",
        ),
        (
            PROSE + "\nТеперь нужно проверить ответ ещё раз.\n" + PROSE,
            PROSE,
            "stop",
            "script_switch",
        ),
        (
            PROSE + "\n<|im_end|>\n<|im_start|>user\nWhat about three trains?",
            PROSE,
            "stop",
            "template",
        ),
        (
            PROSE + "\nUser: And what is the speed of the other train?\nAssistant: It is sixty.",
            PROSE,
            "stop",
            "template",
        ),
        (
            PROSE + "\nDear [insert name here], the answer is two hundred.",
            PROSE,
            "stop",
            "template",
        ),
        (
            PROSE + "\nEntonces tenemos que sumar los dos valores para cada una de las partes, pero con cuidado.",
            PROSE,
            "stop",
            "script_switch",
        ),
    ],
)
def test_flags(text: str, reasoning: str, finish: str | None, reason: str) -> None:
    final = text.removeprefix(reasoning)
    closed = "unclosed" not in reason
    quality = measure(text, reasoning=reasoning, final=final, closed=closed, finish_reason=finish)
    assert quality.reason == reason
    assert getattr(quality, reason)


@pytest.mark.parametrize(
    "text",
    [
        PROSE + "\nThe word “但是我们需要检查” means that we must check.",
        PROSE + "\nα + β ≤ γ, so ∑ αᵢ = π and Ω(n) holds for ε → 0.",
        PROSE + "\n```python\nprint('但是我们需要检查')\n```",
        PROSE + "\nLet 王 be the king.",
        PROSE + "\nThe sign reads 「但是我们需要检查」 and so we must check.",
        PROSE + '\nShe said "Простите, я не понимаю вопроса" and left the room.',
        PROSE + "\nBy $\\alpha\\beta\\gamma\\delta$ we mean the product; θ₁ = φ + ψ, and Δ = β² − 4αγ.",
        PROSE + "\n```python\n# 我们先把两个数相加，然后再检查结果\ntotal = a + b\n```\nSo the total is right.",
        PROSE + "\nThe greeting nǐ hǎo, spasibo za pomoshch and arigatō gozaimasu are written in Latin letters here.",
        PROSE + "\nThe theorem is due to Чебышёв, whose name is also written Chebyshev.",
        "Мы складываем числа по порядку и проверяем сумму.\nПусть cos(x) = 1/2 и sin(y) = 0.\n"
        "Тогда получаем ответ: 12.",
        "我们先把两个数相加，然后 we check the result，最后得到答案。再把三个数相乘，得到最后的结果。",
    ],
)
def test_what_is_no_switch(text: str) -> None:
    assert not judge(text).script_switch


@pytest.mark.parametrize(
    "text",
    [
        PROSE + "\nThe user asks for the distance; an assistant would say two hundred.",
        PROSE + "\nThe interval [a, b] and the list [your, words] are two different things.",
        PROSE + "\n```python\nprint('<|im_start|>user')\n```",
        PROSE + "\nWe write x<s and s>y, so that |x| < |s| and |s| > |y|.",
        PROSE + "\nThe question is: how long is the way?",
    ],
)
def test_what_is_no_template(text: str) -> None:
    assert not judge(text).template


def test_alphabets_of_the_prompt_are_no_switch() -> None:
    text = PROSE + "\n但是我们需要检查\n" + PROSE
    assert not judge(text, prompt="Translate: 但是我们需要检查").script_switch


HOSTILE = [
    "a",
    " ",
    "\n",
    "“",
    "`",
    "```\n",
    "'",
    "|",
    "&",
    "\\",
    "<think>",
    "[",
    "«",
    "ab ",
    "Ж",
    "\\begin{",
    "0 ",
]


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_is_measured_at_once(unit: str) -> None:
    text = unit * (300_000 // len(unit)) + "x"
    assert 0 <= judge(text).repetition <= 1


@given(st.text(max_size=300))
def test_any_text_is_measured(text: str) -> None:
    quality = judge(text, finish_reason=None)
    assert 0 <= quality.repetition <= 1
    assert (quality.reason is None) == (quality.evidence is None and not (quality.truncated or quality.unclosed))


def plain_shares(words: list[str]) -> dict[str, float]:
    """The measures of n-grams, as one would write them by hand."""
    total, shares = sum(map(len, words)), {}
    for size in (2, 3, 4):
        grams = Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
        gram, times = grams.most_common(1)[0]
        shares[f"top_{size}_gram_chars"] = len("".join(gram)) * times / total if times > 2 else 0.0
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for at in range(len(words) - 9):
        gram = tuple(words[at : at + 10])
        inside |= set(range(at, at + 10)) if gram in seen else set()
        seen.add(gram)
    return shares | {"duplicate_10_gram_chars": sum(len(words[at]) for at in inside) / total}


@settings(max_examples=50)
@given(st.integers(2, 60), st.integers(300, 500), st.randoms(use_true_random=False))
def test_shares_of_n_grams_are_those_counted_by_hand(different: int, count: int, rng: Random) -> None:
    words = [f"{'abcdefghij'[at % 10] * (1 + at % 4)}{'klmnop'[at // 10]}" for at in range(different)]
    text = [rng.choice(words) for _ in range(count)]
    for _ in range(rng.randrange(3)):
        start, target = rng.randrange(count - 40), rng.randrange(count - 40)
        text[target : target + 30] = text[start : start + 30]
    found = duplication(" ".join(text))
    assert {name: found[name] for name in found if "gram" in name} == pytest.approx(plain_shares(text))


def test_the_filter_measures_each_row() -> None:
    texts = [*SOUND.values(), "again and again " * 200]
    rows = [_row(text) for text in texts]
    measured = [judge(text) for text in texts]
    assert list(annotate(rows, QualityOptions())) == [
        {
            "repetition": found.repetition,
            "quality_detail": ": ".join(filter(None, (found.reason, found.evidence))) or None,
        }
        for found in measured
    ]
    assert measured[-1].reason == "loop"
    assert {*QUALITY.adds.names} == {"repetition", "quality_detail"}


def _row(text: str, *tags: str) -> dict[str, Any]:
    parts = dict(zip(SPLIT_COLUMNS, parts_of(text, None, tags), strict=True))
    return {"prompt": None, "response": text, "finish_reason": "stop", **parts}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (f"<plan>{PROSE}</plan>{PROSE}", None),  # a final part restates its reasoning
        (f"<plan>{PROSE}", "unclosed"),
        ("<plan></plan>7", "empty_reasoning: 1 words before the answer, 0 in it and behind it: 7"),
    ],
)
def test_tags_of_a_recipe_part_a_response_as_think_tags_do(text: str, detail: str | None) -> None:
    (found,) = annotate([_row(text, "plan")], QualityOptions())
    (known,) = annotate([_row(text.replace("plan>", "think>"))], QualityOptions())
    assert found["quality_detail"] == known["quality_detail"] == detail


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the folder of real inputs beside the repository")
def test_human_solutions_are_sound() -> None:
    rows = [json.loads(line) for line in (DATA / "gsm8k_train.jsonl").read_text().splitlines()]
    found = [judge(row["answer"]) for row in rows]
    broken = [quality for quality in found if quality.reason not in {None, "empty_reasoning"}]
    assert len(broken) <= len(rows) / 1000
