"""Small responses of every kind that choice, logic and instruction have to get right, with the verdict due to each.

`expect` is the verdict, or `not correct`: anything but `correct`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from proofmill.filters.domains import find_domain
from proofmill.filters.verdicts import CORRECT, Problem
from proofmill.filters.verification import cut_reasoning
from proofmill.generators.problems.problem import info_of

ROWS: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
for line in Path(__file__).with_name("domain_corpus.jsonl").read_bytes().splitlines():
    row = orjson.loads(line)
    ROWS[row["domain"], row["kind"]].append(row)


@pytest.mark.parametrize(("domain", "kind"), ROWS, ids=[f"{domain}-{kind}" for domain, kind in ROWS])
def test_a_kind_of_response_gets_its_verdict(domain: str, kind: str) -> None:
    judge = find_domain(domain)
    wrong = []
    for row in ROWS[domain, kind]:
        cut = cut_reasoning(row["response"], None)
        problem = Problem(domain, row["prompt"], row.get("answer"), info_of(row))
        found = cut.verdict or judge.quick(problem, cut.text) or judge.verify(problem, cut.text)
        agrees = found.verdict != CORRECT if row["expect"] == "not correct" else found.verdict == row["expect"]
        if not agrees:
            wrong.append((row["expect"], found.verdict, found.detail, row["response"]))
    assert wrong == []
