"""`proofmill improve`: rounds that go on from the last student, stop by themselves, and do nothing twice.

An engine in this process answers for all models, better with each round, and a stage's training changes one byte of the
weights. All else is the product's own: what is asked and recorded, the flow, what is trained on, model versions,
evaluations. The last test goes one round with the embedded model, the real engine and a real training.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.data.errors import RecipeError
from proofmill.data.model_versions import find_model
from proofmill.data.versions import find, versions
from proofmill.flows import improve, models, train
from proofmill.flows.ablation import matched
from proofmill.flows.commands.improve import following, planned
from proofmill.flows.recipe.improving import ImproveOptions
from proofmill.flows.recipe.load import load, parse
from proofmill.flows.recipe.schema import ClusterOptions
from proofmill.generators.engines.base import Completion, EngineFacts, Request
from proofmill.generators.models import resolve
from support import tiny_model

Row = dict[str, Any]
SUM = {"kind": "procedural", "task": "basic_arithmetic", "domain": "math"}
ONE = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1, "operators": ["+"]}
ONE |= {"allow_parentheses": False, "allow_negation": False}
HARD = [{"max_digits": 2}]
THOUGHT = (
    "<think>\n{told} I count up from the first number by the second one, step by step, and land on {sum}.\n</think>\n\n"
    "The answer is \\boxed{{{sum}}}."
)


class Answers:
    """Answers for every model: of eight samples the base gets two right, the student of the first round six, …"""

    loaded: ClassVar[list[str]] = []
    drawn: ClassVar[Counter[tuple[str, tuple[int, ...], int]]] = Counter()
    interrupt_at: ClassVar[int | None] = None

    def __init__(self, model: Path, *_: Any) -> None:
        from transformers import AutoTokenizer  # whoever collects tests need not import it

        self.model = model
        found = re.search(r"-r(\d)", str(model))
        self.right = 2 + 4 * int(found[1]) if found else 2
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.waiting: list[Request] = []

    def start(self) -> None:
        self.loaded.append(self.model.parent.name if self.model.name == "v0001" else self.model.name)

    def ready(self) -> EngineFacts:
        return EngineFacts("answers", "1", "float32", 1024, 8, 0.0, {})

    def submit(self, requests: Sequence[Request]) -> None:
        self.waiting += requests

    def poll(self, timeout: float) -> list[Completion]:  # noqa: ARG002 (nothing is waited for)
        if Answers.interrupt_at is not None and self.drawn.total() >= Answers.interrupt_at:
            Answers.interrupt_at = None
            raise KeyboardInterrupt
        taken, self.waiting = self.waiting[:4], self.waiting[4:]
        self.drawn.update((str(self.model), request.tokens, request.seed) for request in taken)
        return [self.answer(request) for request in taken]

    def answer(self, request: Request) -> Completion:
        terms = re.search(r"(\d+) \+ (\d+)", self.tokenizer.decode(request.tokens))
        assert terms
        right = request.seed % 8 < self.right
        total = int(terms[1]) + int(terms[2]) + (0 if right else 1)
        told = " ".join(["So", *("abcdefgh"[int(d)] * 3 for d in f"{request.seed % 8**6:06o}")])
        return Completion(request.id, THOUGHT.format(told=told, sum=total), "stop", 40)

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def loop(
    regenerate: Callable[..., Any], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Row]]:
    """Runs the loop; `home` and the recipe are the test's own."""
    monkeypatch.setattr(models, "VllmProcess", Answers)
    monkeypatch.setattr(Answers, "drawn", Counter())
    monkeypatch.setattr(Answers, "loaded", [])
    monkeypatch.setattr(Answers, "interrupt_at", None)
    tiny_model.save(tmp_path / "tiny")
    suite = {"name": "few", "repeats": 4, "sampling": {"max_tokens": 64}, "verify": {"workers": 1}}
    suite["sets"] = [{"name": "sums", "source": SUM | {"args": ONE, "count": 12, "held_out": True}}]
    (tmp_path / "few.yaml").write_text(orjson.dumps(suite).decode())

    def run(*, as_flow: bool = False, **options: Any) -> Row:
        if as_flow:
            told: Row = improve.improve(recipe=recipe(tmp_path, **options).resolved(), home=str(home))
            return told
        return improve.run_loop(recipe(tmp_path, **options), home, improve.unseen)

    yield run


def tensors(folder: Path) -> Row:
    """The number format that a model's configuration names, and the name and format of each of its tensors."""
    (file,) = folder.glob("*.safetensors")
    content = file.read_bytes()
    header = orjson.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    kept = {name: one["dtype"] for name, one in header.items() if name != "__metadata__"}
    return kept | {"config": orjson.loads((folder / "config.json").read_bytes()).get("dtype")}


def changed(folder: Path) -> None:
    """What a stage leaves behind: a model that differs from the one before, and what its steps came to."""
    spec = orjson.loads((folder / "spec.json").read_bytes())
    if spec["kind"] == "merge":
        shutil.copytree(spec["models"][-1], folder / "model")
        (folder / "done.json").write_text('{"losses": []}')
        return
    assert pl.read_parquet(folder / "rows.parquet").height >= spec["micro_batch"]
    shutil.copytree(spec["model"], folder / "model")
    weights = bytearray((folder / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model" / "model.safetensors").write_bytes(weights)
    (folder / "done.json").write_text('{"losses": [{"step": 1, "loss": 1.0}]}')


def recipe(folder: Path, **options: Any) -> Any:
    trained = {"batch": 4, "micro_batch": 4, "stage1": {"steps": 1, "learning_rate": 1e-3}}
    section = {"rounds": 2, "measure": {"suite": str(folder / "few.yaml")}, "controls": [], "ladders": {"sums": HARD}}
    return parse(
        {
            "name": "toy",
            "verify": {"workers": 1},
            "problems": {"sources": [SUM | {"label": "sums", "args": ONE, "count": 12}]},
            "samplers": [{"model": str(folder / "tiny"), "sampling": {"n": 4, "max_tokens": 64}}],
            "train": trained | {"stage2": {"steps": 1}, "threads": 1},
            "improve": section | options,
        }
    )


# --- the parts ---------------------------------------------------------------------------------------------


def test_the_next_command_measures_on_the_problems_of_the_loop(tmp_path: Path) -> None:
    measured = recipe(tmp_path, measure={"suite": "untidy:knowledge", "repeats": 2, "limit": 5})
    words = shlex.split(following(measured, {"base": "bundled", "best": "toy-r2@v1"}, "my home"))
    told = ["--suite", "untidy:knowledge", "--set", "repeats=2", "--limit", "5", "--home", "my home"]
    assert words[1:] == ["eval", "bundled", "toy-r2@v1", *told]


def test_a_round_is_the_same_recipe_with_the_student_as_sampler() -> None:
    whole = load("improve-quickstart")
    first = improve.round_recipe(whole, "x", 1, "bundled", {})
    third = improve.round_recipe(whole, "x", 3, "models/student", {"small sums": 2}, ["x-r1@v1", "x-r2@v1"])
    assert (first.name, third.name) == ("x-r1", "x-r3")
    assert [sampler.model for sampler in third.live] == ["models/student"] * 2
    assert [sampler.name for sampler in third.samplers] == ["explains", "brief", "round1", "round2"]
    of = {source.label: source for source in third.problems.sources}
    assert of["small sums"].args["min_digits"] == 2  # type: ignore[union-attr]
    assert of["larger sums"].args == whole.problems.sources[2].args  # type: ignore[union-attr]
    seeds = [[source.seed for source in one.problems.sources] for one in (first, third)]  # type: ignore[union-attr]
    assert not set(seeds[0]) & set(seeds[1])
    assert first.improve == third.improve == ImproveOptions()
    nodes = whole.model_copy(update={"cluster": ClusterOptions(address="auto")})
    assert improve.round_recipe(nodes, "x", 1, "bundled", {}) == first.model_copy(update={"cluster": nodes.cluster})


def test_a_teacher_stays_and_a_recipe_without_a_sampler_here_is_refused() -> None:
    teacher = {"name": "teacher", "model": "org/large", "engine": {"kind": "openai", "endpoints": ["http://a:1"]}}
    data = {"name": "x", "problems": {"sources": [SUM]}}
    found = improve.round_recipe(parse(data | {"samplers": [{}, teacher]}), "x", 2, "models/student", {})
    assert [sampler.model for sampler in found.samplers] == ["models/student", "org/large"]
    with pytest.raises(RecipeError, match="No sampler here"):
        improve.bases_of(parse(data | {"samplers": [teacher]}))


@pytest.mark.parametrize(
    ("level", "rate", "expected"), [(0, 0.71, 1), (0, 0.7, 0), (0, 0.0, 0), (1, 0.05, 0), (1, 0.9, -1), (-1, 0.0, -1)]
)
def test_a_source_gets_harder_as_it_is_solved_and_retires_above_its_last_level(
    level: int, rate: float, expected: int
) -> None:
    options = ImproveOptions.model_validate({"ladders": {"sums": HARD}})
    assert improve.next_levels(options, {"sums": level}, {"sums": rate}) == {"sums": expected}
    assert improve.next_levels(options, {"sums": level}, {}) == {"sums": level}


def test_a_ladder_of_no_source_is_refused() -> None:
    with pytest.raises(RecipeError, match="no procedural source has the label 'sum'"):
        parse({"name": "x", "problems": {"sources": [SUM]}, "improve": {"ladders": {"sum": HARD}}})


@given(
    st.lists(st.integers(5, 200), min_size=20, max_size=60),
    st.lists(st.integers(5, 200), min_size=20, max_size=60),
    st.integers(0, 9),
)
def test_rows_of_an_arm_come_to_as_many_tokens(lengths: list[int], wanted: list[int], seed: int) -> None:
    """As near as one row, if the pool has short and long ones; and no row comes again before all others have come."""
    pool = [*lengths, *range(1, 400, 2), *8 * wanted]  # of short ones enough, too: no row comes twice
    taken = matched(pool, wanted, Random(seed))
    assert len(taken) == len(wanted)
    assert abs(sum(pool[row] for row in taken) - sum(wanted)) <= 200
    counts = Counter(matched(lengths, wanted * 3, Random(seed)))
    assert max(counts.values()) - min(counts.get(row, 0) for row in range(len(lengths))) <= 1


# --- the loop ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_student_samples_the_next_round_and_nothing_is_done_twice(
    loop: Callable[..., Row], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the base's evaluation and in each phase of the rounds, and run again until it ends."""
    trainings: list[str] = []
    broken = {"toy-r1-sft_stage1", "toy-r2-sft_stage2"}

    def trainer(work: Mapping[Path, str], *_: Any) -> None:
        for folder in work:
            if stage := orjson.loads((folder / "spec.json").read_bytes()).get("stage"):
                name = f"{folder.parent.name.removeprefix('train-')}-{stage}"
                if name in broken:
                    broken.remove(name)
                    raise KeyboardInterrupt
                trainings.append(name)
            changed(folder)

    monkeypatch.setattr(train, "run_trainer", trainer)
    stops = [
        10,
        60,
        100,
        150,
        None,
    ]  # in the base's evaluation, the first round's samples, its evaluation, the second's
    interrupted = 0
    story: Row = {}
    for _ in range(10):
        if Answers.interrupt_at is None and stops:
            Answers.interrupt_at = stops.pop(0)
        try:
            story = loop()
            break
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 6
    assert trainings == ["toy-r1-sft_stage1", "toy-r2-sft_stage1", "toy-r2-sft_stage2"], (
        "the later stage once, at the end"
    )
    assert set(Answers.drawn.values()) == {1}, "a sample was drawn twice"
    first, second = story["rounds"] if "rounds" in story else story["loops"][0]["rounds"]
    assert (first["sampler"], second["sampler"]) == (str(home.parent / "tiny"), "toy-r1-sft_stage1@v1")
    assert first["pass_rates"]["sums"] < 0.5 < second["pass_rates"]["sums"]
    assert first["gain"]["pass_1"]["low"] > 0
    found = find_model(home, "toy-r2@v1")
    assert found is not None
    assert [data.label for data in found.manifest.data] == ["toy-r2@v1"], "each round begins from the base"
    assert find(home, "toy-r2").manifest.models[0].model == "v0001"
    drawn, again = Answers.drawn.total(), loop(as_flow=True)
    assert (Answers.drawn.total(), len(trainings)) == (drawn, 3)
    assert again["loops"] == story["loops"]
    assert again["seconds"] == story["seconds"], "what was found done costs nothing"
    assert orjson.loads((home / "loops" / "toy" / "loop.json").read_bytes())["loops"] == again["loops"]
    loaded = len(Answers.loaded)
    more = loop(rounds=3, gain="none", ablate={"arms": ["wrong", "no_claims"], "seeds": 1})["loops"][0]
    assert [len(versions(home, f"toy-r{number}")) for number in (1, 2, 3)] == [1, 1, 1]
    assert more["rounds"][2]["levels"] == {"sums": 1}, "above the band it gets harder"
    assert list(dict.fromkeys(Answers.loaded[loaded:])) == [
        "toy-r2-sft_stage1", "toy-r3-sft_stage1", "toy-r3-no_claims-0",
    ]  # fmt: skip
    arms = [f"toy-r3-no_claims-0-{stage}" for stage in ("sft_stage1", "sft_stage2")]
    assert trainings[3:] == ["toy-r3-sft_stage1", *arms]
    (arm,) = more["arms"]  # not one answer of the last round is wrong
    assert arm["steps"] == 2, "as many as the stages of a round have together"
    ends = ({"rounds": 4}, {"rounds": 4, "gain": "none"}, {"rounds": 4, "budget": {"tokens": 10}})
    stopped = [loop(**end)["loops"][0] for end in ends]
    assert [(one["stopped"], len(one["rounds"])) for one in stopped] == [("gain", 3), ("solved", 3), ("budget", 1)]
    assert trainings[6:] == ["toy-r1-sft_stage2"], "all else was done before"
    both = loop(data="all", gain="none")["loops"][0]["rounds"][1]
    traces = find(home, both["data"]).scan("traces")
    assert traces is not None
    assert set(traces.collect()["sampler"]) == {"self", "round1"}, "those of the first round are selected among again"
    assert set(Answers.drawn.values()) == {1}
    plan = "\n".join(planned(recipe(tmp_path), home))
    assert re.search(", 0 of [0-9]+ samples are still to be drawn", plan)
    assert "toy-r1@v1 already holds it" in plan
    told = (home / "loops" / "toy" / "loop.html").read_text()
    assert "round 1, stage 1" in told
    assert "<script" not in told


@pytest.mark.model
@pytest.mark.slow
def test_the_embedded_model_goes_one_round(tmp_path: Path) -> None:
    """As a user types it: the real engine before and after a real step of training."""
    small = recipe(
        tmp_path,
        rounds=1,
        measure={"suite": "sums", "limit": 3, "repeats": 1},
        ladders={},
        by_stage=False,
        later_stages="each",
    )
    given = small.resolved()
    asked = load("improve-quickstart").samplers[0].model_dump(mode="json", include={"templates"})
    given["samplers"][0] |= asked | {"model": "bundled", "sampling": {"n": 8, "max_tokens": 48, "temperature": 0.5}}
    given["problems"]["sources"][0]["count"] = 8
    given["train"] |= {"batch": 2, "micro_batch": 2, "stages": ["sft_stage1"], "stage1": {"steps": 2}}
    (tmp_path / "small.yaml").write_text(orjson.dumps(given).decode())
    words = [sys.executable, "-m", "proofmill.flows.cli", "improve", str(tmp_path / "small.yaml"), "--json"]
    done = subprocess.run([*words, "--home", str(tmp_path / "home")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = orjson.loads(done.stdout)["loops"]
    assert told["stopped"] == ("rounds" if told["rounds"][0]["gain"]["pass_1"]["value"] > 0 else "gain")
    assert [model["model"] for model in told["models"]] == ["bundled", "toy-r1@v1"]
    assert told["rounds"][0]["cost"]["tokens"]["sampled"] > 0
    student = find_model(tmp_path / "home", "toy-r1@v1")
    assert student is not None
    base = resolve("bundled").path
    assert [tensors(folder) for folder in (student.folder, base)] == [tensors(base)] * 2, "each tensor as it was kept"
