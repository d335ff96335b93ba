"""The commands over anyone's traces, from the command line to the written file."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proofmill.data.errors import InputError, RecipeError, UsageError
from proofmill.data.rows_io import Located, open_rows, read
from proofmill.filters.verification import VERDICTS, VerifyOptions
from proofmill.flows.cli import app
from proofmill.flows.commands.filters import FilterCommand
from proofmill.flows.filter_rows import ChunkResult, RowOptions, RowStream, RowTask, added_columns
from proofmill.flows.row_chunks import Chunk, Source
from support.samples import replay_recipe

Row = dict[str, Any]
DATA = Path(__file__).parents[2].parent / "shared" / "data"
HOSTILE = "\\boxed{" + "{" * 2000 + "9^{9^{9^{9}}}" + "}" * 2000 + "}"


def write(path: Path, rows: Sequence[Row | bytes]) -> Path:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows))
    return path


def rows_of(path: Path) -> list[Row]:
    return [item.row for item in read(str(path)) if isinstance(item, Located)]


def run(*arguments: object) -> str:
    """Runs a command; its error is raised as it is, its display is returned."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def sums(count: int) -> list[Row]:
    """Every third answer is wrong."""
    return [
        {"id": f"s{i}", "domain": "math", "prompt": f"{i} + 1?", "answer": str(i + 1), "extra": {"big": i},
         "response": f"It is \\boxed{{{i + 1 + (i % 3 == 0)}}}."}
        for i in range(count)
    ]  # fmt: skip


# --- verify -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_verify_keeps_order_count_and_columns(tmp_path: Path, suffix: str) -> None:
    rows = sums(3000)
    out = tmp_path / f"out{suffix}"
    shown = run("verify", write(tmp_path / "in.jsonl", rows), "--out", out)
    found = rows_of(out)
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    assert [row["verdict"] for row in found] == ["wrong" if i % 3 == 0 else "correct" for i in range(3000)]
    assert set(found[0]) - set(rows[0]) == {
        "verdict", "extracted", "verdict_detail", "tests_passed", "tests_total", "final_start", "undecided",
        "verify_seconds",
    }  # fmt: skip
    assert "correct" in shown
    assert "2,000" in shown
    assert f"proofmill claims {out}" in shown.replace("\n", "")


def test_verify_reads_parquet_and_keeps_its_types(tmp_path: Path) -> None:
    schema = pa.schema({"prompt": pa.large_string(), "answer": pa.int16(), "response": pa.string(), "at": pa.date32()})
    rows = [{"prompt": "1+1?", "answer": 2, "response": f"\\boxed{{{n}}}", "at": None} for n in (2, 3)]
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "in.parquet")
    run("verify", tmp_path / "in.parquet", "--domain", "math", "--out", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("verdict").to_pylist() == ["correct", "wrong"]
    assert {name: str(table.schema.field(name).type) for name in schema.names} == {
        name: str(schema.field(name).type) for name in schema.names
    }


def test_verify_reads_what_verify_wrote(tmp_path: Path) -> None:
    """In Parquet the objects of a column share their keys: each constraint has those of all others, without a value."""
    rows = [
        {"constraints": [{"kind": "format", "format": "no_commas"}, {"kind": "ends_with", "text": "it."}]},
        {"constraints": [{"kind": "ends_with", "text": "that."}]},
    ]
    common = {"domain": "instruction", "prompt": "Write of the sea.", "response": "The sea is wide, and I like it."}
    path = write(tmp_path / "in.jsonl", [common | row for row in rows])
    run("verify", path, "--out", tmp_path / "once.parquet")
    run("verify", tmp_path / "once.parquet", "--out", tmp_path / "again.parquet")
    once, again = (
        pq.read_table(tmp_path / f"{name}.parquet").drop_columns("verify_seconds") for name in ("once", "again")
    )
    assert once["verdict"].to_pylist() == ["wrong", "wrong"]
    assert once.equals(again)


LINES = b"""{"id": 12345678901234567890123, "answer": 123456789012345678901234567890, "x": 1.0e0,\
 "response": "\\\\boxed{123456789012345678901234567890}"}"""


def test_verify_changes_no_byte_of_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [LINES])
    run("verify", path, "--domain", "math", "--out", tmp_path / "out.jsonl")
    written = (tmp_path / "out.jsonl").read_bytes()
    assert written.startswith(LINES[:-1])
    assert orjson.loads(written)["verdict"] == "correct"


def test_verify_replaces_its_own_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [{"verdict": "old", **sums(2)[1]}])
    run("verify", path, "--out", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes().count(b'"verdict"') == 1
    assert rows_of(tmp_path / "out.jsonl")[0]["verdict"] == "correct"


def test_a_line_that_is_no_json_is_written_back(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(
        b'{"prompt": "p", "answer": "2", "domain": "math", "response": "\\\\boxed{2}", "loss": NaN}\n{"id": "torn\n'
    )
    run("verify", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    first, second = rows_of(tmp_path / "out.jsonl")
    assert (first["prompt"], first["loss"], first["verdict"]) == ("p", None, "correct")
    assert (second["line"], second["verdict"]) == ('{"id": "torn', "error")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_verify_loses_no_row(tmp_path: Path, suffix: str) -> None:
    good = sums(2)[1]
    cases: list[tuple[Row | bytes, str, str]] = [
        (good, "correct", "boxed"),
        (b"{not json", "error", f"unreadable: {tmp_path / 'in.jsonl'}:2"),
        ({"id": "no response", "domain": "math", "answer": "1"}, "error", "no_response"),
        (good | {"response": None}, "error", "no_response"),
        (good | {"answer": None}, "error", "no_gold"),
        (good | {"domain": "alchemy"}, "error", "alchemy"),
        (good | {"domain": None}, "error", "no_domain"),
        (good | {"prompt": [{"role": "user", "content": "a"}] * 2}, "error", "multi_turn"),
        (good | {"prompt": [{"role": "user", "content": "a"}]}, "correct", "boxed"),
        (good | {"response": [{"role": "assistant", "content": "\\boxed{2}"}]}, "correct", "boxed"),
        (good | {"finish_reason": "length"}, "unparsed", "truncated"),
        (good | {"response": "<think>\\boxed{2}"}, "unparsed", "truncated"),
        (good | {"response": "<think>so \\boxed{3}</think> \\boxed{2}"}, "correct", "boxed"),
        (good | {"response": "I don't know"}, "unparsed", "no_answer"),
        (good | {"answer": 2}, "correct", "boxed"),
        (good | {"response": HOSTILE}, "timeout", ""),
        (good, "correct", "boxed"),
    ]
    if suffix == ".parquet":
        cases = [case for case in cases if not (isinstance(case[0], dict) and _is_of_another_type(case[0]))]
    path = write(tmp_path / "in.jsonl", [row for row, _, _ in cases])
    shown = run("verify", path, "--out", tmp_path / f"out{suffix}")
    found = rows_of(tmp_path / f"out{suffix}")
    assert [row["verdict"] for row in found] == [verdict for _, verdict, _ in cases]
    assert all(detail in (row["verdict_detail"] or "") for row, (_, _, detail) in zip(found, cases, strict=True))
    assert f"{path}:2" in shown.replace("\n", "")


def _is_of_another_type(row: Row) -> bool:
    return not all(isinstance(row.get(name, ""), (str, type(None))) for name in ("prompt", "response", "answer"))


def openr1(path: Path) -> Path:
    """A file in the shape of OpenR1-Math: generations in lists, with lists of labels beside them."""
    texts = ["<think>2+2 is 4</think>It is \\boxed{4}.", "<think>Maybe 5</think>\\boxed{5}", "<think>2+2"]
    row = {"problem": "2+2?", "solution": "It is 4.", "answer": "4", "source": "made", "uuid": "u",
           "correctness_math_verify": [True, False, False], "correctness_count": 1}  # fmt: skip
    rows = [row | {"generations": texts}, row | {"generations": texts[:1], "correctness_math_verify": [True]}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_verify_unrolls_lists_of_generations(tmp_path: Path, suffix: str) -> None:
    source = openr1(tmp_path / "openr1.parquet")
    fields = "prompt=problem,response=generations[],label=correctness_math_verify[]"
    out = tmp_path / f"out{suffix}"
    run("verify", source, "--map", fields, "--domain", "math", "--out", out)
    found = rows_of(out)
    assert [(row["verdict"], row["verdict_detail"], row["label"]) for row in found] == [
        ("correct", "boxed", True), ("wrong", "boxed", False), ("unparsed", "truncated", False),
        ("correct", "boxed", True),
    ]  # fmt: skip
    assert "generations" not in found[0]
    assert {"problem", "answer", "source", "uuid", "correctness_count"} < set(found[0])


def test_verify_keeps_a_row_whose_list_is_empty(tmp_path: Path) -> None:
    rows: list[Row | bytes] = [{"p": "1+1?", "answer": "2", "g": g} for g in (["\\boxed{2}"], [])]
    source = write(tmp_path / "in.jsonl", rows)
    run(
        "verify",
        source,
        "--map",
        "prompt=p",
        "--map",
        "response=g[]",
        "--domain",
        "math",
        "--out",
        tmp_path / "o.jsonl",
    )
    assert [row["verdict"] for row in rows_of(tmp_path / "o.jsonl")] == ["correct", "error"]


DOMAIN_ROWS: list[tuple[Row, str]] = [
    ({"domain": "choice", "options": ["a", "b"], "answer": "B", "response": "The answer is B."}, "correct"),
    ({"domain": "instruction", "constraints": [{"kind": "casing", "casing": "upper"}], "response": "no"}, "wrong"),
    ({"domain": "math", "answer": "2\\sqrt{2}", "response": "\\boxed{\\sqrt{8}}"}, "correct"),
    (
        {"domain": "code", "tests": ["assert f(1) == 2"], "response": "```python\ndef f(x): return x + 1\n```"},
        "correct",
    ),
    ({"domain": "code", "tests": ["assert f(1) == 2"], "response": "```python\ndef f(x): return x\n```"}, "wrong"),
]


def test_verify_judges_domains_side_by_side(tmp_path: Path) -> None:
    rows: list[Row | bytes] = [{"prompt": "p", **row} for row, _ in DOMAIN_ROWS]
    run("verify", write(tmp_path / "in.jsonl", rows), "--out", tmp_path / "out.jsonl")
    found = rows_of(tmp_path / "out.jsonl")
    assert [row["verdict"] for row in found] == [verdict for _, verdict in DOMAIN_ROWS]
    assert [row["tests_total"] for row in found][3:] == [1, 1]


def test_verify_takes_custom_verifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "haiku.py").write_text(
        "from proofmill.filters.verdicts import Verdict\n"
        "class Haiku:\n"
        "    version, ask = '1', ''\n"
        "    def quick(self, problem, text): return None\n"
        "    def verify(self, problem, text):\n"
        "        if 'boom' in text: raise KeyError('x')\n"
        "        return Verdict('correct' if text.count('\\n') == 2 else 'wrong')\n"
    )
    monkeypatch.chdir(tmp_path)
    poems: list[Row | bytes] = [{"verifier": "haiku", "prompt": "p", "response": r} for r in ("a\nb\nc", "a", "boom")]
    write(tmp_path / "in.jsonl", [*poems, *sums(2)])
    arguments = ("verify", "in.jsonl", "--verifier", "haiku=haiku:Haiku", "--out", "out.jsonl")
    subprocess.run([sys.executable, "-m", "proofmill.flows.cli", *arguments], check=True, capture_output=True)
    assert [r["verdict"] for r in rows_of(tmp_path / "out.jsonl")] == ["correct", "wrong", "error", "wrong", "correct"]


def test_verify_limits_what_it_reads(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [b"", *sums(30), b""])
    run("verify", source, "--limit", "7", "--out", tmp_path / "out.jsonl")
    assert len(rows_of(tmp_path / "out.jsonl")) == 7


WRONG_USE: list[tuple[list[str], type[Exception], str]] = [
    (["--out", "o.csv"], UsageError, "o.csv"),
    (["--out", "nowhere/o.jsonl"], UsageError, "nowhere"),
    (["--out", "o.jsonl", "--map", "prompt"], UsageError, "prompt"),
    (["--out", "o.jsonl", "--map", "prompt=a,prompt=b"], UsageError, "twice"),
    (["--out", "o.jsonl", "--set", "judge={}"], UsageError, "'judge' of 'verdicts' does nothing here"),
    (["--out", "o.jsonl", "--set", "cpu_secnds=3"], UsageError, "unknown key, did you mean 'cpu_seconds'?"),
    (["--out", "o.jsonl", "--map", "response=solution"], InputError, "solution"),
    (["--out", "o.jsonl"], InputError, "domain"),
    (["--out", "o.jsonl", "--domain", "maths", "--map", "response=text"], RecipeError, "maths"),
    (["--out", "o.jsonl", "--domain", "math"], InputError, "response"),
    (["--out", "o.jsonl", "--domain", "code", "--map", "response=text"], InputError, "tests"),
]


@pytest.mark.parametrize(("options", "kind", "told"), WRONG_USE, ids=str)
def test_wrong_use_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], kind: type[Exception], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.jsonl", [{"text": "a", "answer": "1"}])
    with pytest.raises(kind) as caught:
        run("verify", "in.jsonl", *options)
    assert told in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_wrong_map_names_the_fields_there_are_and_ends_with_1(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "a", "answer": "1"}])
    command = [sys.executable, "-m", "proofmill.flows.cli", "verify", str(source), "--map", "response=solution"]
    done = subprocess.run([*command, "--out", str(tmp_path / "o.jsonl")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this row has: answer, text" in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_agrees_with_the_labels_of_gsm8k_traces(tmp_path: Path) -> None:
    source = DATA / "gsm8k_traces_6b.jsonl"
    if not source.exists():
        pytest.skip(f"needs {source.name} from the shared data folder")
    fields = "prompt=question,answer=gold_solution,response=solution"
    run("verify", source, "--map", fields, "--domain", "math", "--out", tmp_path / "out.jsonl")
    found = rows_of(tmp_path / "out.jsonl")
    assert len(found) == 2638
    assert Counter((row["verdict"] == "correct") == row["is_correct"] for row in found)[False] <= 5


def test_verify_streams_a_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(sums(5)), folder / "train-00000-of-00001.parquet")
    run("verify", f"hf://{folder}", "--limit", "4", "--out", tmp_path / "out.jsonl")
    assert [row["verdict"] for row in rows_of(tmp_path / "out.jsonl")] == ["wrong", "correct", "correct", "wrong"]


DEADLY = """
import os
from proofmill.filters.verdicts import Verdict
class Deadly:
    version, ask = '1', ''
    def quick(self, problem, text): os._exit(1) if 'boom' in text else None; return Verdict('correct')
    def verify(self, problem, text): return Verdict('correct')
"""


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_that_kills_its_worker_costs_no_other_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    texts = ["a", "boom", "b", "boom", *["c"] * 50]
    source = Source(str(write(tmp_path / "in.jsonl", [{"id": i, "response": t} for i, t in enumerate(texts)])), {})
    rows = RowOptions("deadly", {"deadly": "deadly:Deadly"})
    options = VerifyOptions(verifiers=dict(rows.custom))
    command = FilterCommand("verify", source, tmp_path / f"out{suffix}", Console(quiet=True))

    def task(chunk: Chunk) -> RowTask:
        return RowTask(VERDICTS.name, options, rows, chunk, {}, as_lines=True, extra=frozenset({"deadly"}))

    def resolve(_: ChunkResult) -> None:
        pytest.fail("a trusted verifier's quick verdicts are given in the workers")

    with (
        open_rows(command.path, added_columns(VERDICTS)) as writer,
        RowStream(source, task, 2, resolve, command.count) as stream,
    ):
        stream.run(writer)
    found = rows_of(command.path)
    assert [row["verdict"] for row in found] == ["error" if text == "boom" else "correct" for text in texts]
    assert [row["id"] for row in found] == list(range(len(texts)))
    assert command.faults.count == 2
    assert "crash" in command.faults.shown[0]


# --- claims -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_claims_of_texts_and_of_steps(tmp_path: Path, suffix: str) -> None:
    rows: list[Row | bytes] = [
        {"prompt": "p", "response": "First, 7 - 2 = 3.\nThen 3 + 4 = 7.", "steps": None},
        {"prompt": "p", "response": None, "steps": ["1 + 1 = 2", "so 2 + 2 = 5"]},
        {"prompt": "p", "response": "There is nothing to check here.", "steps": None},
        {"prompt": "p", "response": None, "steps": None},
    ]
    out = tmp_path / f"out{suffix}"
    shown = run("claims", write(tmp_path / "in.jsonl", rows), "--out", out)
    found = rows_of(out)
    assert [(r["claims_checked"], r["claims_refuted"], r["first_refuted_step"]) for r in found] == [
        (2, 1, 0), (2, 1, 1), (0, 0, None), (None, None, None),
    ]  # fmt: skip
    assert [r["claims_detail"] for r in found] == [None, None, None, "no_response"]
    assert found[0]["claims"][0]["status"] == "refuted"
    assert "5" in found[0]["claims"][0]["evidence"]
    assert [r["claim_coverage"] for r in found] == [1, 1, 0, None]
    assert "refuted" in shown


def test_claims_runs_stated_outputs_in_the_jail(tmp_path: Path) -> None:
    text = "```python\ndef f(x):\n    return x * 5\nf(3)  # 15\nf(2)  # 11\n```"
    run("claims", write(tmp_path / "in.jsonl", [{"prompt": "p", "response": text}]), "--out", tmp_path / "out.jsonl")
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert [claim["status"] for claim in row["claims"]] == ["verified", "refuted"]


# --- dedup --------------------------------------------------------------------------------------------------------

TEXT = "the quick brown fox jumps over the lazy dog while seven wizards brew a potion near an old mill at dawn"


def texts() -> list[str]:
    """Two families of near-duplicates, and one text alone."""
    first, second = TEXT * 3, TEXT[::-1] * 3
    return [first + " and then", first, second, "something else entirely", second, first.upper()]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_dedup_names_the_kept_row_by_id(tmp_path: Path, suffix: str) -> None:
    rows: list[Row | bytes] = [{"id": f"t{i}", "response": text} for i, text in enumerate(texts())]
    out = tmp_path / f"out{suffix}"
    run("dedup", write(tmp_path / "in.jsonl", rows), "--out", out)
    found = rows_of(out)
    assert [row["id"] for row in found] == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert [row["duplicate_of"] for row in found] == ["t1", None, None, None, "t2", "t1"]


@pytest.mark.parametrize("ids", [[None] * 6, ["a"] * 6, ["x", "y", "z", "u", "v", None]], ids=str)
def test_dedup_names_rows_by_number_where_ids_do_not_tell_them_apart(tmp_path: Path, ids: list[str | None]) -> None:
    rows: list[Row | bytes] = [{"id": name, "response": text} for name, text in zip(ids, texts(), strict=True)]
    run("dedup", write(tmp_path / "in.jsonl", rows), "--out", tmp_path / "out.jsonl")
    assert [r["duplicate_of"] for r in rows_of(tmp_path / "out.jsonl")] == ["1", None, None, None, "2", "1"]


def test_dedup_keeps_the_verified_row(tmp_path: Path) -> None:
    first = texts()[0]
    rows: list[Row | bytes] = [
        {"id": "a", "verdict": "wrong", "response": first},
        {"id": "b", "verdict": "correct", "response": first},
    ]
    run("dedup", write(tmp_path / "in.jsonl", rows), "--out", tmp_path / "out.jsonl")
    assert [row["duplicate_of"] for row in rows_of(tmp_path / "out.jsonl")] == ["b", None]


def test_dedup_has_a_threshold_of_its_own_within_a_problem(tmp_path: Path) -> None:
    near = TEXT * 3 + " which nobody in the whole wide village had ever seen before that day"
    rows: list[Row | bytes] = [
        {"id": str(i), "prompt": prompt, "response": text}
        for i, (prompt, text) in enumerate([("p", TEXT * 3), ("p", near), ("q", near + " at all")])
    ]
    run("dedup", write(tmp_path / "in.jsonl", rows), "--threshold-within", "0.5", "--threshold", "0.99",
        "--out", tmp_path / "out.jsonl")  # fmt: skip
    assert [row["duplicate_of"] for row in rows_of(tmp_path / "out.jsonl")] == [None, "0", None]


def test_dedup_loses_no_row(tmp_path: Path) -> None:
    first = texts()[0]
    source = write(
        tmp_path / "in.jsonl",
        [{"q": first, "duplicate_of": "old"}, b"no json", {"q": None}, {"other": 1}, {"q": first + " now"}],
    )
    shown = run("dedup", source, "--map", "prompt=q", "--out", tmp_path / "out.jsonl")
    found = rows_of(tmp_path / "out.jsonl")
    assert [row["duplicate_of"] for row in found] == [None, None, None, None, "0"]
    assert [row["dedup_detail"] is not None for row in found] == [False, True, True, True, False]
    assert f"{source}:2" in shown.replace("\n", "")


def test_dedup_reads_a_data_set_once(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([{"text": text} for text in texts()]), folder / "train-00000-of-00001.parquet")
    run("dedup", f"hf://{folder}", "--out", tmp_path / "out.jsonl")
    assert [row["duplicate_of"] for row in rows_of(tmp_path / "out.jsonl")] == ["1", None, None, None, "2", "1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "set"]


def test_dedup_unrolls_lists(tmp_path: Path) -> None:
    source = openr1(tmp_path / "openr1.parquet")
    run("dedup", source, "--map", "prompt=problem,response=generations[]", "--out", tmp_path / "out.parquet")
    found = rows_of(tmp_path / "out.parquet")
    assert [row["duplicate_of"] for row in found] == [None, None, None, "0"]
    assert "generations" not in found[0]


@pytest.mark.parametrize("options", [["--threshold", "1.5"], ["--shingle", "lines"], ["--permutations", "0"]], ids=str)
def test_dedup_refuses_options_without_sense(tmp_path: Path, options: list[str]) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "a"}])
    with pytest.raises(UsageError):
        run("dedup", source, *options, "--out", tmp_path / "out.jsonl")


# --- decontaminate ------------------------------------------------------------------------------------------------

QUESTION = "A farmer has seventeen sheep and sells nine of them at the market, how many sheep are left on the farm?"


def test_decontaminate_takes_one_config_of_a_set_that_has_several(tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    folder.mkdir()
    for name in ("main", "socratic"):
        write(folder / f"{name}.jsonl", [{"id": name, "question": QUESTION if name == "main" else "What else?"}])
    configs = "".join(
        f"- config_name: {name}\n  data_files: [{{split: test, path: {name}.jsonl}}]\n" for name in ("main", "socratic")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    rows = write(tmp_path / "in.jsonl", [{"prompt": QUESTION}])
    out = tmp_path / "out.jsonl"
    run("decontaminate", rows, "--against", f"hf://{folder}", "--against-config", "main", "--out", out)
    assert rows_of(out)[0]["contaminated_by"].endswith("/main")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_decontaminate_marks_prompts_and_responses(tmp_path: Path, suffix: str) -> None:
    against = write(tmp_path / "bench.jsonl", [{"task_id": "T/1", "problem": QUESTION}])
    rows: list[Row | bytes] = [
        {"prompt": QUESTION.upper().replace(",", " --"), "response": "8"},
        {"prompt": "Something else.", "response": f"This reminds me of: {QUESTION}"},
        {"prompt": "How many sheep are left?", "response": "None."},
        {"prompt": None, "response": None},
    ]
    out = tmp_path / f"out{suffix}"
    shown = run("decontaminate", write(tmp_path / "in.jsonl", rows), "--against", against, "--out", out)
    found = rows_of(out)
    assert [row["contaminated_by"] for row in found] == ["bench/T/1", "bench/T/1", None, None]
    assert found[1]["contaminated_span"] == QUESTION.rstrip("?")
    assert [row["contaminated_detail"] for row in found] == [None, None, None, "no_text"]
    assert "bench" in shown


BAD_BENCHMARKS: list[tuple[list[Row | bytes], str]] = [
    ([], "no items"),
    ([b"no json"], "can't be read"),
    ([{"puzzle": QUESTION}], "question"),
    ([{"problem": QUESTION}, {"other": 1}], "problem"),
]


@pytest.mark.parametrize(("items", "told"), BAD_BENCHMARKS, ids=str)
def test_a_benchmark_is_never_taken_in_part(tmp_path: Path, items: list[Row | bytes], told: str) -> None:
    source, against = write(tmp_path / "in.jsonl", [{"prompt": "p"}]), write(tmp_path / "bench.jsonl", items)
    with pytest.raises(InputError, match=told):
        run("decontaminate", source, "--against", against, "--out", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_what_a_later_benchmark_would_remove_from_a_version(
    tmp_path: Path, home: Path, replay_file: Path, regenerate: Any
) -> None:
    regenerate(replay_recipe(replay_file), home)
    trace = next(row["response"] for row in rows_of(replay_file) if row["finish_reason"] == "stop")
    against = write(tmp_path / "later.jsonl", [{"question": trace}])
    out = tmp_path / "gone.jsonl"
    shown = run("decontaminate", "replayed@v1", "--against", against, "--home", home, "--out", out)
    gone = rows_of(out)
    assert gone
    assert {row["contaminated_by"] for row in gone} == {"later/0"}
    assert {row["found_in"] for row in gone} == {"response"}
    published = {
        row["id"]
        for config in ("sft_stage1", "sft_stage2")
        for path in (home / "datasets/replayed/v0001" / config).glob("*.parquet")
        for row in pq.read_table(path, columns=["id"]).to_pylist()
    }
    assert {row["id"] for row in gone} <= published
    assert "later" in shown
