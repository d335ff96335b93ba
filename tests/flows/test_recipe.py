"""A recipe is obeyed whole or refused with the key that doesn't fit and the nearest one that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proofmill.data.errors import RecipeError
from proofmill.flows.recipe import load as recipes
from proofmill.flows.recipe.schema import Recipe

SOURCE: dict[str, Any] = {"kind": "procedural", "task": "basic_arithmetic"}
MINIMAL: dict[str, Any] = {"name": "mine", "problems": {"sources": [SOURCE]}}


def parse(**sections: Any) -> Recipe:
    return recipes.parse(MINIMAL | sections)


def sources(**keys: Any) -> dict[str, Any]:
    return {"problems": {"sources": [SOURCE | keys]}}


def sampler(**keys: Any) -> dict[str, Any]:
    return {"samplers": [keys]}


@pytest.fixture
def path(tmp_path: Path) -> str:
    place = tmp_path / "mine.yaml"
    place.write_text(yaml.safe_dump(MINIMAL | {"samplers": [{"name": "a"}, {"name": "b"}]}))
    return str(place)


def test_a_minimal_recipe_has_defaults_that_work() -> None:
    recipe = parse()
    assert [s.name for s in recipe.samplers] == ["self"]
    assert recipe.curriculum.strategy == "long_to_short"
    assert recipes.parse(recipe.resolved()) == recipe, "a resolved recipe is a recipe"


@pytest.mark.parametrize("name", recipes.bundled())
def test_every_bundled_recipe_is_sound(name: str) -> None:
    assert recipes.load(name).name == name


@pytest.mark.parametrize(
    ("sections", "key", "near"),
    [
        ({"sampler": []}, "sampler", "samplers"),
        ({"selct": {}}, "selct", "select"),
        ({"select": {"max_per_probem": 2}}, "select.max_per_probem", "max_per_problem"),
        ({"quality": {"max_repetitions": 0.5}}, "quality.max_repetitions", "max_repetition"),
        (sources(cuont=3), "problems.sources.0.cuont", "count"),
        ({"problems": {"sources": [{"kind": "file", "pth": "x"}]}}, "problems.sources.0.pth", "path"),
        ({"decontaminate": {"agianst": []}}, "decontaminate.agianst", "against"),
        ({"decontaminate": {"against": [{"source": "x", "splt": "y"}]}}, "decontaminate.against.0.splt", "split"),
        (sampler(sampling={"temprature": 1}), "samplers.0.sampling.temprature", "temperature"),
        (sampler(engine={"kind": "vllm", "windw": 2}), "samplers.0.engine.windw", "window"),
        (sampler(engine={"kind": "replay", "fils": []}), "samplers.0.engine.fils", "files"),
        ({"curriculum": {"short_form": []}}, "curriculum.short_form", "short_forms"),
        ({"curriculum": {"strategy": "broad_to_hard", "min_token": 5}}, "curriculum.min_token", "min_tokens"),
    ],
)
def test_an_unknown_key_names_the_nearest(sections: dict[str, Any], key: str, near: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(**sections)
    assert f"{key}: unknown key, did you mean '{near}'?" in caught.value.what


def test_an_unknown_key_like_no_other_is_named_all_the_same() -> None:
    with pytest.raises(RecipeError, match="xyzzy: unknown key") as caught:
        parse(xyzzy=1)
    assert "mean" not in caught.value.what


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"name": "../escape"}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"seed": "one"}, "seed"),
        ({"seed": None}, "seed"),
        ({"samplers": {}}, "samplers"),
        (sampler(sampling={"n": "eight"}), "samplers.0.sampling.n"),
        (sampler(sampling={"n": 0}), "samplers.0.sampling.n"),
        (sampler(sampling={"top_p": 1.5}), "samplers.0.sampling.top_p"),
        (sampler(sampling={"temperature": -1}), "samplers.0.sampling.temperature"),
        (sampler(name="a/b"), "samplers.0.name"),
        (sampler(engine="llama"), "samplers.0.engine"),
        (sampler(engine=7), "samplers.0.engine"),
        (sources(kind="web"), "problems.sources.0"),
        (sources(count=0), "problems.sources.0.count"),
        ({"quality": {"max_repetition": 2}}, "quality.max_repetition"),
        ({"curriculum": {"strategy": "hardest_first"}}, "curriculum"),
        ({"curriculum": {"short_forms": ["poem"]}}, "curriculum.short_forms.0"),
        ({"select": {"rl_pass_rate": [0.1]}}, "select.rl_pass_rate.1"),
        ({"publish": {"render": "html"}}, "publish.render"),
        ({"problems": None}, "problems"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_key(sections: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(**sections)
    assert f"{key}: " in caught.value.what
    assert "Value error" not in caught.value.what


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse(seed="one", select={"max_per_problem": 0})
    assert "seed: " in caught.value.what
    assert "select.max_per_problem: " in caught.value.what


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"samplers": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"problems": {"sources": []}}, "at least one source"),
        (sources(domain="maths"), "did you mean 'math'"),
        (sampler(sampling={"max_samples": 9}), "samplers.0.sampling: max_samples: does nothing without accept_target"),
        (sampler(engine="replay", sampling={"n": 9}), "sampling: does nothing without an engine that runs a model"),
        ({"curriculum": {"rewriting": {"tries": 9}}}, "rewriting: does nothing without `rewritten` in short_forms"),
        ({"curriculum": {"short_forms": ["answer", "rewritten"]}}, "behind `answer`, `rewritten` never gets its turn"),
        ({"curriculum": {"strategy": "broad_to_hard", "reference": "nobody"}}, "reference: no sampler 'nobody'"),
        ({"select": {"mix_by": "topic"}}, "select: mix_by: does nothing without mix"),
        (
            {"select": {"expanded_pass_rate": [0.1, 0.9]}},
            "expanded_pass_rate: does nothing without problems.exp",
        ),
        ({"decontaminate": {"meaning": True}}, "meaning: does nothing without against"),
        (
            {"train": {"stages": ["rl"]}, "improve": {"ablate": {"arms": ["wrong"]}}},
            "improve.ablate.arms: arms are trained in supervised stages, and train.stages has none",
        ),
        ({"train": {"rl": {"steps": 9}}}, "rl: does nothing without `rl` in stages"),
        (
            {"problems": {"sources": [SOURCE], "expand": {"steps": ["harder"], "temperature": 0.5}}},
            "temperature: does nothing without a step whose problems a model writes",
        ),
        (sampler(sampling={"accept_target": 2, "n": 8, "max_samples": 7}), "max_samples: 7 is less"),
        (sampler(engine={"kind": "replay", "domain": "poetry"}), "no verifier for domain 'poetry'"),
    ],
)
def test_what_contradicts_itself_is_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse(**sections)


def test_a_domain_of_ones_own_needs_a_verifier() -> None:
    recipe = parse(**sources(domain="poetry"), verify={"verifiers": {"poetry": "poems:Judge"}})
    assert recipe.problems.sources[0].domain == "poetry"


@pytest.mark.parametrize("engine", ["vllm", {"kind": "vllm"}, "replay"])
def test_an_engine_may_be_its_name_alone(engine: Any) -> None:
    kind = engine if isinstance(engine, str) else engine["kind"]
    assert parse(**sampler(engine=engine)).samplers[0].engine.kind == kind


# --- files and --set ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("samplers.0.sampling.n=4", lambda r: r.samplers[0].sampling.n == 4),
        ("samplers.1.sampling.n=4", lambda r: (r.samplers[0].sampling.n, r.samplers[1].sampling.n) == (8, 4)),
        ("samplers.0.engine={kind: replay, files: [a.jsonl]}", lambda r: r.samplers[0].engine.files == ("a.jsonl",)),
        ("samplers.0.engine.window=5", lambda r: r.samplers[0].engine.window == 5),
        ("samplers.0.sampling.extra.min_p=0.1", lambda r: r.samplers[0].sampling.extra == {"min_p": 0.1}),
        ("problems.sources.0.args.max_terms=3", lambda r: r.problems.sources[0].args == {"max_terms": 3}),
        ("publish.allow_licenses=[unknown, other]", lambda r: r.publish.allow_licenses == ("unknown", "other")),
        ("prompt.system='be brief: really'", lambda r: r.prompt.system == "be brief: really"),
        ("prompt.system='a=b'", lambda r: r.prompt.system == "a=b"),
        ("select.max_trace_tokens=null", lambda r: r.select.max_trace_tokens is None),
        ("name=other", lambda r: r.name == "other"),
    ],
)
def test_a_key_can_be_set_anywhere(path: str, override: str, read: Any) -> None:
    assert read(recipes.load(path, [override]))


def test_the_last_override_wins(path: str) -> None:
    assert recipes.load(path, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(("engine", "key"), [("vllm", "window"), ("replay", "limit")])
def test_a_key_below_a_name_alone_can_be_set(path: str, engine: str, key: str) -> None:
    recipe = recipes.load(path, [f"samplers.0.engine={engine}", f"samplers.0.engine.{key}=5"])
    assert (recipe.samplers[0].engine.kind, getattr(recipe.samplers[0].engine, key)) == (engine, 5)


@pytest.mark.parametrize(
    "override",
    [
        "seed", "=1", "", "samplers.9.sampling.n=1", "samplers.first.sampling.n=1", "name.deep=1", "seed=[1", "..=1",
        "samplers.0.sampling.n=x", "select.max_per_probem=1", "samplers.sampling.n=1",
    ],
)  # fmt: skip
def test_an_override_that_does_not_fit_says_how(path: str, override: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.load(path, [override])
    assert caught.value.remedy


def test_an_override_into_a_list_that_is_not_written_out(tmp_path: Path) -> None:
    place = tmp_path / "short.yaml"
    place.write_text(yaml.safe_dump(MINIMAL))
    assert recipes.load(str(place), ["samplers.0.sampling.n=3"]).samplers[0].sampling.n == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name: [", "not valid YAML"),
        (b"- a\n- b\n", "mapping"),
        (b"", "mapping"),
        (b"just text", "mapping"),
        (b"\xff\xfe\x00", "no readable recipe"),
        (b"name: mine\n1: 2\n", "1: "),
        (b"!!python/object/apply:os.system [exit]", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    place = tmp_path / "bad.yaml"
    place.write_bytes(content)
    with pytest.raises(RecipeError, match=says) as caught:
        recipes.load(str(place))
    assert str(place) in caught.value.where


def test_a_misspelt_name_tells_what_there_is() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.load("quikstart")
    assert "did you mean 'quickstart'" in caught.value.remedy
    assert all(name in caught.value.remedy for name in recipes.bundled())


def test_a_digest_follows_values_and_not_their_spelling() -> None:
    first = recipes.parse({"name": "mine", "problems": {"sources": [SOURCE]}, "seed": 0})
    second = recipes.parse({"problems": {"sources": [SOURCE | {"count": 100}]}, "name": "mine"})
    assert first.digest() == second.digest()
    assert parse(seed=1).digest() != first.digest()


@pytest.mark.parametrize(
    ("endpoints", "said"),
    [
        ([], "at least one"),
        (["gpu1:8000"], "not an address"),
        (["http://me:secret@gpu1"], "must not hold a password"),
        (["http://gpu1:8000", "http://gpu1:8000/v1/"], "twice"),
    ],
)
def test_addresses_of_servers_are_checked(endpoints: list[str], said: str) -> None:
    sampler = {"engine": {"kind": "openai", "endpoints": endpoints}}
    source = {"kind": "procedural", "task": "chain_sum"}
    with pytest.raises(RecipeError, match=said):
        recipes.parse({"name": "a", "problems": {"sources": [source]}, "samplers": [sampler]})


def test_an_address_without_a_path_gets_the_usual_one() -> None:
    sampler = {"engine": {"kind": "openai", "endpoints": ["http://gpu1:8000", "https://host/api/v2/"]}}
    source = {"kind": "procedural", "task": "chain_sum"}
    recipe = recipes.parse({"name": "a", "problems": {"sources": [source]}, "samplers": [sampler]})
    assert recipe.resolved()["samplers"][0]["engine"]["endpoints"] == ["http://gpu1:8000/v1", "https://host/api/v2"]
    assert "endpoints" not in recipe.published()["samplers"][0]["engine"]


def asking(**claims_model: object) -> Recipe:
    engine = {"kind": "openai", "endpoints": ["http://gpu2:8000"]}
    samplers = [{"name": name, "model": "bundled"} for name in ("first", "second")]
    learning = {"model": "org/student", "engine": engine}
    return parse(samplers=samplers, claims={"model": claims_model}, quality={"learning": learning})


def test_where_servers_of_later_phases_are_concerns_nobody() -> None:
    published = asking(model="org/judge", engine={"kind": "openai", "endpoints": ["http://gpu1:8000"]}).published()
    assert "gpu" not in str(published)
    assert published["claims"]["model"]["engine"]["kind"] == "openai"


def test_whom_a_later_phase_asks_is_said_once() -> None:
    assert asking(sampler="second").claims.model is not None
    with pytest.raises(RecipeError, match="brings its own model"):
        asking(sampler="second", model="bundled")
    with pytest.raises(RecipeError, match="no sampler 'third'"):
        asking(sampler="third")
