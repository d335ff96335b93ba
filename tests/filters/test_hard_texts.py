"""Sound texts that look repetitive, none of which may be flagged, and broken ones that look varied, all of which must be."""

# ruff: noqa: E501 (texts)

from __future__ import annotations

import pytest

from proofmill.filters.reasoning import split_think
from proofmill.filters.repetition import Quality, measure


def lines(template: str, numbers: range, **others: object) -> str:
    return "\n".join(template.format(n=n, sq=n * n, m=n + 1, r=n % 7, d=n * 13 % 10, **others) for n in numbers)


OPENING = "We are asked for the smallest number with this property, so let us look at the conditions one after another."
CLOSING = "No other value is left, and putting it back into both conditions confirms it. The answer is therefore 12."
BITS = [(a, b, c) for a in "TF" for b in "TF" for c in "TF"]
WAIT = """Let me set up the equation: 3x + 7 = 2x + 19, so x = 12.
Wait, the problem says twice the number less 19, not plus. Then 3x + 7 = 2x - 19 and x = -26.
Wait, a number of sheep can't be negative, so I have misread it. Reading again: "twice as many, and nineteen more".
So plus was right. Wait, is the seven on the same side? "Seven more than three times the number" is 3x + 7. Yes.
Wait, let me also check the total: 3 * 12 + 7 = 43 and 2 * 12 + 19 = 43. Both sides agree.
Wait, should I worry that x counts pairs? The statement counts heads, so no. Hence x = 12."""
GERMAN = """Wir suchen die kleinste Zahl, die bei der Teilung durch drei den Rest eins und durch fünf den Rest zwei lässt.
Zuerst schreiben wir die Zahlen mit Rest zwei bei der Teilung durch fünf auf: 2, 7, 12, 17, 22.
Die Zahl 2 lässt bei der Teilung durch drei den Rest 2, die Zahl 7 lässt den Rest 1.
Also ist 7 die gesuchte Zahl, und wir prüfen: 7 = 2 * 3 + 1 und 7 = 1 * 5 + 2, das stimmt."""
FRENCH = """On cherche le plus petit entier qui donne le reste un dans la division par trois et deux dans celle par cinq.
Les entiers qui donnent deux dans la division par cinq sont 2, 7, 12 et 17, et nous les essayons dans cet ordre.
Le premier donne deux dans la division par trois, donc il ne convient pas ; le deuxième donne un, donc il convient.
Nous vérifions que 7 = 2 * 3 + 1 et que 7 = 5 + 2, ce qui est juste pour les deux conditions."""
CHINESE = """我们要找最小的正整数，它除以三余一，除以五余二。先列出除以五余二的数：二、七、十二、十七。
二除以三余二，不符合条件；七除以三余一，符合条件。所以答案是七。再检查一遍：七等于三乘二加一，也等于五加二。"""
DERIVATION = "\n".join(
    f"Differentiating the {nth} time and dividing both sides by {n} we get f_{n}(x) = x^{n} / {n}!, {why}."
    for n, nth, why in [
        (1, "first", "a straight line through the origin whose slope is one everywhere"),
        (2, "second", "a parabola that opens upwards and touches the axis"),
        (3, "third", "an odd function, so that its graph turns about the origin"),
        (4, "fourth", "flatter than the parabola near zero and steeper behind one"),
        (5, "fifth", "odd again, which was to be expected from the pattern of signs"),
        (6, "sixth", "and the general term can be guessed from here on"),
    ]
)
QUOTED = """The problem says: "A shop sells pens in packs of six and pencils in packs of eight. Mia buys some packs of each and
gets the same number of pens and pencils. What is the least number of pens she can have?"
We restate it. A shop sells pens in packs of six and pencils in packs of eight, and Mia gets the same number of both.
So the number of pens is a multiple of six, the number of pencils one of eight, and the two are equal.
The least common multiple of six and eight is twenty four. With four packs of pens and three of pencils she has 24 of each.
So to the question "What is the least number of pens she can have?" we answer 24."""
OTHER_LANGUAGES = {
    "German": GERMAN,
    "French": FRENCH,
    "Chinese": CHINESE,
    "Chinese with formulas": CHINESE
    + "\n设 $x = 3a + 1 = 5b + 2$，则 $3a = 5b + 1$，令 $b = 1$ 得 $a = 2$，于是 $x = 7$。",
    "German with English terms": GERMAN
    + "\nDas nennt man auch „Chinese remainder theorem“, und modular arithmetic hilft.",
    "Spanish": "Buscamos el número que sumado con su doble da 36. Si el número es x, entonces x + 2x = 36, y por eso x = 12.",
    "Russian": "Обозначим число через x. Тогда x + 2x = 36, откуда 3x = 36 и x = 12. Проверим: 12 + 24 = 36, всё верно.",
}
SOUND = {
    "LaTeX table": r"\begin{tabular}{cc}" + lines("\n{n} & {sq} \\\\ \\hline", range(40)) + r"\end{tabular}",
    "LaTeX table of words": lines(r"row {n} & even square & even cube \\ \hline", range(60)),
    "zero matrix": r"\begin{pmatrix}" + "\n0 & 0 & 0 & 0 \\\\" * 12 + r"\end{pmatrix}",
    "matrix of letters": r"\begin{bmatrix}" + "\na & b & a & b \\\\" * 10 + r"\end{bmatrix}",
    "aligned": OPENING + lines("\n\\begin{{aligned}} x_{n} &= {sq} \\\\ y_{n} &= {m} \\end{{aligned}}", range(30)),
    "identity in lists": "The identity of order ten is\n" + str([[int(i == j) for j in range(10)] for i in range(10)]),
    "cases environment": "f(x) = " + lines(r"\begin{{cases}} {n} & x < {m} \\ 0 & \text{{else}} \end{{cases}}", range(20)),
    "code": "```python\n" + lines("if n == {n}:\n    total += {sq}\n    continue", range(50)) + "\n```\nThis is slow.",
    "code with equal lines": "We pad it.\n```\n" + "print('-' * 20)\nprint()\n" * 12 + "```\nThat draws the frame.",
    "asserts": "These must hold:\n" + lines("assert square({n}) == {sq}", range(30)),
    "unfenced code": "\n".join(f"    if grid[{n}][{n + 1}] == 0:\n        free.append(({n}, {n + 1}))" for n in range(18)),
    "JSON": "[" + ",\n".join(f'{{"id": {n}, "name": "node", "next": {n + 1}}}' for n in range(30)) + "]",
    "SQL": lines("INSERT INTO squares VALUES ({n}, {sq});", range(30)),
    "assembly": "\n".join(["push rbp", "mov rbp, rsp", "xor eax, eax", "pop rbp", "ret", ""] * 2),
    "program output": "It prints\n" + lines("i = {n}", range(40)) + "\nand stops.",
    "equal output": "It prints\n" + "0 0 0 0 0 0 0 0\n" * 20 + "and stops.",
    "hexdump": lines("000{n}: 00 00 00 00 00 00 00 00 ff ff ff ff", range(40)),
    "enumeration": OPENING + lines("\nCase n = {n}: the square is {sq}, remainder {r}, so it fails.", range(2, 20)),
    "enumeration up to the answer": lines("If n is {n}, then n squared plus one is {sq} and one more.", range(1, 25)),
    "cases by letters": "\n".join(f"({c}) We suppose that {c} lies; then {d} tells the truth." for c, d in zip("ABCDEF", "BCDEFA", strict=True)),
    "days": lines("Day {n}: he walks {n} miles more and has {sq} miles behind him.", range(1, 31)) + "\n" + CLOSING,
    "sieve": "Primes below 100: " + ", ".join(str(n) for n in range(2, 100) if all(n % k for k in range(2, n))),
    "Collatz": "27 → 82 → 41 → 124 → 62 → 31 → 94 → 47 → 142 → 71 → 214 → 107 → 322 → 161 → 484 → 242 → 121 → 364",
    "truth table": "\n".join("\t".join(row) for row in BITS * 2),
    "truth table in words": "\n".join(f"p is {a}, q is {b}, r is {c}." for a, b, c in BITS),
    "Markdown truth table": "| p | q | r |\n|---|---|---|\n" + "\n".join(f"| {a} | {b} | {c} |" for a, b, c in BITS * 4),
    "Markdown table": "| day | what |\n|---|---|\n" + lines("| day {n} | he saves {m} dollars |", range(70)),
    "multiplication table": "\n".join(f"{a} × {b} = {a * b}" for a in range(1, 11) for b in range(1, 11)),
    "multiplication in a row": ", ".join(f"7 times {b} is {7 * b}" for b in range(1, 21)),
    "number grid": "\n".join(" ".join(str(a * b) for b in range(1, 13)) for a in range(1, 13)),
    "powers": lines("2^{n} ends in the digit {d}", range(1, 30)),
    "long division": "1/7 = 0." + "142857" * 40 + "...",
    "sum of ones": "The sum is " + " + ".join(["1"] * 100) + " = 100.",
    "product of halves": r"\frac{1}{2} \cdot " * 20 + r"\frac{1}{2} = 2^{-21}",
    "Pascal": "1\n1 1\n1 2 1\n1 3 3 1\n1 4 6 4 1\n1 5 10 10 5 1\n1 6 15 20 15 6 1\n1 7 21 35 35 21 7 1",
    "waiting": WAIT,
    "derivation": DERIVATION,
    "quoted problem": QUOTED,
    "restated answer": f"{OPENING} {CLOSING}\nSo the answer is 12.\n\n**Answer: 12**",
    "unicode": "∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε. With ε = ½ we take δ = ¼; ∑ₙ 1/n² = π²⁄6, ∫₀¹ x² dx = ⅓, α ≤ β ≤ γ.",
    "Greek letters": "α + β = 90°, β + γ = 90°, γ + δ = 90°, δ + ε = 90°, so α = γ = ε and β = δ, and αβγδε close the figure.",
    "chemistry": "CH3-CH2-CH2-CH2-CH2-CH2-CH2-CH2-CH2-CH3 is decane; 2 C10H22 + 31 O2 → 20 CO2 + 22 H2O balances: 20 C, 44 H, 62 O.",
    "DNA": "The strand ATATATATATATATATATATATATATATATATATATATATATAT pairs with TATATATATATATATATATATATATATATATATATATATATATA.",
    "bullets": lines("* We note condition {n} and mark it as used.", range(1, 9)) + "\n" + CLOSING,
    "to-do": "- [ ] read\n- [x] set up\n- [x] solve\n- [ ] check\n" * 3,
    "verse": "Row, row, row your boat, gently down the stream.\nMerrily, merrily, merrily, merrily, life is but a dream.\n" * 2,
    "laughter": "Ha ha ha ha ha, no: " + OPENING,
    "rule": OPENING + "\n" + "=" * 200 + "\n" + CLOSING,
    "ruled parts": "\n".join([OPENING, "-" * 40, DERIVATION, "-" * 40, CLOSING]),
    "palindromes": "We list them: " + " ".join(f"{n}{n // 10}{n % 10}"[::-1] + str(n) for n in range(10, 60)),
    "proof by induction": "For n = 1 it holds. If it holds for n, it holds for n + 1. " * 2 + "So it holds for all n.",
    "coin tosses": "\n".join(f"Toss {n}: it shows {side}." for n, side in enumerate(["heads", "tails", "tails", "heads", "tails", "heads"], 1)),
    "cases in a paragraph": OPENING + " " + lines("If n is {n}, then n squared is {sq}, and one more is no prime.", range(4, 30)).replace("\n", " "),
    "both parts": f"<think>\n{WAIT}\n</think>\n{WAIT.splitlines()[-1]}",
}  # fmt: skip
SENTENCE = "So we add the next term to the sum and look at it again."
HMM = "Hmm, that can't be right, because the left side is even while the right side is odd, so something is wrong here."
STEPS = "First we take the price of one apple, which is two dollars, and multiply it by the number of apples."
UNITS = {
    1: "the",
    2: "so so",
    3: "we check it",
    5: "we add one more again",
    8: "and then we look at the sum",
    12: SENTENCE,
}
UNITS |= {22: HMM, 40: STEPS + " " + HMM, 75: GERMAN, 90: FRENCH, 100: DERIVATION, 150: WAIT, 200: WAIT + QUOTED[:300]}
COUNTERS = [
    "Step {n}: we add {m} to the sum and look at it again.",
    "Let me try x = {n}. Then x squared is {sq}, which is not right.",
    "Number {n} is not the answer, so we go on.",
    "Adding {n} to {sq} gives us {m}, so I add {n} again.",
    "Attempt {n}: I will now recompute the total as {sq}.00 dollars and start over with the same method as before.",
    "{n}. The value of the function at this point is {sq}.",
    "Wait, {n} is too small. Wait, {m} is too small.",
]
TALK = OPENING + " " + CLOSING
DEGENERATE: dict[str, tuple[str, str]] = {
    **{f"period {n}": (f"{OPENING}\n" + f"{unit}\n" * (4 if n > 20 else 20), "loop") for n, unit in UNITS.items()},
    **{f"cut, period {n}": ((f"{OPENING} " + f"{unit} " * 9)[: -len(unit) // 2], "loop") for n, unit in UNITS.items() if n > 3},
    **{f"broken off, period {n}": (OPENING + f" {unit}" * 20 + f"\n{CLOSING}", "loop") for n, unit in UNITS.items() if 3 < n < 50},
    **{f"counter, {template[:14]}": (lines(template, range(9, 99)), "loop") for template in COUNTERS},
    "letters": ("To add the letter we go on. " + "E + e = " * 30, "loop"),
    "Chinese, broken off": (CHINESE + "我们再检查一遍这个答案是不是对的，" * 16 + CHINESE, "loop"),
    "code": ("```python\n" + "x = solve(x)\nprint(x, 'again')\n" * 9, "loop"),
    "LaTeX": (OPENING + r" \frac{1}{2} \text{ and so } x = x" * 9, "loop"),
    "blank lines": (OPENING + "\n\nThe answer is 12.\n\n" * 8, "loop"),
    "shuffled": ("\n".join((SENTENCE, HMM, STEPS, OPENING)[n] for n in (0, 1, 2, 3, 2, 0, 1, 3, 0, 2, 3, 1, 1, 3)), "duplicate_lines"),
    "im_end": (f"{TALK}<|im_end|>\n<|im_start|>user", "template"),
    "INST": (f"{TALK} [/INST]", "template"),
    "next question": (f"{TALK}\n\nUser: And what is 5 + 9?", "template"),
    "Instruction": (f"{TALK}\n### Instruction: solve the next one", "template"),
    "placeholder": (f"{TALK} Sincerely, [your name]", "template"),
    "language model": (f"{OPENING} As an AI language model, I can't. {CLOSING}", "template"),
    "unclosed": (f"<think>{TALK}", "unclosed"),
    "reopened": (f"<think>{OPENING}</think>12 <think>{OPENING}", "unclosed"),
    "into Chinese": (f"{TALK} 但是我们还需要检查第二个条件。 {TALK}", "script_switch"),
    "into Russian": (f"{TALK} Теперь проверим второе условие. {TALK}", "script_switch"),
    "into Korean": (f"{TALK} 이제 두 번째 조건을 확인합니다. {TALK}", "script_switch"),
    "into Arabic": (f"{TALK} والآن نتحقق من الشرط الثاني. {TALK}", "script_switch"),
    "Chinese into English": (f"{CHINESE}{CHINESE} {OPENING} {CHINESE}", "script_switch"),
    "into German": (f"{TALK}\n{GERMAN.splitlines()[0]}\n{TALK}", "script_switch"),
    "into French": (f"{TALK}\n{FRENCH.splitlines()[1]}\n{TALK}", "script_switch"),
    "answer alone": ("", "empty_reasoning"),
    "blank reasoning": ("<think>\n\n</think>", "empty_reasoning"),
    "counter, broken sentence": (lines("Then the {n}th one weighs {sq} grams more.", range(9, 99)) + "\nThen the", "loop"),
    "bold": ("**12**\n\n", "empty_reasoning"),
    "a word before it": ("Sure! ", "empty_reasoning"),
}  # fmt: skip


def judged(text: str) -> Quality:
    return measure(
        text + "\n\\boxed{12}",
        reasoning=text.removeprefix("<think>").partition("</think>")[0],
        final="\\boxed{12}",
        closed=split_think(text).closed,
        finish_reason="stop",
    )


def test_there_are_sixty_of_each() -> None:
    assert min(len(SOUND) + len(OTHER_LANGUAGES), len(DEGENERATE)) >= 60


@pytest.mark.parametrize("name", SOUND)
def test_sound(name: str) -> None:
    text = SOUND[name]
    for whole in (text, f"{OPENING}\n{text}", f"{OPENING}\n{text}\n{CLOSING}"):
        reason = judged(whole).reason
        assert reason is None or (whole == text and reason == "empty_reasoning"), judged(whole)


@pytest.mark.parametrize("name", OTHER_LANGUAGES)
def test_sound_in_other_languages(name: str) -> None:
    assert judged(OTHER_LANGUAGES[name]).reason is None, judged(OTHER_LANGUAGES[name])


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate(name: str) -> None:
    text, reason = DEGENERATE[name]
    assert judged(text).reason == reason, judged(text)
