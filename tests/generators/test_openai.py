"""What real servers don't do on demand: a small server that speaks the protocol and fails as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import EngineError
from proofmill.data.sections import OpenAIEngine as EngineSection
from proofmill.flows.display import Progress
from proofmill.flows.models import JSON_TRIAL, SCORE_TRIAL, servers_of
from proofmill.generators.engines.base import Completion, Request, stream_completions
from proofmill.generators.engines.openai import ServerEngine
from proofmill.generators.engines.openai_client import ServerOptions
from proofmill.generators.engines.restarting import RestartingEngine
from support.endpoints import Body, Endpoint, Reply
from support.endpoints import serving as listening

Rule = Callable[[Body, int], Reply]

_CUT = None


def answer(body: Body) -> Reply:
    chat = "messages" in body
    text = f"{body.get('prompt') or body['messages'][-1]['content']} by {body.get('seed')}"
    choice = {"message": {"content": text}} if chat else {"text": text}
    return 200, {}, {"choices": [choice | {"finish_reason": "stop"}], "usage": {"completion_tokens": 7}}


def refuse(status: int, said: str = "no", **headers: str) -> Reply:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, {"error": {"message": said}}


class Server(Endpoint):
    """Answers by a rule, which sees the request and how often this prompt came before; a canary is always answered."""

    rule: Rule
    max_model_len: int | None = 100

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.rule = lambda body, _: answer(body)
        self.seen: list[Body] = []
        self.times: list[float] = []
        self.running = self.most = 0
        self.guard = threading.Lock()

    @property
    def drawn(self) -> list[Body]:
        return [body for body in self.seen if not canary(body)]

    def reply(self, body: Body) -> Reply:
        with self.guard:
            before = sum(seen.get("prompt") == body.get("prompt") for seen in self.drawn)
            self.seen.append(body)
            self.times.append(time.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
        reply = answer(body) if canary(body) else self.rule(body, before)
        with self.guard:
            self.running -= 1
        return reply


class Refusing(Server):
    """Refuses every request in its own words."""

    refusal: Reply

    def reply(self, body: Body) -> Reply:  # noqa: ARG002
        return self.refusal


def canary(body: Body) -> bool:
    return body.get("max_tokens") == 1


def serving(count: int = 1, kind: type[Any] = Server) -> AbstractContextManager[Any]:
    return listening(*(kind() for _ in range(count)))


def requests(count: int, **params: Any) -> list[Request]:
    params = {"max_tokens": 50, "top_k": -1, "stop": [], **params}
    chat = [({"role": "user", "content": f"question {number}"},) for number in range(count)]
    return [Request(f"r/{n}", (n, n + 1), 1000 + n, params, None, chat[n]) for n in range(count)]


def run(
    urls: Sequence[str], wanted: Sequence[Request], *, sampling: dict[str, Any] | None = None, **options: Any
) -> tuple[dict[str, Completion], Progress]:
    watch = Progress()
    chosen = ServerOptions(tuple(urls), **{"window": 4, "probe_s": 0.1, "wait_s": 5.0, **options})
    engine = RestartingEngine(lambda: ServerEngine(chosen, sampling or {}, watch), watch)
    try:
        done = list(stream_completions(engine, wanted))
    finally:
        engine.close()
    assert len(done) == len(wanted)
    return {completion.id: completion for completion in done}, watch


def all_answered(done: dict[str, Completion], wanted: Sequence[Request]) -> None:
    assert {name: completion.text for name, completion in done.items()} == {
        request.id: f"{list(request.tokens)} by {request.seed}" for request in wanted
    }


def test_the_least_loaded_endpoint_gets_the_next_request_within_its_window() -> None:
    def slow(body: Body, _: int) -> Reply:
        time.sleep(0.2)
        return answer(body)

    def quick(body: Body, _: int) -> Reply:
        time.sleep(0.02)
        return answer(body)

    with serving(2) as (first, second):
        first.rule, second.rule = slow, quick
        wanted = requests(60)
        done, watch = run([first.url, second.url], wanted)
    all_answered(done, wanted)
    assert len(first.drawn) + len(second.drawn) == 60
    assert len(second.drawn) > 2 * len(first.drawn)
    assert max(first.most, second.most) <= 4
    assert watch.retries == 0


@pytest.mark.slow
def test_a_server_that_asks_to_wait_is_left_alone_as_long() -> None:
    with serving() as (server,):
        server.rule = lambda body, before: answer(body) if before else refuse(429, "slow down", Retry_After="1")
        done, watch = run([server.url], wanted := requests(2), window=1)
        gaps = [later - earlier for earlier, later in zip(server.times[1:], server.times[2:], strict=False)]
    all_answered(done, wanted)
    assert watch.retries == 2
    assert sum(gap >= 1.0 for gap in gaps) == 2


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [refuse(500), refuse(503), refuse(502, "<html>"), (200, {}, {"choices": []}), _CUT])
def test_a_passing_fault_is_tried_again(trouble: Reply) -> None:
    with serving() as (server,):
        server.rule = lambda body, before: answer(body) if before else trouble
        done, watch = run([server.url], wanted := requests(6))
    all_answered(done, wanted)
    assert watch.retries >= 6


def test_a_request_that_takes_too_long_is_tried_again() -> None:
    def rule(body: Body, before: int) -> Reply:
        if body["prompt"] == [1, 2] and not before:
            time.sleep(1.5)
        return answer(body)

    with serving() as (server,):
        server.rule = rule
        done, watch = run([server.url], wanted := requests(4), timeout_s=0.5)
    all_answered(done, wanted)
    assert watch.retries == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 6])
def test_a_request_that_never_works_fails_by_itself(count: int) -> None:
    with serving() as (server,):
        server.rule = lambda body, _: refuse(500, "boom") if body["prompt"] == [0, 1] else answer(body)
        done, watch = run([server.url], requests(count), retries=2, wait_s=30.0)
    assert [name for name, completion in done.items() if completion.finish_reason == "failed"] == ["r/0"]
    assert any("r/0" in said and "boom" in said for said in watch.warnings)


def test_what_a_filter_of_content_cut_off_says_so() -> None:
    cut = {"text": "The first step is", "finish_reason": "content_filter"}
    with serving() as (server,):
        server.rule = lambda *_: (200, {}, {"choices": [cut]})
        (done,) = run([server.url], requests(1))[0].values()
    assert (done.text, done.finish_reason) == ("The first step is", "content_filter")


def test_too_long_a_prompt_and_a_bad_request_are_verdicts_on_their_row() -> None:
    def rule(body: Body, _: int) -> Reply:
        if body["prompt"] == [1, 2]:
            return refuse(400, "This model's maximum context length is 100 tokens. However, you requested more.")
        return refuse(400, "bad logit_bias") if body["prompt"] == [2, 3] else answer(body)

    with serving() as (server,):
        server.rule = rule
        known = Request("r/4", (1,) * 100, 0, {"max_tokens": 50})
        clipped = Request("r/5", (1,) * 90, 0, {"max_tokens": 50})
        done, _ = run([server.url], [*requests(4), known, clipped])
        assert [body["max_tokens"] for body in server.drawn if len(body["prompt"]) == 90] == [10]
        assert not [body for body in server.drawn if len(body["prompt"]) == 100]
    reasons = {name: completion.finish_reason for name, completion in done.items()}
    assert (reasons["r/1"], reasons["r/2"], reasons["r/4"]) == (
        "prompt_too_long",
        "refused_by_server",
        "prompt_too_long",
    )
    assert (reasons["r/0"], reasons["r/3"], reasons["r/5"]) == ("stop", "stop", "stop")


def test_what_one_server_refuses_another_may_take() -> None:
    with serving(2) as (picky, other):
        picky.rule = lambda body, _: refuse(400, "too many") if body["prompt"] in ([0, 1], [7, 8]) else answer(body)
        other.rule = lambda body, _: time.sleep(0.05) or answer(body)
        done, _ = run([picky.url, other.url], wanted := requests(20), window=2)
    all_answered(done, wanted)


@pytest.mark.parametrize("endpoints", [1, 2])
def test_where_only_refused_requests_are_left_a_canary_shows_that_the_server_is_well(endpoints: int) -> None:
    with serving(endpoints) as servers:
        for server in servers:
            server.rule = lambda *_: refuse(400, "bad logit_bias")
        done, watch = run([server.url for server in servers], requests(3), window=8)
        asked = sum(len(server.drawn) for server in servers)
    assert {completion.finish_reason for completion in done.values()} == {"refused_by_server"}
    assert asked == 3 * endpoints, "each server is asked once"
    assert "3 requests were refused, and are not asked again; the first is r/" in watch.warnings[-1]


@pytest.mark.slow
def test_a_dead_endpoint_is_dropped_and_comes_back() -> None:
    with serving(1) as (stays,), serving(1) as (goes,):
        port = goes.server_address[1]
        watch = Progress()
        chosen = ServerOptions((stays.url, goes.url), window=2, probe_s=0.1)
        engine = RestartingEngine(lambda: ServerEngine(chosen, {}, watch), watch)
        stays.rule = lambda body, _: time.sleep(0.02) or answer(body)
        goes.rule = lambda body, _: time.sleep(0.05) or (_CUT if len(goes.drawn) > 4 else answer(body))
        done = []
        for completion in stream_completions(engine, wanted := requests(40)):
            done.append(completion)
            if len(done) == 4:
                goes.shutdown()
                goes.server_close()
        all_answered({completion.id: completion for completion in done}, wanted)
        assert any(goes.url in said and "is gone" in said for said in watch.warnings)

        back = Server(port)
        threading.Thread(target=back.serve_forever, args=(0.05,), daemon=True).start()
        deadline = time.monotonic() + 10
        while not any("answers again" in said for said in watch.warnings):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        list(stream_completions(engine, requests(10)))
        assert back.drawn
        engine.close()
        back.shutdown()
        back.server_close()


@pytest.mark.slow
def test_endpoints_come_and_go_with_their_files(tmp_path: Path) -> None:
    """As jobs of a scheduler do: there is none at first; one begins, and gives way to another."""
    wanted = requests(120)
    with serving(2) as (first, second):

        def give_way(body: Body, _: int) -> Reply:
            time.sleep(0.05)
            if len(first.drawn) >= 10:
                (tmp_path / "job-2").write_text(f"{second.url}\n")
                (tmp_path / "job-1").unlink(missing_ok=True)
            return answer(body)

        first.rule = give_way
        (tmp_path / "half-written").write_text("http")
        threading.Timer(0.3, lambda: (tmp_path / "job-1").write_text(first.url)).start()
        done, _ = run((), wanted, folder=tmp_path)
    all_answered(done, wanted)
    assert 10 <= len(first.drawn) < 60
    assert len(second.drawn) == 120 - len(first.drawn)


def test_an_engine_of_servers_names_them_or_their_folder() -> None:
    assert EngineSection(kind="openai", endpoints_from="jobs").endpoints == ()
    with pytest.raises(ValueError, match="name at least one server, or a folder"):
        EngineSection(kind="openai")


def test_when_no_endpoint_is_left_the_run_waits_and_then_says_what_to_do() -> None:
    with serving() as (server,):
        server.rule = lambda *_: refuse(429, "quota", Retry_After="5")
        started = time.monotonic()
        with pytest.raises(EngineError, match="No endpoint could be used for 1 s") as error:
            run([server.url], requests(3), wait_s=1.0)
        assert time.monotonic() - started >= 1.0
    assert server.url in error.value.where
    assert "vllm serve" in error.value.remedy


def test_nothing_listens() -> None:
    with serving() as (server,):
        url = server.url
    with pytest.raises(EngineError, match=r"No endpoint has answered in 0\.5 s") as error:
        run([url], requests(1), wait_s=0.5)
    assert "ConnectError" in error.value.where


def test_a_wrong_key_is_an_error_at_once_and_is_never_shown() -> None:
    class Guarded(Server):
        def models(self, authorization: str | None) -> Reply:
            return refuse(401, f"bad key {authorization}")

    with serving(kind=Guarded) as (server,), pytest.raises(EngineError, match="lets the run in") as error:
        run([server.url], requests(1), key="sk-secret-1", wait_s=60.0)
    assert "401" in str(error.value)
    assert "sk-secret-1" not in str(error.value)
    assert "sk-secret-1" not in repr(ServerOptions(("x",), key="sk-secret-1"))


def test_parameters_that_the_server_refuses_are_an_error_before_anything_is_drawn() -> None:
    with serving(kind=Refusing) as (server,):
        server.refusal = refuse(400, "unknown parameter 'foo'")
        with pytest.raises(EngineError, match="lets the run in") as error:
            run([server.url], requests(1), sampling={"foo": 1}, wait_s=60.0)
    assert "unknown parameter 'foo'" in error.value.where


def test_endpoints_with_different_models_are_refused() -> None:
    with serving(2) as servers:
        servers[1].served = "other"
        with pytest.raises(EngineError, match="different models"):
            run([server.url for server in servers], requests(1))
        done, _ = run([server.url for server in servers], requests(3), served="tiny")
        assert len(done) == 3
        assert not servers[1].drawn


def test_a_vllm_server_is_asked_as_the_engine_in_process() -> None:
    with serving() as (server,):
        run([server.url], requests(1, temperature=0.5, min_p=0.1, json_schema={"type": "object"}), key="k")
        (asked,) = server.drawn
    assert server.paths == {"/v1/completions"}
    assert (asked["prompt"], asked["seed"], asked["temperature"]) == ([0, 1], 1000, 0.5)
    assert (asked["top_k"], asked["min_p"], asked["repetition_penalty"]) == (-1, 0.1, 1.0)
    assert asked["structured_outputs"]["json"] == {"type": "object"}
    assert server.keys == {"Bearer k"}


def test_another_server_is_asked_in_plain_terms() -> None:
    with serving() as (server,):
        server.kind, server.max_model_len = "someone", None
        done, _ = run([server.url], requests(1, json_schema={"type": "object"}), api="chat")
        (asked,) = server.drawn
        assert "prompt" not in asked
        assert asked["messages"] == [{"role": "user", "content": "question 0"}]
        assert not {"top_k", "min_p", "stop", "prompt", "structured_outputs"} & set(asked)
        assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}
        assert done["r/0"].text == "question 0 by 1000"
        with pytest.raises(EngineError, match="can't score a text"):
            run([server.url], [Request("s", (1, 2, 3), 0, {}, 1)])
        with pytest.raises(EngineError, match="without messages"):
            run([server.url], [Request("s", (1, 2, 3), 0)], api="chat")


def test_half_an_emoji_at_the_end_of_a_text_is_replaced() -> None:
    with serving() as (server,):
        server.rule = lambda *_: (200, {}, {"choices": [{"text": "5 \ud83d", "finish_reason": "length"}]})
        done, _ = run([server.url], requests(1))
    assert done["r/0"].text == "5 ?"


def test_reasoning_that_a_server_cuts_off_is_put_back() -> None:
    message = {"content": "5", "reasoning_content": "2 and 3"}
    with serving() as (server,):
        server.rule = lambda *_: (200, {}, {"choices": [{"message": message, "finish_reason": "stop"}]})
        done, _ = run([server.url], requests(1), api="chat")
        assert done["r/0"].text == "<think>\n2 and 3\n</think>\n\n5"
        message.update(content=None, reasoning="2 and")
        done, _ = run([server.url], requests(1), api="chat")
    assert done["r/0"].text == "<think>\n2 and", "what was cut in its reasoning is not closed"


@pytest.mark.parametrize(
    "said", ["Unsupported parameter: 'seed'", [{"loc": ["body", "seed"], "type": "extra_forbidden"}]]
)
def test_a_hosted_server_is_asked_without_what_it_refuses(said: Any) -> None:
    class Hosted(Server):
        kind = "someone"

        def reply(self, body: Body) -> Reply:
            self.seen.append(body)
            if "seed" in body:
                return 422, {}, {"detail": said}
            if "max_tokens" in body:
                return refuse(400, "'max_tokens' is not supported, use 'max_completion_tokens' instead")
            return answer(body | {"seed": "chance"})

    with serving(kind=Hosted) as (server,):
        done, watch = run([server.url], requests(3), api="chat")
    assert done["r/1"].text == "question 1 by chance"
    assert server.seen[-1]["max_completion_tokens"] == 50
    assert len(server.seen) == 3 + 3, "each is refused once"
    assert [said for said in watch.warnings if "takes no seed" in said and "can't be drawn" in said] == watch.warnings


def test_the_doctor_says_what_a_hosted_server_can_not_do(home: Path) -> None:
    from proofmill.flows.doctor import models as endpoints
    from proofmill.flows.doctor.checks import FAIL, OK, WARN, Place
    from proofmill.flows.recipe.load import parse

    class Hosted(Server):
        kind, max_model_len = "someone", None

        def reply(self, body: Body) -> Reply:
            return refuse(400, "no such parameter: seed") if "seed" in body else answer(body)

    with serving(kind=Hosted) as (server,):
        engine = {"kind": "openai", "endpoints": [server.url], "api": "chat"}
        source = {"kind": "procedural", "task": "chain_sum", "domain": "math"}
        recipe = {"name": "hosted", "problems": {"sources": [source]}, "samplers": [{"engine": engine}]}
        recipe |= {"claims": {"model": {}}, "quality": {"learning": {}}}
        found = {
            check.name.partition(" of http")[0]: check
            for check in endpoints.endpoint_checks(Place(parse(recipe), home))
        }
    statuses = {name: check.status for name, check in found.items() if not name.startswith("server")}
    assert statuses == {"context": WARN, "seeds": WARN, "structured output": FAIL, "scores of a text": FAIL}
    assert found[f"server {server.url}"].status == OK
    assert "it wrote 'Answer with a JSON object." in found["structured output"].found
    assert "serve the model with vllm" in found["scores of a text"].remedy


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({"verify": {"judge": {}}}, {"structured output"}),
        ({"claims": {"model": {}}}, {"structured output"}),
        ({"problems": {"topics": {"labels": ["sums", "letters"]}}}, {"structured output"}),
        ({"curriculum": {"short_forms": ["rewritten"]}}, set()),
        ({"quality": {"learning": {}}}, {"scores of a text"}),
        ({"verify": {"judge": {"model": "bundled", "engine": "own"}}}, {"structured output"}),
        ({}, set()),
    ],
)
def test_the_doctor_tries_what_every_section_asks_of_a_server(home: Path, sections: Body, wanted: set[str]) -> None:
    from proofmill.flows.doctor import models as endpoints
    from proofmill.flows.doctor.checks import Place
    from proofmill.flows.recipe.load import parse

    with serving() as (server,):
        engine = {"kind": "openai", "endpoints": [server.url]}
        source = {"kind": "procedural", "task": "chain_sum", "domain": "math"}
        recipe: Body = {"name": "served", "problems": {"sources": [source]}, "samplers": [{"engine": engine}]}
        for name, section in sections.items():
            recipe[name] = recipe.get(name, {}) | section
        if "own" in repr(sections):
            recipe["verify"]["judge"]["engine"] = engine
            recipe["samplers"] = [{"name": "small"}]
        found = [check.name for check in endpoints.endpoint_checks(Place(parse(recipe), home))]
    assert {name.partition(" of http")[0] for name in found} & {"structured output", "scores of a text"} == wanted
    assert any(name.startswith("server") for name in found)


def test_a_server_that_takes_no_tokens_is_named_with_the_way_out() -> None:
    with serving(kind=Refusing) as (server,):
        server.refusal, server.kind = refuse(400, "prompt: expected a string"), "someone"
        with pytest.raises(EngineError, match="lets the run in") as error:
            run([server.url], requests(1), wait_s=60.0)
    assert "set engine.api: chat" in error.value.where


def test_what_a_server_can_not_do_is_an_error_before_anything_is_drawn() -> None:
    with serving() as (server,):
        server.kind = "someone"
        for trial, lacking, way_out in (
            (SCORE_TRIAL, "score a text", "vllm"),
            (JSON_TRIAL, "promise JSON", "engine.api: chat"),
        ):
            with pytest.raises(EngineError, match=lacking) as error:
                run([server.url], requests(1), trials=(trial,))
            assert way_out in error.value.remedy
        assert server.seen == []
        server.kind = "vllm"  # or a gateway that says so
        with pytest.raises(EngineError, match="no prompt_logprobs") as error:
            run([server.url], [Request("s", (1, 2, 3), 0, {}, 1)], trials=(SCORE_TRIAL,))
        assert "gateway" in error.value.remedy


def test_a_run_on_servers_does_not_depend_on_where_they_are(
    home: Path, tmp_path: Path, regenerate: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm", reason="the embedded model's tokenizer needs proofmill[cpu]")
    monkeypatch.setenv("SOME_KEY", "sk-secret-2")

    def solved(body: Body, _: int) -> Reply:
        choice = {"text": f"Both together make \\boxed{{4}} {body['seed']}", "finish_reason": "stop"}
        if body["seed"] % 5 == 0:
            return refuse(400, "maximum context length")
        return 200, {}, {"choices": [choice], "usage": {"completion_tokens": 7}}

    def recipe(endpoints: list[str]) -> dict[str, Any]:
        engine = {"kind": "openai", "endpoints": endpoints, "api_key_env": "SOME_KEY"}
        source = {"kind": "file", "path": str(tmp_path / "p.jsonl"), "license": "mit"}
        sampler = {"engine": engine, "sampling": {"n": 6, "extra": {"min_p": 0.05}}}
        return {"name": "served", "problems": {"sources": [source]}, "samplers": [sampler]}

    (tmp_path / "p.jsonl").write_text('{"prompt": "2 + 2?", "answer": "4"}\n{"prompt": "1 + 3?", "answer": "4"}\n')
    with serving(3) as servers:
        for server in servers:
            server.rule, server.max_model_len = solved, 4096
        first = regenerate(recipe([server.url for server in servers[:2]]), home)
        drawn = [body for server in servers for body in server.drawn]
        assert len(drawn) == 12
        assert {body["min_p"] for body in drawn} == {0.05}
        again = regenerate(recipe([servers[2].url]), home)
        assert not servers[2].seen, "the samples are known already"
        elsewhere = regenerate(recipe([servers[2].url]), tmp_path / "elsewhere")
    assert not again["new"]
    digests = [{file.path: file.sha256 for file in run["manifest"].files} for run in (first, elsewhere)]
    for files in digests:
        files.pop("report.html", None)  # it tells durations
    assert digests[0] == digests[1], "the card too"
    model = first["manifest"].to_json()["models"][0]
    assert (model["model"], model["revision"]) == ("SmolLM2-135M-Instruct", "as served")
    too_long = sum(body["seed"] % 5 == 0 for body in drawn)
    assert first["manifest"].stages["verdicts"].dropped.get("error", 0) == too_long
    for path in [path for path in home.rglob("*") if path.is_file()]:
        assert b"sk-secret-2" not in path.read_bytes(), path
    for path in (home / "datasets").rglob("*"):
        assert not path.is_file() or b"127.0.0.1" not in path.read_bytes(), path


def test_a_model_whose_samples_are_all_there_is_not_asked(
    home: Path, tmp_path: Path, regenerate: Callable[..., dict[str, Any]]
) -> None:
    pytest.importorskip("vllm", reason="the embedded model's tokenizer needs proofmill[cpu]")
    (tmp_path / "p.jsonl").write_text('{"prompt": "2 + 2?", "answer": "4"}\n')

    def recipe(one: str, other: str, n: int) -> dict[str, Any]:
        source = {"kind": "file", "path": str(tmp_path / "p.jsonl"), "license": "mit"}
        samplers = [
            {
                "name": name,
                "engine": {"kind": "openai", "endpoints": [url], "served": name, "wait_s": 1.0},
                "sampling": {"n": size},
            }
            for name, url, size in (("one", one, 2), ("two", other, n))
        ]
        return {"name": "served", "problems": {"sources": [source]}, "samplers": samplers}

    with serving() as (other,):
        with serving() as (one,):
            one.served, other.served = "one", "two"
            for server in (one, other):
                server.max_model_len = 4096
                server.rule = lambda body, _: (200, {}, {"choices": [{"text": f"\\boxed{{4}} {body['seed']}"}]})
            regenerate(recipe(one.url, other.url, 2), home)
        again = regenerate(recipe(one.url, other.url, 3), home)  # and nothing listens at the first one's address
    assert again["new"]
    assert (len(one.drawn), len(other.drawn)) == (2, 3)


def test_a_key_that_is_not_there_is_an_error_that_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    engine = EngineSection(kind="openai", endpoints=("http://127.0.0.1:1",), api_key_env="NO_SUCH_KEY")
    with pytest.raises(EngineError, match="NO_SUCH_KEY"):
        servers_of("self", engine.model_dump(mode="json"), {})


def test_a_server_that_wants_to_be_paid_stops_the_run_and_writes_nothing_off() -> None:
    with serving() as (server,):
        server.rule = lambda body, _: refuse(402, "no credits") if len(server.drawn) > 3 else answer(body)
        watch = Progress()
        engine = RestartingEngine(lambda: ServerEngine(ServerOptions((server.url,), window=1), {}, watch), watch)
        done: list[Completion] = []
        with pytest.raises(EngineError, match="lets the run in any more") as error:
            done.extend(stream_completions(engine, requests(8)))
        engine.close()
    assert "no credits" in str(error.value)
    assert not watch.warnings or "failed" not in " ".join(watch.warnings)


def test_a_server_that_refuses_prompt_after_prompt_stops_the_run() -> None:
    with serving() as (server,):
        server.rule = lambda body, _: answer(body) if canary(body) else refuse(400, "balance too low")
        with pytest.raises(EngineError, match="refused 17 prompts in a row"):
            run([server.url], requests(60))
