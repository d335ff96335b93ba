"""Figures of the exact claim checks, beside a bare regular expression: `bench_claims.py DATA [--every 5] [--show 40]`.

Prints, for what the folder holds: false alarms on solutions labelled right with the upper 95 % bound
(Clopper-Pearson), the share of labelled wrong steps hit, the recall on those of them that hold a false equality
(by our own reading and by a detector that is independent of the package, see `false_sums.py`), how often one
changed result is found, how fast traces are read, and the false alarms and misses themselves. Nothing is asserted.

Files of labelled outputs (`*.jsonl.gz` with `prompt`, `response` and `label`, searched in the folder's folders) give
the share of right traces that hold a refuted claim, by kind and in the final part, and the refutations themselves
with their surroundings: whether each is a true error is for a reader to say. Where a response is JSON with a field
`reasoning`, that field is checked on its own as well.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from false_sums import false_sums, read_tables

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, RETRACTED, VERIFIED, Claim
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import Problem

_MARK = re.compile(r"<<[^<>]*>>")
_BARE = re.compile(
    r"(?<![\d.])(\d[\d,]*\.?\d*)\s*([-+*/×])\s*\$?(\d[\d,]*\.?\d*)\s*=\s*\$?(\d[\d,]*\.?\d*)(?![\d*/+-])"
)
_RESULT = re.compile(r"(=\s*\$?\s*)(\d[\d,]*(?:\.\d+)?)")
_PROSE_RESULT = re.compile(r"(\b(?:is|equals|leaves|gives|makes)\s+\$?)(\d[\d,]*(?:\.\d+)?)")


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The one-sided Clopper-Pearson upper bound of a rate, by bisection of the binomial tail."""
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(hits, trials, middle) > 1 - confidence else (low, middle)
    return high


def _tail(hits: int, trials: int, rate: float) -> float:
    total, term = 0.0, (1 - rate) ** trials
    for k in range(hits + 1):
        total += term
        term *= (trials - k) / (k + 1) * rate / (1 - rate)
    return total


def bare_refutes(text: str) -> bool:
    """The peer: a plain `a op b = c` that does not hold, by a regular expression."""
    operations: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "×": lambda a, b: a * b,
        "/": lambda a, b: a / b if b else Fraction(0),
    }
    for first, operator, second, stated in _BARE.findall(text):
        try:
            a, b, c = (Fraction(number.replace(",", "").rstrip(".")) for number in (first, second, stated))
        except ValueError:
            continue
        if operations[operator](a, b) != c:
            return True
    return False


def refuted(claims: Sequence[Claim]) -> list[Claim]:
    """The refuted claims among all."""
    return [claim for claim in claims if claim.status == REFUTED]


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def report_processbench(path: Path) -> None:
    """False alarms and labels hit on solutions with a labelled first wrong step."""
    rows = json.loads(path.read_text())
    judged = [(row, refuted(check(Problem("math", row["problem"]), steps=row["steps"]))) for row in rows]
    right = [(row, claims) for row, claims in judged if row["label"] == -1]
    wrong = [(row, claims) for row, claims in judged if row["label"] != -1]
    alarms = [(row, claims) for row, claims in right if claims]
    hits = sum(any(claim.step == row["label"] for claim in claims) for row, claims in wrong)
    bare_alarms = sum(any(map(bare_refutes, row["steps"])) for row, _ in right)
    bare_hits = sum(bare_refutes(row["steps"][row["label"]]) for row, _ in wrong)
    bound, bare_bound = upper_bound(len(alarms), len(right)), upper_bound(bare_alarms, len(right))
    say(f"{path.name}: {len(right)} solutions labelled right, {len(wrong)} with a wrong step")
    say(f"  claims: {len(alarms)} false alarms (upper 95 % bound {bound:.2%}), {hits} labels hit")
    say(f"  regex:  {bare_alarms} false alarms (upper 95 % bound {bare_bound:.2%}), {bare_hits} labels hit")
    for row, claims in alarms:
        say(f"    {row['id']}: " + "; ".join(claim.evidence for claim in claims))
    if wrong:
        report_recalls(path, wrong)


def report_recalls(path: Path, wrong: Sequence[tuple[dict[str, Any], list[Claim]]]) -> None:
    """How many of the labelled steps that hold a false equality were found, and which were not."""
    tables = read_tables(path.name)
    by_detector = {row["id"]: "; ".join(false_sums(row["steps"][row["label"]])) for row, _ in wrong}
    hit = {row["id"] for row, claims in wrong if any(claim.step == row["label"] for claim in claims)}
    if tables is not None:
        say_recall("recall on steps that hold a false equality", tables["equalities"], hit)
        say_recall("with equations rewritten wrongly", tables["equalities"] | tables["rewritings"], hit)
    say_recall("recall on steps with a false sum by the detector", {n: s for n, s in by_detector.items() if s}, hit)


def say_recall(name: str, false: dict[str, str], hit: set[str]) -> None:
    """One recall and its misses."""
    found = len(false.keys() & hit)
    say(f"  {name}: {found} of {len(false)} ({found / max(len(false), 1):.1%})")
    for identity in sorted(false.keys() - hit):
        say(f"    missed {identity}: {false[identity]}")


def change(text: str, pattern: re.Pattern[str], rng: random.Random) -> tuple[str, int] | None:
    """`text` with one number behind `pattern` changed, and where; None where there is none."""
    found = list(pattern.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    old = match.group(2).rstrip(",")
    places = len(old.partition(".")[2])
    value = Fraction(old.replace(",", ""))
    steps = [step for step in (-10, -3, -2, -1, 1, 2, 3, 10) if value + step > 0]
    new = f"{float(value + rng.choice(steps)):.{places}f}"
    return text[: match.start(2)] + new + text[match.start(2) + len(old) :], match.start(2)


def report_changes(rows: Sequence[dict[str, Any]], pattern: re.Pattern[str], name: str) -> None:
    """How often a changed result that was verified before is found, and how often any is."""
    rng = random.Random(0)
    found = total = sure = sure_found = 0
    for row in rows:
        problem, text = Problem("math", row["question"]), _MARK.sub("", row["solution"])
        changed = change(text, pattern, rng)
        if changed is None:
            continue
        before = statuses_at(check(problem, text), changed[1])
        after = statuses_at(check(problem, changed[0]), changed[1])
        hit = REFUTED in after or RETRACTED in after
        found, total = found + hit, total + 1
        sure, sure_found = sure + (VERIFIED in before), sure_found + (VERIFIED in before and hit)
    say(f"  {name}: {found} of {total} changes found ({found / max(total, 1):.2%}); ")
    say(f"    of those whose claim was verified before the change {sure_found} of {sure}")


def statuses_at(claims: Sequence[Claim], offset: int) -> set[str]:
    """The statuses of the claims that cover an offset."""
    return {claim.status for claim in claims if claim.start <= offset <= claim.start + len(claim.text)}


def report_traces(path: Path) -> None:
    """False alarms on accepted traces, changed results, and speed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    accepted = [row for row in rows if row["is_correct"]]
    say(f"{path.name}: {len(rows)} traces, {len(accepted)} with the right answer")
    refutations = [(row, refuted(check_row(row))) for row in accepted]
    held = [(row, claims) for row, claims in refutations if claims]
    say(f"  right answer, refuted step: {len(held)} ({len(held) / len(accepted):.2%}); by eye:")
    for _, claims in held:
        say("    " + "; ".join(claim.evidence for claim in claims))
    report_changes(accepted, _RESULT, "one result behind `=` changed")
    report_changes(accepted, _PROSE_RESULT, "one number behind is/equals/leaves/gives/makes changed")
    report_speed(rows)


def check_row(row: dict[str, Any]) -> list[Claim]:
    """The claims of a trace, calculator marks removed."""
    return check(Problem("math", row["question"]), _MARK.sub("", row["solution"]))


def report_speed(rows: Sequence[dict[str, Any]]) -> None:
    """Traces of 100 words a second of CPU, beside the bare regular expression in the same run."""
    inputs = [(Problem("math", problem), text) for problem, text in hundred_words(rows)]
    hundreds = sum(len(text.split()) for _, text in inputs) / 100
    rates = [
        hundreds / best_seconds(inputs, work)
        for work in (lambda problem, text: check(problem, text), lambda _, text: bare_refutes(text))
    ]
    say(f"  speed: {rates[0]:,.0f} traces of 100 words a second and core")
    say(f"    (bare regular expression {rates[1]:,.0f}, ratio {rates[0] / rates[1]:.3f})")


def best_seconds(inputs: Sequence[tuple[Problem, str]], work: Callable[[Problem, str], object]) -> float:
    """CPU seconds for all inputs: for each tenth the best of seven runs, since machines are shared."""
    total = 0.0
    for first in range(10):
        best = float("inf")
        for _ in range(7):
            start = time.process_time()
            for problem, text in inputs[first::10]:
                work(problem, text)
            best = min(best, time.process_time() - start)
        total += best
    return total


def hundred_words(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Neighbouring traces joined until they have 100 words."""
    text = ""
    for row in rows:
        text += _MARK.sub("", row["solution"]) + "\n"
        if len(text.split()) >= 100:
            yield row["question"], text
            text = ""


def report_solutions(path: Path) -> None:
    """False alarms on human-written solutions, where some sums are wrong in the data."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    counts = {VERIFIED: 0, REFUTED: 0, NOT_CHECKABLE: 0}
    alarms = 0
    for row in rows:
        claims = check(Problem("math", row["question"]), _MARK.sub("", row["answer"]))
        alarms += bool(refuted(claims))
        for claim in claims:
            counts[claim.status] = counts.get(claim.status, 0) + 1
    bare = sum(bare_refutes(_MARK.sub("", row["answer"])) for row in rows)
    say(f"{path.name}: refuted in {alarms} of {len(rows)} ({alarms / len(rows):.2%}), regex {bare}; {counts}")


def labelled_rows(path: Path, every: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every n-th right row of a file, and what of it is checked: the response, and its field `reasoning` on its own."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        right = (row for line in lines if (row := json.loads(line)).get("label") == "correct" and "prompt" in row)
        for index, row in enumerate(right):
            if index % every == 0 and isinstance(row["response"], str):
                yield "response", row
                reasoning = reasoning_of(row["response"])
                if reasoning is not None:
                    yield "reasoning", row | {"response": reasoning}


def reasoning_of(response: str) -> str | None:
    """The field `reasoning` of a JSON answer, fenced or bare."""
    text = response.strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    try:
        answer = json.loads(text, strict=False)
    except ValueError:
        return None
    reasoning = answer.get("reasoning") if isinstance(answer, dict) else None
    return reasoning if isinstance(reasoning, str) else None


def report_labelled(path: Path, every: int, show: int) -> None:
    """Right traces with a refuted claim, and the refutations, to be read."""
    for part in ("response", "reasoning"):
        traces, held, final, kinds, shown = 0, 0, 0, Counter[str](), list[str]()
        for name, row in labelled_rows(path, every):
            if name != part:
                continue
            text = row["response"]
            claims = refuted(
                check(Problem("math", row["prompt"]), text, final_start=split_think(text).rest_start or None)
            )
            traces, held = traces + 1, held + bool(claims)
            final += any(claim.in_final for claim in claims)
            kinds.update(claim.kind for claim in claims)
            shown.extend(f"{row.get('id')} {claim.kind}: {surroundings(text, claim)}" for claim in claims)
        if traces:
            say(f"{path.name}, {part}: {held} of {traces} right traces with a refuted claim ({held / traces:.2%}),")
            say(f"  {final} of them in the final part; refuted claims by kind: {dict(kinds)}")
            for line in shown[:show]:
                say(f"    {line}")


def surroundings(text: str, claim: Claim) -> str:
    """A claim as it stands in its trace, marked, and what speaks against it."""
    end = claim.start + len(claim.text)
    marked = f"{text[max(0, claim.start - 80) : claim.start]}⟦{claim.text}⟧{text[end : end + 40]}"
    return f"{' '.join(marked.split())} · {claim.evidence[-100:]}"


def report_long_texts(paths: Sequence[Path]) -> None:
    """Traces of 16 KB a second of CPU, made of neighbouring responses."""
    inputs: list[tuple[Problem, str]] = []
    for path in paths:
        text = ""
        for _, row in labelled_rows(path, 10):
            text += row["response"] + "\n\n"
            if len(text) >= 16_384:
                inputs.append((Problem("math", row["prompt"]), text[:16_384]))
                text = ""
    if inputs:
        chosen = inputs[:: max(1, len(inputs) // 40)]
        seconds = best_seconds(chosen, check)
        say(f"speed: {len(chosen) / seconds:.1f} texts of 16 KB a second and core")


def report_hostile() -> None:
    """Seconds of CPU on texts made to be slow."""
    problem = Problem("math", "2 and 3")
    texts = {
        "10,000 equal signs": "1" + "=1" * 10_000,
        "huge powers": "9^9^9^9^9 = 3, 2^(2^(2^(2^9))) = 1, 10^100000000 = 5",
        "nested brackets": "(" * 5_000 + "1" + ")" * 5_000 + " = 1",
        "100 KB without blanks": "a" * 100_000,
        "open brackets with sums": "(1+" * 10_000 + "1 = 2",
        "one step of false sums": "} 3 + 4 = 8 " * 8_000,
        "one step of functions": "f(x) = x + 1, f(3) = 5. " * 4_000,
        "pairs that don't close": "(x = 1, " * 8_000,
        "fractions in fractions": "\\frac{1}{" * 5_000 + "2" + "}" * 5_000 + " = 3",
    }
    for name, text in texts.items():
        start = time.process_time()
        count = len(check(problem, text))
        say(f"hostile: {name}: {time.process_time() - start:.2f} s, {count} claims")


def main() -> None:
    """Report on every known file in the data folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data files")
    parser.add_argument("--every", type=int, default=1, help="of labelled outputs, take every n-th right row")
    parser.add_argument("--show", type=int, default=30, help="refutations on right rows that are shown of each file")
    arguments = parser.parse_args()
    folder = arguments.data
    reports: list[tuple[str, Callable[[Path], None]]] = [
        ("processbench_*.json", report_processbench),
        ("gsm8k_traces_*.jsonl", report_traces),
        ("gsm8k_train.jsonl", report_solutions),
    ]
    for pattern, report in reports:
        paths = sorted(folder.glob(pattern))
        for path in paths:
            report(path)
        if not paths:
            say(f"{pattern}: not in {folder}, skipped")
    labelled = sorted(folder.rglob("math_*.jsonl.gz"))
    for path in labelled:
        report_labelled(path, arguments.every, arguments.show)
    report_long_texts(labelled)
    report_hostile()


if __name__ == "__main__":
    main()
