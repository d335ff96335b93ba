"""What is seen while a run goes on, on a terminal and elsewhere."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from proofmill.flows.display import Progress, shown


@pytest.fixture
def halfway() -> Progress:
    progress = Progress()
    progress.expect("shards judged", 8)
    progress.sampling("self", 40)
    progress.engine_ready("engine ready")
    progress.drawn.since = time.monotonic() - 10
    for _ in range(20):
        progress.sampled(50)
    progress.queue("requests in flight", 16)
    progress.queue("requests waiting", 0)
    return progress


def seen(progress: Progress, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    with shown(progress, "proofmill regenerate sums", console):
        time.sleep(0.1 if terminal else 1.2)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_rate_queues_and_end_are_seen(halfway: Progress, *, terminal: bool) -> None:
    text = seen(halfway, terminal=terminal)
    assert any(f"{rate} tokens/s" in text for rate in range(95, 102))
    assert "16 requests in flight" in text
    assert "waiting" not in text, "an empty queue is not worth a word"
    assert "0:10" in text or "0:11" in text
    assert "accepted" not in text
    assert "retries" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_accepted_and_retries_are_seen(halfway: Progress, *, terminal: bool) -> None:
    halfway.verdicts(3, 12)
    halfway.retried(5)
    halfway.restarted()
    text = seen(halfway, terminal=terminal)
    assert "3 of 12 (25%)" in text
    assert "5" in text[text.index("retries") - 3 :]
    assert "1 restarts" in text or "restarts 1" in text


def test_it_is_said_why_nothing_is_accepted_yet(halfway: Progress) -> None:
    halfway.judged_after = True
    assert "accepted: once sampling ends" in seen(halfway, terminal=True)
    halfway.verdicts(3, 12)
    assert "once sampling ends" not in seen(halfway, terminal=True)


def test_a_second_sampler_has_a_rate_and_an_end_of_its_own(halfway: Progress) -> None:
    halfway.expect_samplers(["self", "other"])
    halfway.sampling("other", 30)
    assert "tokens/s" not in halfway.line()
    halfway.engine_ready("the other engine is ready")
    halfway.drawn.since = time.monotonic() - 5
    for _ in range(10):
        halfway.sampled(20)
    assert "samples 30/70" in halfway.line()
    assert halfway.tokens == 20 * 50 + 10 * 20
    assert 39 < halfway.drawn.tokens_per_second() < 41
    assert halfway.ends() == ("sampler other", pytest.approx(10, abs=0.5))
    halfway.engine_ready("it was loaded anew")
    assert 39 < halfway.drawn.tokens_per_second() < 41


def test_nodes_engines_and_open_shards_of_a_cluster_are_seen(halfway: Progress) -> None:
    assert halfway.cluster.words() == ""
    halfway.nodes(3)
    halfway.engines(1, 2)
    for name, node, again in (("00001", "gpu1", False), ("00002", "gpu2", False), ("00001", "gpu3", True)):
        halfway.shard_sent(name, node, again=again)
    assert halfway.cluster.words().startswith(
        "3 nodes judge, 1 of 2 engines up, 1 shards sent again, oldest open shard 00002 on gpu2 for 0:0"
    )
    halfway.shard_ended("00002")
    assert "oldest open shard 00001 on gpu3" in halfway.line()
