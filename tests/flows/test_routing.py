"""Routing in a run: teachers get what the small model can't prove, and nothing else; other policies are replayed."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from proofmill.data.errors import EngineError, RecipeError, UsageError
from proofmill.data.versions import check_files, find
from proofmill.flows.commands.regenerate import run as regenerate_command
from proofmill.flows.commands.route import RouteRequest, parse_prices, run
from proofmill.flows.recipe import load as recipes
from support import tiny_model
from support.endpoints import Endpoint, Reply, serving
from support.samples import replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]
SOON = {"wait_s": 0.2, "retries": 0}
TEXT = "I look at {a} and at {b} and count from one by the other, number by number. The answer is \\boxed{{{sum}}}."
PRICES = {"small": 0.1, "middle": 1.0, "large": 10.0}


class Adder(Endpoint):
    """Adds rightly up to a limit, and one too many above it."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.asked: list[int] = []
        self.words: set[str] = set()
        self.locked = False

    def models(self, authorization: str | None) -> Reply:
        return (401, {}, {"error": {"message": f"{authorization} is no key"}}) if self.locked else super().models(None)

    def reply(self, body: Row) -> Reply:
        a, b = (int(found) for found in [*re.findall(r"\d+", body["messages"][-1]["content"]), 1, 1][:2])
        if body["max_tokens"] > 1:  # one token is a look whether the server works
            self.asked.append(a)
            self.words.add(body["messages"][-1]["content"])
        text = TEXT.format(a=a, b=b, sum=a + b + (a > self.limit))
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return 200, {}, {"choices": [choice], "usage": {"completion_tokens": 50}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model.save(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    rows = [{"prompt": f"How much is {a} + 5?", "answer": str(a + 5)} for a in (11, 22, 33, 44)]
    return write_jsonl(
        tmp_path / "p.jsonl", [*rows, {"prompt": "What is 7 + 5?", "answer": "12", "domain": "knowledge"}]
    )


def sampler(name: str, url: str, tokenizer: str, **engine: Any) -> Row:
    served = {"kind": "openai", "endpoints": [url], "api": "chat", "revision": name, "wait_s": 5.0} | engine
    return {"name": name, "model": tokenizer, "engine": served, "sampling": {"n": 2, "max_tokens": 100}}


def recipe(problems: Path, samplers: list[Row], **route: Any) -> Row:
    teachers = [{"sampler": name, "price": PRICES[name], "prompt_price": 0.5} for name in ("middle", "large")]
    return {
        "name": "routed",
        "problems": {"sources": [{"kind": "file", "path": str(problems), "license": "mit"}]},
        "samplers": samplers,
        "verify": {"workers": 1, "verifiers": {"knowledge": "proofmill.filters.domains.math:DOMAIN"}},
        "route": {"small": "small", "price": 0.1, "teachers": teachers} | route,
    }


def test_a_sampler_asks_in_its_own_words_and_its_rows_are_trained_so(
    regenerate: Callable[..., Row], home: Path, tokenizer: str, tmp_path: Path
) -> None:
    questions = {"prompt": "How much is 11 + 5?", "answer": "16"}, {"prompt": "How much is 33 + 5?", "answer": "38"}
    problems = write_jsonl(tmp_path / "p.jsonl", questions)
    small, middle = Adder(15), Adder(35)
    with serving(small, middle):
        own = {"templates": {"math": "{problem} Count slowly."}}
        samplers = [sampler("small", small.url, tokenizer), sampler("middle", middle.url, tokenizer) | own]
        regenerate(recipe(problems, samplers, teachers=[{"sampler": "middle", "price": 1.0}]), home)
    assert middle.words == {"How much is 33 + 5? Count slowly."}
    trained = dict(table(home, "sft_stage1", "routed").select("model_revision", "prompt").iter_rows())
    assert trained["middle"][-1]["content"] == "How much is 33 + 5? Count slowly."
    assert small.words > {trained["small"][-1]["content"]}, "the others are asked as the section `prompt` says"


def test_teachers_get_what_the_models_before_them_do_not_prove(
    regenerate: Callable[..., Row], home: Path, tokenizer: str, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Adder(15), Adder(25), Adder(35)
    with serving(*servers):
        samplers = [sampler(name, server.url, tokenizer) for name, server in zip(PRICES, servers, strict=True)]
        monkeypatch.setenv("A_WRONG_KEY", "sk-wrong")
        refused = [*samplers[:2], sampler("large", servers[2].url, tokenizer, api_key_env="A_WRONG_KEY")]
        servers[2].locked = True
        with pytest.raises(EngineError, match="HTTP 401") as denied:
            regenerate(recipe(problems, refused), home)
        assert "sk-wrong" not in str(denied.value)
        assert "A_WRONG_KEY" in denied.value.remedy
        assert not servers[0].asked, "a wrong key is found before the small model draws for hours"
        servers[2].locked = False
        down = [samplers[0], sampler("middle", "http://127.0.0.1:9/v1", tokenizer, **SOON), samplers[2]]
        lost = regenerate(recipe(problems, down), home)["manifest"]
        assert not servers[2].asked, "no dearer teacher is asked in place of one that is down"
        assert (lost.route.proven, [model.waiting for model in lost.route.models]) == (1, [0, 4, 0])
        assert lost.route.reasons == {"proven": 1, "teacher_unavailable": 4}
        assert lost.stages["samples"].dropped == {"not_routed": 2 * (1 + 5), "teacher_unavailable": 2 * 4}
        assert lost.stages["samples"].entered == lost.stages["samples"].kept + 2 * (1 + 5 + 4)
        waiting = table(home, "routes", "routed").filter(pl.col("why") == "teacher_unavailable")
        assert waiting["route"].to_list() == [None] * 4
        down[1:] = [samplers[1], sampler("large", "http://127.0.0.1:9/v1", tokenizer, **SOON)]
        told = io.StringIO()
        with pytest.raises(EngineError, match="problems wait: 2 for large") as left:
            regenerate_command(recipes.parse(recipe(problems, down)), str(home), None, False, Console(file=told))
        assert "run the same command again" in left.value.remedy
        assert re.search(
            r"teacher large is given up for now, 0 samples drawn: No endpoint has\s+answered", told.getvalue()
        )
        asked = [sorted(server.asked) for server in servers]
        assert asked == [[11, 11, 22, 22, 33, 33, 44, 44], [7, 7, 22, 22, 33, 33, 44, 44], []]
        result = regenerate(recipe(problems, samplers), home)
        assert [sorted(server.asked) for server in servers] == [*asked[:2], [33, 33, 44, 44]], "nothing is drawn twice"
        shutil.rmtree(home / "runs")
        assert not regenerate(recipe(problems, samplers), home)["new"]
        assert [len(server.asked) for server in servers] == [8, 8, 4], "recorded samples are routed as before"
    names = {row["id"]: row["prompt"] for row in table(home, "problems", "routed").iter_rows(named=True)}
    routes = {names[row["problem_id"]]: row for row in table(home, "routes", "routed").iter_rows(named=True)}
    assert {prompt: (row["route"], row["why"]) for prompt, row in routes.items()} == {
        "How much is 11 + 5?": ("small", "proven"),
        "How much is 22 + 5?": ("middle", "unproven"),
        "How much is 33 + 5?": ("large", "unproven"),
        "How much is 44 + 5?": (None, "unproven"),
        "What is 7 + 5?": ("middle", "large_only"),
    }
    asked = table(home, "traces", "routed").filter(pl.col("problem_id") == routes["How much is 33 + 5?"]["problem_id"])
    read = asked.filter(pl.col("sampler") != "small")["prompt_tokens"].sum()
    assert read > 0
    assert routes["How much is 33 + 5?"]["cost"] == pytest.approx((100 * (0.1 + 1 + 10) + 0.5 * read) / 1e6)
    assert {row["sampler"] for row in table(home, "sft_stage1", "routed").join(
        table(home, "traces", "routed"), on="id", suffix="_trace").iter_rows(named=True)} == set(PRICES)  # fmt: skip
    manifest = result["manifest"]
    assert (manifest.route.proven, manifest.route.models[0].answers) == (4, 1)
    assert manifest.route.cost == pytest.approx(sum(row["cost"] for row in routes.values()))
    ledger = manifest.stages["samples"]
    assert ledger.entered == ledger.kept + sum(ledger.dropped.values())
    assert ledger.dropped == {"not_routed": 2 * (1 + 3)}
    rates = {row["id"]: row["pass_rate"] for row in table(home, "sft_stage1", "routed").iter_rows(named=True)}
    assert set(rates.values()) == {1.0, 0.0, None}, "pass rates are those of the small model"
    version = find(home, "routed")
    check_files(version)
    policy = json.loads((version.folder / "policy.json").read_text())
    assert policy["by_domain"] == {"knowledge": "middle", "math": "small"}
    assert [(rule["domain"], rule["pass_rate"], rule["model"]) for rule in policy["rules"]] == [
        ("knowledge", None, "middle"), ("math", [0.0, 0.0], "middle"), ("math", [0.75, 1.0], "small"),
    ]  # fmt: skip


def test_a_replayed_teacher_is_routed_too_and_other_policies_are_tried(
    regenerate: Callable[..., Row], home: Path, tmp_path: Path
) -> None:
    samplers = []
    for name, limit in (("small", 15), ("large", 99)):
        rows = sums(6, [TEXT])
        for row in rows:
            a = int(row["prompt"].split()[3])
            row["response"] = row["response"].replace(row["answer"], str(int(row["answer"]) + (a > limit)))
        file = write_jsonl(tmp_path / f"{name}.jsonl", rows)
        samplers.append(replay_recipe(file)["samplers"][0] | {"name": name})
    both = {"name": "both", "samplers": samplers, "verify": {"workers": 1}}
    regenerate(both, home)
    teachers = [{"sampler": "large", "price": 10.0}]
    result = regenerate(both | {"name": "one", "route": {"price": 0.1, "teachers": teachers}}, home)
    assert result["manifest"].stages["samples"].dropped == {"not_routed": 2}
    assert [m.answers for m in result["manifest"].route.models] == [2, 4]

    def told(label: str, request: RouteRequest, **options: Any) -> Any:
        text = io.StringIO()
        run(home, label, request, Console(file=text, width=120), as_json=True, **options)
        return json.loads(text.getvalue())

    models = parse_prices(["small=0.1,0.5", "large=10"])
    found = told("both", RouteRequest(models), show_all=True)
    solved = {tuple(model["model"] for model in p["models"]): p for p in found["policies"]}
    assert {names: p["solved"] for names, p in solved.items()} == {("small",): 2, ("large",): 6, ("small", "large"): 6}
    hybrid, large = solved["small", "large"], solved["large",]
    assert hybrid["cost"] < large["cost"]
    assert hybrid["beside_dearest"] == pytest.approx(hybrid["cost"] / large["cost"])
    read = sum(len(prompt) // 4 for prompt in table(home, "problems", "both")["prompt"])
    wrote = solved["small",]["cost"] - read * 0.5 / 1e6
    assert wrote > 0, "prompts are paid for, though nobody counted their tokens"
    free = told("both", RouteRequest(parse_prices(["small=0.1", "large=10"])), show_all=True)["policies"]
    assert wrote == pytest.approx(next(p["cost"] for p in free if [m["model"] for m in p["models"]] == ["small"]))
    chain = RouteRequest(models, [("small", "large")])
    told("both", chain, out_file=tmp_path / "policy.json")
    rules = json.loads((tmp_path / "policy.json").read_text())["rules"]
    assert [(rule["pass_rate"], rule["model"]) for rule in rules] == [([0.0, 0.0], "large"), ([0.75, 1.0], "small")]
    for request, told_of in (
        (RouteRequest(parse_prices(["smal=0.1"])), "no sample by smal"),
        (RouteRequest({}), "Nothing says what the models cost"),
        (RouteRequest(parse_prices(["small=0.1"]), [("small", "large")]), "no price for 'large'"),
    ):
        with pytest.raises(UsageError, match=told_of):
            told("both", request)


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ({"small": "smal"}, "did you mean 'small'"),
        ({"teachers": [{"sampler": "larg", "price": 1}]}, "did you mean 'large'"),
        ({"teachers": [{"sampler": "large"}]}, r"fit: route\.teachers\.0\.price: Field required\n"),
        ({"teachers": [{"sampler": "small", "price": 1}]}, "small"),
        ({"teachers": [{"sampler": "large", "price": 0, "max_cost": 5}]}, "its max_cost caps nothing"),
        ({"teachers": []}, "route.teachers"),
    ],
)
def test_a_route_that_can_not_be_is_an_error_before_anything_is_sampled(tmp_path: Path, route: Row, told: str) -> None:
    samplers = [sampler(name, "http://127.0.0.1:9/v1", "bundled") for name in PRICES]
    with pytest.raises(RecipeError, match=told):
        recipes.parse(recipe(tmp_path / "p.jsonl", samplers, **route))


@pytest.mark.parametrize("text", ["small", "=1", "small=cheap", "small=-1", "small=nan", "small=1,2,3", "small=1,-2"])
def test_a_price_is_a_number(text: str) -> None:
    with pytest.raises(UsageError):
        parse_prices([text])
