"""The sampler keeps the engine's window full, samples nothing twice, and loses nothing when it is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.data.files import digest
from proofmill.data.schemas import SHARD_TRACES
from proofmill.data.segments import GROUP_SECONDS
from proofmill.data.tables import from_rows
from proofmill.generators.engines.base import Completion, EngineFacts, Request
from proofmill.generators.models import Model
from proofmill.generators.problems.ingest import SHARD_PROBLEMS
from proofmill.generators.problems.problem import SourceDefaults, problem_row
from proofmill.generators.prompts import Message, PromptStyle
from proofmill.generators.rounds import MoneyCap, Rounds, Spending
from proofmill.generators.sample_plan import SamplePlan, missing_samples, rendered, traces
from proofmill.generators.sampler import Observer, Sampler
from support import crash


class CrashError(Exception):
    """Whatever may end a run in the middle."""


class ScriptedEngine:
    """An engine without a model: what it writes is a function of prompt and seed.

    Args:
        window: requests in flight, at most.
        burst: completions a poll.
        fail_after: completions after which it dies.
        newest_first: the order of completion, so that shards end out of order.
    """

    def __init__(
        self, window: int = 8, burst: int = 3, fail_after: int | None = None, *, newest_first: bool = False
    ) -> None:
        self.window, self.burst, self.left, self.newest_first = window, burst, fail_after, newest_first
        self.open: deque[Request] = deque()
        self.seen: list[Request] = []
        self.in_flight: list[int] = []
        self.shards_open: list[int] = []
        self.started = 0

    def start(self) -> None:
        self.started += 1

    def ready(self) -> EngineFacts:
        return EngineFacts("scripted", "1", "none", 4096, self.window, 0.0, {})

    def submit(self, requests: Sequence[Request]) -> None:
        self.open.extend(requests)
        self.seen.extend(requests)
        self.in_flight.append(len(self.open))
        self.shards_open.append(len({request.id.partition("/")[0] for request in self.open}))

    def poll(self, timeout: float) -> list[Completion]:  # noqa: ARG002
        done = []
        while self.open and len(done) < self.burst:
            if self.left is not None:
                if self.left == 0:
                    raise CrashError
                self.left -= 1
            request = self.open.pop() if self.newest_first else self.open.popleft()
            text = f"{bytes(request.tokens).decode()} by {request.seed}"
            done.append(Completion(request.id, text, "stop", len(text)))
        return done

    def close(self) -> None: ...


class Counting(Observer):
    """Keeps the tokens of each sample that it is told of, and dies at one."""

    def __init__(self, counted: list[int], *, die_at: int | None = None) -> None:
        self.counted, self.die_at = counted, die_at

    def sampled(self, tokens: int, prompt_tokens: int) -> None:  # noqa: ARG002
        self.counted.append(tokens)
        if len(self.counted) == self.die_at:
            time.sleep(1.5 * GROUP_SECONDS)  # by then the journal is on disk
            os.kill(os.getpid(), signal.SIGKILL)


class PlainRenderer:
    """A chat template in one line; a byte is a token."""

    def __init__(self, ending: str = "<assistant>", template: str = "plain") -> None:
        self.ending, self.template_digest = ending, template

    def text(self, prompt: list[Message], arguments: dict[str, Any]) -> str:  # noqa: ARG002
        return "".join(turn["content"] for turn in prompt) + self.ending

    def tokens(self, text: str) -> list[int]:
        return list(text.encode())


def plan(n: int = 3, **changes: Any) -> SamplePlan:
    model = Model("tiny", Path("nowhere"), "r1", "weights", "mit")
    style = PromptStyle(None, {"math": "{problem}"}, {}, {})
    made = SamplePlan("self", model, PlainRenderer(), style, {"temperature": 1.0}, {"window": None}, n, 0, None)  # type: ignore[arg-type]
    return replace(made, **changes)


def shard(numbers: Iterable[int], domain: str = "math") -> pa.Table:
    rows = []
    for number in numbers:
        row = {"prompt": f"{number} + 1?", "answer": str(number + 1), "options": ["x", "y"]}
        rows.append(problem_row(row, SourceDefaults(domain, "s", "mit")))
    return from_rows((row for row in rows if isinstance(row, dict)), SHARD_PROBLEMS)


SHARDS = [(f"{number:05d}-of-00004", shard(range(5 * number, 5 * number + 5))) for number in range(4)]


def run(home: Path, engine: ScriptedEngine, of: SamplePlan, shards: Any = SHARDS) -> list[str]:
    with of.store(home) as store:
        return [shard.name for shard in Sampler(of, store, lambda: engine).run(iter(shards))]


def all_traces(home: Path, of: SamplePlan) -> list[dict[str, Any]]:
    with of.store(home) as store:
        return [row for _, problems in SHARDS for row in traces(of, store, problems).to_pylist()]


def journals(home: Path) -> list[Path]:
    return crash.journals(home)


def test_every_problem_gets_n_samples_of_its_own(home: Path) -> None:
    engine, made = ScriptedEngine(), plan()
    assert sorted(run(home, engine, made)) == [name for name, _ in SHARDS]
    rows = all_traces(home, made)
    assert [row["sample_index"] for row in rows] == [0, 1, 2] * 20
    assert len({row["seed"] for row in rows}) == len({row["id"] for row in rows}) == 60
    assert all(row["response"].endswith(f"by {row['seed']}") for row in rows)
    assert not journals(home)


def test_the_window_is_full_and_never_more_than_full(home: Path) -> None:
    engine = ScriptedEngine(window=8, burst=3)
    run(home, engine, plan())
    assert max(engine.in_flight) == 8
    while_there_was_more = engine.in_flight[: 60 // 3 - 3]
    assert set(while_there_was_more) == {8}


def test_requests_of_the_next_shard_fill_the_places_of_the_last_stragglers(home: Path) -> None:
    engine = ScriptedEngine(window=8, burst=1)
    run(home, engine, plan())
    assert max(engine.shards_open) == 2


def test_a_window_larger_than_the_run_takes_all_shards_at_once(home: Path) -> None:
    engine = ScriptedEngine(window=1000, burst=7)
    assert len(run(home, engine, plan())) == 4
    assert max(engine.in_flight) == 60


def test_a_shard_comes_as_soon_as_it_is_done_and_not_before(home: Path) -> None:
    engine, made = ScriptedEngine(window=20, burst=2, newest_first=True), plan()
    finished = []
    with made.store(home) as store:
        for name, _ in Sampler(made, store, lambda: engine).run(iter(SHARDS)):
            assert missing_samples(made, store, dict(SHARDS)[name]) == 0
            finished.append((name, len(engine.seen)))
    assert finished[0][1] < 60, "the first shard did not wait for the last"
    assert sorted(name for name, _ in finished) == [name for name, _ in SHARDS]


def test_shards_are_read_only_when_there_is_room(home: Path) -> None:
    engine, read = ScriptedEngine(window=8, burst=1), []

    def source() -> Iterator[tuple[str, pa.Table]]:
        for name, table in SHARDS:
            read.append((name, len(engine.seen)))
            yield name, table

    run(home, engine, plan(), source())
    assert [seen for _, seen in read] == sorted(seen for _, seen in read)
    assert read[2][1] >= 15, "the third shard was read once the first was on its way"


def test_samples_do_not_depend_on_window_or_order_of_completion(home: Path, tmp_path: Path) -> None:
    made = plan()
    run(home, ScriptedEngine(window=5, burst=1), made)
    run(tmp_path / "other", ScriptedEngine(window=50, burst=9, newest_first=True), made, reversed(SHARDS))
    assert all_traces(home, made) == all_traces(tmp_path / "other", made)


def test_a_second_run_samples_nothing_and_starts_no_engine(home: Path) -> None:
    run(home, ScriptedEngine(), plan())
    engine = ScriptedEngine()
    assert run(home, engine, plan()) == [name for name, _ in SHARDS]
    assert (engine.started, engine.seen) == (0, [])


def test_a_raised_n_samples_only_the_difference(home: Path) -> None:
    run(home, ScriptedEngine(), plan(3))
    before = all_traces(home, plan(3))
    engine = ScriptedEngine()
    run(home, engine, plan(5))
    assert len(engine.seen) == 40
    after = all_traces(home, plan(5))
    assert len(after) == 100
    assert [row for row in after if row["sample_index"] < 3] == before
    assert all_traces(home, plan(3)) == before


@pytest.mark.slow
@pytest.mark.parametrize("fail_after", [0, 1, 7, 15, 16, 59])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_crash_loses_no_finished_sample(home: Path, fail_after: int, newest_first: bool) -> None:
    made, counted = plan(), []
    with pytest.raises(CrashError), made.store(home) as store:
        engine = ScriptedEngine(window=20, burst=1, fail_after=fail_after, newest_first=newest_first)
        list(Sampler(made, store, lambda: engine, Counting(counted)).run(iter(SHARDS)))
    assert len(counted) == fail_after
    assert not journals(home)
    again = ScriptedEngine()
    assert sorted(run(home, again, made)) == [name for name, _ in SHARDS]
    assert len(again.seen) == 60 - fail_after
    assert len(all_traces(home, made)) == 60


def test_a_reader_that_stops_early_loses_no_finished_sample(home: Path) -> None:
    made, counted = plan(), []
    with made.store(home) as store:
        stream = Sampler(made, store, lambda: ScriptedEngine(window=60, burst=50), Counting(counted)).run(iter(SHARDS))
        next(stream)
        stream.close()
    again = ScriptedEngine()
    run(home, again, made)
    assert len(again.seen) == 10, "all fifty that had finished are recorded"


_KILLED = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("scripted", sys.argv[1])
scripted = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = scripted
spec.loader.exec_module(scripted)
made = scripted.plan()
with made.store(Path(sys.argv[2])) as store:
    dying = scripted.Counting([], die_at=40)
    list(scripted.Sampler(made, store, lambda: scripted.ScriptedEngine(window=30), dying).run(iter(scripted.SHARDS)))
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_journal_that_the_next_run_uses(home: Path) -> None:
    tests = str(Path(__file__).parents[1])  # where `support` is
    words = [sys.executable, "-c", _KILLED, __file__, str(home)]
    done = subprocess.run(words, check=False, env=os.environ | {"PYTHONPATH": tests})
    assert done.returncode == -signal.SIGKILL
    assert journals(home)
    journals(home)[0].open("ab").write(b'{"prompt_digest": "half a li')
    made, again = plan(), ScriptedEngine()
    assert sorted(run(home, again, made)) == [name for name, _ in SHARDS]
    assert 20 <= len(again.seen) < 60 - 15
    assert len(all_traces(home, made)) == 60
    assert not journals(home)


def test_two_problems_with_one_prompt_share_their_samples(home: Path) -> None:
    made = plan()
    twins = [problem_row({"prompt": "same", "answer": a}, SourceDefaults("math", "s", None)) for a in "12"]
    tables = [(f"{n}", from_rows([row], SHARD_PROBLEMS)) for n, row in enumerate(twins) if isinstance(row, dict)]
    run(home, ScriptedEngine(), made, tables)
    with made.store(home) as store:
        first, second = (traces(made, store, table).to_pylist() for _, table in tables)
    assert [row["response"] for row in first] == [row["response"] for row in second]
    assert {row["id"] for row in first}.isdisjoint(row["id"] for row in second)


def test_a_sampler_takes_only_its_domains(home: Path) -> None:
    made = plan(domains=("choice",))
    engine = ScriptedEngine()
    run(home, engine, made, [("a", shard(range(2))), ("b", shard(range(2), domain="choice"))])
    assert len(engine.seen) == 6
    with made.store(home) as store:
        assert traces(made, store, shard(range(2))).to_pylist() == []
        assert traces(made, store, shard(range(2))).schema == SHARD_TRACES


def test_reasoning_that_the_template_opened_is_kept_with_the_response(home: Path) -> None:
    made = plan(renderer=PlainRenderer("<assistant><think>\n"))
    run(home, ScriptedEngine(), made)
    assert all(row["response"].startswith("<think>\n") for row in all_traces(home, made))


CHANGES: dict[str, dict[str, Any]] = {
    "weights": {"model": Model("tiny", Path("nowhere"), "r1", "other weights", "mit")},
    "template": {"renderer": PlainRenderer(template="other")},
    "system": {"style": PromptStyle("be brief", {"math": "{problem}"}, {}, {})},
    "decoding": {"sampling": {"temperature": 0.5}},
    "engine": {"engine": {"window": None, "dtype": "float16"}},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_a_sample_decides_its_key(what: str) -> None:
    assert plan(**CHANGES[what]).key() != plan().key()


def test_what_of_the_machine_is_used_is_not_in_the_key() -> None:
    def key(**args: Any) -> str:
        return plan(engine={"kind": "vllm", "args": args}).key()

    assert key() == key(gpu_memory_utilization=0.6, max_num_seqs=8)
    assert key() != key(quantization="fp8") == key(quantization="fp8", tensor_parallel_size=2)


def test_what_decides_nothing_is_not_in_the_key() -> None:
    moved = Model("renamed", Path("/somewhere/else/tiny"), "r1", "weights", "mit")
    same = plan(n=9, name="other", domains=("math",), engine={"window": 64}, model=moved)
    assert same.key() == plan().key()
    assert "somewhere" not in str(same.identity())


# --- rounds and token budget ----------------------------------------------------------------------

RULE = Rounds(first=3, target=4, most=15, size=4)
LONGEST = 64


def verdict(problem: Mapping[str, Any], response: str) -> bool:
    """A judge without a verifier: a problem's number decides how often it is solved, its sample's seed whether."""
    rate = int(problem["answer"]) % 5 / 4
    return int(digest(response)[:8], 16) / 16**8 < rate


def judge(asked: Sequence[tuple[Mapping[str, Any], str, str]]) -> list[bool]:
    return [verdict(problem, response) for problem, response, _ in asked]


def rounds(total: int | None = None) -> SamplePlan:
    return plan(rounds=RULE, max_total_tokens=total, sampling={"max_tokens": LONGEST})


def outcomes(home: Path, engine: ScriptedEngine, of: SamplePlan) -> dict[str, tuple[int, str]]:
    """Samples of each problem, and what their texts are."""
    found = {}
    with of.store(home) as store:
        drawn = {s.name: s.outcome for s in Sampler(of, store, lambda: engine, accepts=judge).run(iter(SHARDS))}
        for name, problems in SHARDS:
            rows = traces(of, store, problems, drawn[name].counts).to_pylist()
            for problem in problems["id"].to_pylist():
                mine = [row for row in rows if row["problem_id"] == problem]
                assert [row["sample_index"] for row in mine] == list(range(drawn[name].counts[problem]))
                assert [row["first_round"] for row in mine] == [index < 3 for index in range(len(mine))]
                found[problem] = (len(mine), digest([row["response"] for row in mine]))
    return found


def test_problems_are_sampled_until_enough_is_accepted_or_their_budget_is_spent(home: Path) -> None:
    engine = ScriptedEngine(window=20)
    found = outcomes(home, engine, rounds())
    for _, problems in SHARDS:
        for problem in problems.to_pylist():
            sampled, _ = found[problem["id"]]
            if int(problem["answer"]) % 5 == 4:
                assert sampled == 5, "always solved: one is missing, two are drawn as its rate is not known to be 1"
            if int(problem["answer"]) % 5 == 0:
                assert sampled == 7, "never solved: given up after a second round"
    assert len(engine.seen) == sum(sampled for sampled, _ in found.values()) > 3 * 20


def test_rounds_draw_the_very_samples_of_a_larger_n(home: Path, tmp_path: Path) -> None:
    found = outcomes(home, ScriptedEngine(), rounds())
    fixed = plan(15, sampling={"max_tokens": LONGEST})
    assert fixed.key() == rounds().key()
    run(tmp_path / "fixed", ScriptedEngine(), fixed)
    rows = all_traces(tmp_path / "fixed", fixed)
    for problem, (sampled, known) in found.items():
        texts = [row["response"] for row in rows if row["problem_id"] == problem][:sampled]
        assert digest(texts) == known


@settings(max_examples=25)
@given(
    total=st.none() | st.integers(0, 8000),
    fail_after=st.integers(0, 120),
    window=st.integers(1, 90),
    newest_first=st.booleans(),
)
@pytest.mark.slow
def test_a_resumed_run_decides_as_one_without_a_crash(
    total: int | None, fail_after: int, window: int, newest_first: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever ends it, whatever the engine's order and window are; and the token budget holds all along."""
    folder, made = tmp_path_factory.mktemp("rounds"), rounds(total)
    whole = outcomes(folder / "whole", ScriptedEngine(), made)
    dying = ScriptedEngine(window, 3, fail_after, newest_first=newest_first)
    with contextlib.suppress(CrashError):
        outcomes(folder / "crashed", dying, made)
    again = ScriptedEngine(window, 2)
    assert outcomes(folder / "crashed", again, made) == whole
    with made.store(folder / "crashed") as store:
        prompts = {row["prompt_digest"] for row in all_prompts(made)}
        drawn = store.read(prompts, 99).to_pylist()
    assert sum(count for count, _ in whole.values()) == len(drawn)
    if total is not None:
        assert sum(row["completion_tokens"] for row in drawn) <= total
        assert {count for count, _ in whole.values()} <= {0, *range(3, 16)}, "no first round is cut short"


def all_prompts(of: SamplePlan) -> list[dict[str, str]]:
    return [{"prompt_digest": name} for _, table in SHARDS for name, _ in rendered(of, table).values()]


def test_a_budget_that_ends_leaves_whole_problems_and_a_raised_one_goes_on(home: Path) -> None:
    first = outcomes(home, ScriptedEngine(), rounds(3000))
    funded = {problem: found for problem, found in first.items() if found[0]}
    assert 0 < len(funded) < 20
    engine = ScriptedEngine()
    assert outcomes(home, engine, rounds(10**6)).items() >= funded.items()
    assert len(engine.seen) == sum(found[0] for found in outcomes(home, engine, rounds()).values()) - sum(
        found[0] for found in funded.values()
    )


def test_a_shard_of_an_earlier_run_counts_in_the_budget(home: Path) -> None:
    made = rounds(3000)
    shards = [(SHARDS[0][0], Spending(2500)), *SHARDS[1:]]
    with made.store(home) as store:
        drawn = list(Sampler(made, store, lambda: ScriptedEngine(), accepts=judge).run(iter(shards)))
    assert {count for shard in drawn for count in shard.outcome.counts.values()} == {0}


def test_a_cap_in_money_pays_for_prompts_too_and_holds(home: Path) -> None:
    cap = MoneyCap(0.02, price=1.0, prompt_price=20.0)
    made = plan(3, max_cost=cap, sampling={"max_tokens": LONGEST})
    with made.store(home) as store:
        drawn = list(Sampler(made, store, lambda: ScriptedEngine()).run(iter(SHARDS)))
        rows = store.read({row["prompt_digest"] for row in all_prompts(made)}, 9).to_pylist()
    paid = sum(row["completion_tokens"] + 20 * row["prompt_tokens"] for row in rows) / 1e6
    assert 0.01 < paid <= 0.02
    assert sum(shard.outcome.outcomes.get("unfunded", 0) for shard in drawn) > 0


def test_the_engine_goes_on_while_a_judge_is_slow(home: Path) -> None:
    made, engine, released = rounds(), ScriptedEngine(window=8, burst=2), threading.Event()

    def slow(asked: Sequence[tuple[Mapping[str, Any], str, str]]) -> list[bool]:
        assert released.wait(60)
        return judge(asked)

    class Releases(Observer):
        def sampled(self, tokens: int, prompt_tokens: int) -> None:  # noqa: ARG002
            if len(engine.seen) >= 30:
                released.set()

    with made.store(home) as store:
        assert len(list(Sampler(made, store, lambda: engine, Releases(), accepts=slow).run(iter(SHARDS)))) == 4


def test_a_judge_that_fails_ends_the_run_and_loses_no_sample(home: Path) -> None:
    made, counted = rounds(), []

    def broken(_: Any) -> list[bool]:
        raise CrashError

    with pytest.raises(CrashError), made.store(home) as store:
        list(Sampler(made, store, lambda: ScriptedEngine(), Counting(counted), accepts=broken).run(iter(SHARDS)))
    assert counted
    with made.store(home) as store:
        assert store.read([row["prompt_digest"] for row in all_prompts(made)], 99).num_rows == len(counted)


class _Failing(ScriptedEngine):
    """Answers nothing."""

    def poll(self, timeout: float) -> list[Completion]:
        return [replace(done, text="", finish_reason="failed") for done in super().poll(timeout)]


def test_what_has_failed_is_asked_again_by_the_next_run(home: Path, tmp_path: Path) -> None:
    run(home, _Failing(), plan())
    assert {row["finish_reason"] for row in all_traces(home, plan())} == {"failed"}
    run(home, ScriptedEngine(), plan())
    run(tmp_path / "never-failed", ScriptedEngine(), plan())
    assert all_traces(home, plan()) == all_traces(tmp_path / "never-failed", plan())
