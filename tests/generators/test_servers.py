"""Engine `openai` against a real server: `vllm serve` with the embedded model, which is killed in the end."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from proofmill.data.errors import EngineError
from proofmill.flows.display import Progress
from proofmill.flows.doctor import models as endpoints
from proofmill.flows.doctor.checks import FAIL, OK, WARN, Check, Place
from proofmill.flows.recipe.load import parse
from proofmill.generators import models
from proofmill.generators.engines.base import Completion, Request, stream_completions
from proofmill.generators.engines.openai import ServerEngine
from proofmill.generators.engines.openai_client import ServerOptions
from proofmill.generators.engines.restarting import RestartingEngine
from proofmill.generators.prompts import Renderer
from support.endpoints import Endpoint, Reply, serving
from support.samples import CORRECT, replay_recipe, sums, table, write_jsonl

pytestmark = [pytest.mark.model, pytest.mark.slow]
LENGTH = 512
# A parser of words, since the embedded model has no tokens for reasoning; what is shaped is shaped from the first on.
SHAPES = '{"enable_in_reasoning": true, "backend": "xgrammar", "disable_any_whitespace": true}'
REASONING = ("--reasoning-parser", "granite", "--structured-outputs-config", SHAPES)
SAMPLING = {"temperature": 1.0, "top_p": 0.95, "top_k": -1, "max_tokens": 40, "stop": []}


class Server:
    """A `vllm serve` on a port of this machine."""

    def __init__(self, log: Path, port: int, *flags: str) -> None:
        self.log, self.port, self.flags = log, port, flags
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import torch

        dtype = "bfloat16" if torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() else "float32"
        flags = ["--dtype", dtype, "--enforce-eager", "--max-model-len", str(LENGTH), "--max-num-seqs", "8"]
        flags += ["--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", "tiny", *self.flags]
        # The module that `vllm serve` runs: the command itself asks for metadata that the CPU build has not.
        module = "vllm.entrypoints.openai.api_server"
        command = [sys.executable, "-m", module, "--model", str(models.resolve("bundled").path), *flags]
        # Without a further process for its only worker, which would import all once more.
        env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)

    def wait(self) -> None:
        deadline = time.monotonic() + 300
        while True:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)

    def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def answered(self) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.startswith("vllm:request_success_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server") / "log", free_port(), *REASONING)
    try:
        made.start()
        made.wait()
        yield made
    finally:
        made.kill()


def engine(watch: Progress, *urls: str, **options: Any) -> RestartingEngine:
    chosen = ServerOptions(urls, **{"window": 6, "probe_s": 1.0, **options})
    return RestartingEngine(lambda: ServerEngine(chosen, SAMPLING, watch), watch)


def requests(count: int, name: str, **params: Any) -> list[Request]:
    renderer = Renderer(models.resolve("bundled").path)
    made = []
    for number in range(count):
        turn = {"role": "user", "content": f"How much is {number} + {number + 3}?"}
        tokens = tuple(renderer.tokens(renderer.text([turn], {})))
        made.append(Request(f"{name}/{number}", tokens, number, {**SAMPLING, **params}, None, (turn,)))
    return made


def test_a_server_answers_as_the_engine_in_process_does(server: Server, tmp_path: Path) -> None:
    from proofmill.generators.engines.vllm import VllmProcess

    greedy = requests(4, "greedy", temperature=0.0, max_tokens=12)
    score = Request("score", greedy[0].tokens, 0, {}, score_from=len(greedy[0].tokens) - 6)
    schema = {"type": "object", "properties": {"sum": {"enum": [3, 5]}}, "required": ["sum"]}
    shaped = requests(1, "json", json_schema=schema)[0]
    long = Request("long", (5,) * (LENGTH + 1), 0, SAMPLING)
    nearly = Request("nearly", (5,) * (LENGTH - 3), 0, {**SAMPLING, "temperature": 0.0})
    wanted = [*greedy, score, shaped, long, nearly]

    def drawn(of: Any) -> dict[str, Completion]:
        return {completion.id: completion for completion in stream_completions(of, wanted)}

    with closing(engine(Progress(), server.url)) as asked:
        remote = drawn(asked)
    with closing(VllmProcess(models.resolve("bundled").path, {"max_model_len": LENGTH}, tmp_path / "log")) as here:
        local = drawn(here)
        with pytest.raises(EngineError, match="refuses the decoding parameters"):
            list(stream_completions(here, requests(1, "bad", temperature=-1.0)))
    assert [remote[r.id].text for r in greedy] == [local[r.id].text for r in greedy]
    assert math.isclose(remote["score"].logprob or 0, local["score"].logprob or 1, rel_tol=1e-2)
    assert remote["json/0"].text.replace(" ", "") in ('{"sum":3}', '{"sum":5}')
    assert remote["long"].finish_reason == local["long"].finish_reason == "prompt_too_long"
    for found in (remote["nearly"], local["nearly"]):
        assert (found.finish_reason, found.completion_tokens) == ("length", 3)

    (chat,) = requests(1, "chat", temperature=0.0, max_tokens=12)
    with closing(engine(Progress(), server.url, api="chat")) as asked:
        (said,) = stream_completions(asked, [chat])
    assert said.text == remote["greedy/0"].text, "the server renders the messages as we do"


def test_reasoning_that_a_server_cuts_off_is_put_back(server: Server) -> None:
    written = "Here is my thought process: two and three. Here is my response: five"
    # A choice may be spelt in more tokens than need be, letter by letter.
    asked_for = requests(1, "reasoned", structured_outputs={"choice": [written]}, max_tokens=len(written))
    with closing(engine(Progress(), server.url, api="chat")) as asked:
        (said,) = stream_completions(asked, asked_for)
    assert said.text == "<think>\n two and three. \n</think>\n\n five"


def test_a_server_judges_claims_and_scores_traces(
    server: Server, regenerate: Callable[..., Any], tmp_path: Path
) -> None:
    """All that a model is asked after the judges, by a server; of the three problems one has its answer from CLR."""
    home = tmp_path / "home"
    rows = sums(3, (CORRECT[0], CORRECT[1], CORRECT[2]))
    for row in rows[:3]:
        row["answer"] = None
    asked = {"model": "bundled", "engine": {"kind": "openai", "endpoints": [server.url], "window": 8}}
    recipe = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)) | {
        "claims": {"model": {**asked, "k": 2, "m": 2, "max_tokens": 64}},
        "problems": {"pseudo_labels": {"by": "clr", "min_votes": 2}},
        "quality": {"learning": {**asked, "min_tokens": 8}},
    }
    before = server.answered()
    manifest = regenerate(recipe, home)["manifest"].to_json()
    counts, calls = manifest["clr"]["counts"], manifest["tokens"]["verifier"]["calls"]
    assert counts["named"] + sum(counts.get(fault, 0) for fault in ("malformed", "no_claims", "cut")) == 6
    assert counts["named"] >= 3, "answers have the shape that was asked for"
    assert manifest["learning_student"]["revision"] == "as served"

    traces = table(home, "traces")
    labelled = table(home, "problems").filter(pl.col("pseudo_label").is_not_null())
    assert labelled["answer"].to_list() == ["16"]
    mine = traces.filter(pl.col("problem_id") == labelled["id"][0])
    assert mine["verdict_detail"].to_list() == ["pseudo_label"] * 3
    correct = traces.filter(pl.col("verdict") == "correct")
    assert correct.height == 6 + mine.filter(pl.col("verdict") == "correct").height
    assert correct["nll"].null_count() == 0
    assert correct["nll"].is_between(0.5, 8.0).all()
    assert server.answered() - before >= calls + correct.height
    for path in (home / "datasets").rglob("*"):
        assert not path.is_file() or server.url.encode() not in path.read_bytes(), path

    known = server.answered()
    looser = recipe | {"claims": recipe["claims"] | {"min_reliability": 1.0}}
    regenerate(looser, home)
    assert server.answered() == known, "a threshold asks nobody again"


def test_the_doctor_asks_the_servers_of_a_recipe(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret-3")
    source = {"kind": "procedural", "task": "chain_sum", "domain": "math"}

    def checks_of(sampling: dict[str, Any], *urls: str, **options: Any) -> dict[str, Check]:
        engine = {"kind": "openai", "endpoints": list(urls), "api_key_env": "SOME_KEY", **options}
        recipe = {"name": "served", "problems": {"sources": [source]}, "claims": {"model": {}}}
        recipe |= {"samplers": [{"engine": engine, "sampling": sampling}], "quality": {"learning": {}}}
        found = list(endpoints.endpoint_checks(Place(parse(recipe), tmp_path)))
        assert "sk-secret-3" not in repr(found)
        assert all(check.remedy for check in found if check.status != OK)
        return {check.name.replace(urls[0], "URL"): check for check in found}

    one, dead = server.url, f"http://127.0.0.1:{free_port()}/v1"
    checks = checks_of({"max_tokens": 100}, one, dead)
    names = {"server", "context of", "structured output of", "scores of a text of"}
    assert {f"{name} URL" for name in names} | {f"server {dead}", "API key of self"} == set(checks)
    assert [name for name, check in checks.items() if check.status != OK] == [f"server {dead}"]
    assert checks["server URL"].found == "vllm serves tiny, prompt and answer 512 tokens"
    assert checks_of({"max_tokens": 600}, one)["context of URL"].status == WARN
    assert checks_of({"extra": {"min_p": 7}}, one)["server URL"].status == FAIL
    assert "start it" in checks_of({}, dead)["server URL"].remedy
    wrong = checks_of({}, one, served="huge")["server URL"]
    assert (wrong.status, wrong.remedy) == (FAIL, "name one of them in engine.served")
    assert "['tiny']" in wrong.found
    monkeypatch.delenv("SOME_KEY")
    (key,) = checks_of({}, one).values()
    assert (key.status, key.name) == (FAIL, "API key of self")


class Spare(Endpoint):
    """Another server of the same model."""

    max_model_len = LENGTH

    def reply(self, body: dict[str, Any]) -> Reply:  # noqa: ARG002
        time.sleep(0.5)
        return 200, {}, {"choices": [{"text": "spare", "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}


def test_a_server_killed_in_the_middle_costs_nothing(server: Server) -> None:
    """What is under way there is asked of another; test_openai.py shows that it is used again once it is back."""
    watch, done = Progress(), []
    wanted = [*requests(6, "short", max_tokens=2), *requests(24, "long", max_tokens=300)]
    with serving(Spare()) as (spare,), closing(engine(watch, server.url, spare.url)) as asked:
        for completion in stream_completions(asked, wanted):
            done.append(completion)
            if completion.text != "spare":
                server.kill()
    assert sorted(completion.id for completion in done) == sorted(request.id for request in wanted)
    assert {completion.finish_reason for completion in done} <= {"stop", "length"}
    assert 1 <= watch.retries <= 6
    assert any(server.url in said and "unfinished requests are sent again" in said for said in watch.warnings)
