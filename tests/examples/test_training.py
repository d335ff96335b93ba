"""TRL trains on a version as it is, in stages and by reinforcement with our rewards; the hub gives the same rows."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from proofmill.data.hub import Hub, local_files, push
from proofmill.data.versions import Version, find
from proofmill.filters.rewards import combined_reward
from proofmill.generators import models
from support import tiny_model
from support.hub import TOKEN
from support.samples import replay_recipe, sums, write_jsonl

HERE = Path(__file__).parent
LONG = (
    "<think>\nI take {a} and count {b} further, one at a time, and each step goes one up; nothing is skipped on the "
    "way. The last number that I touch is {sum}.\n</think>\n\nThe answer is \\boxed{{{sum}}}."
)
SHORT = "<think>\n{a} + {b} = {sum}\n</think>\n\nThe answer is \\boxed{{{sum}}}."
WRONG = (
    "<think>\nI begin with {a} and step {b} times upwards, but I miss that my first step left from the number "
    "behind it. So the steps bring me to {off}.\n</think>\n\nThe answer is \\boxed{{{off}}}."
)


@pytest.fixture(scope="module")
def version(regenerate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Version:
    folder = tmp_path_factory.mktemp("training")
    samples = write_jsonl(folder / "samples.jsonl", sums(8, (LONG, SHORT, WRONG)))
    recipe = replay_recipe(
        samples, publish={"student": "bundled", "messages": True, "pairs": True, "step_labels": True}
    )
    regenerate(recipe, folder / "home")
    return find(folder / "home", "replayed")


def example(name: str, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Runs an example in a process of its own, as the README says; returns what it said."""
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments, "--cpu"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def check_sft(said: list[dict[str, Any]], version: Version, tmp_path: Path, steps: int) -> None:
    rows = version.manifest.published_rows
    assert [(line["stage"], line["rows"]) for line in said] == [(s, rows[s]) for s in ("sft_stage1", "sft_stage2")]
    for line in said:
        assert len(line["losses"]) == steps
        assert all(math.isfinite(loss) and loss > 0 for loss in line["losses"])
        assert line["learned"].startswith("<think>\n")
        assert "</think>\n\nThe answer is \\boxed{" in line["learned"]
        assert "How much is" not in line["learned"]
    assert "count" in said[0]["learned"]
    assert (tmp_path / "out" / "sft_stage2" / "model.safetensors").exists()


@pytest.mark.slow
def test_both_stages_train_from_the_folder(version: Version, tmp_path: Path) -> None:
    model = tiny_model.save(tmp_path / "tiny")
    words = ("--model", str(model), "--steps", "2", "--out", str(tmp_path / "out"))
    said = example("train_sft", str(version.folder), *words)
    check_sft(said, version, tmp_path, 2)


@pytest.mark.slow
@pytest.mark.model
def test_pairs_and_step_labels_train_as_they_are(version: Version, tmp_path: Path) -> None:
    model = tiny_model.save(tmp_path / "tiny")
    said = example("train_preferences", str(version.folder), "--model", str(model), "--out", str(tmp_path / "out"))
    rows = version.manifest.published_rows
    assert [(line["config"], line["rows"]) for line in said] == [(c, rows[c]) for c in ("pairs", "step_labels")]
    for line in said:
        assert len(line["losses"]) == 2
        assert all(math.isfinite(loss) and loss > 0 for loss in line["losses"])
    assert said[0]["losses"][0] == pytest.approx(math.log(2), rel=1e-3)  # DPO begins where both models agree
    assert (tmp_path / "out" / "step_labels" / "model.safetensors").exists()


def test_pairs_and_step_labels_have_the_form_that_trainers_ask_for(version: Version, tmp_path: Path) -> None:
    pairs = datasets.load_dataset(str(version.folder), "pairs", split="train", cache_dir=str(tmp_path))
    ledger = version.manifest.pairs
    assert ledger
    assert ledger.kept == pairs.num_rows == 8
    assert ledger.entered == ledger.kept + sum(ledger.dropped.values())
    for row in pairs:
        roles = [[turn["role"] for turn in row[name]] for name in ("prompt", "chosen", "rejected")]
        assert roles == [["user"], ["assistant"], ["assistant"]]
        assert f"boxed{{{row['answer']}}}" in row["chosen"][0]["content"]
        assert f"boxed{{{row['rejected_answer']}}}" in row["rejected"][0]["content"] != row["chosen"][0]["content"]
        lengths = sorted((row["chosen_tokens"], row["rejected_tokens"]))
        assert lengths[1] <= 1.5 * lengths[0]
    steps = datasets.load_dataset(str(version.folder), "step_labels", split="train", cache_dir=str(tmp_path))
    traces = {row["id"]: row for row in version.scan("traces").collect().iter_rows(named=True)}
    for row in steps:
        assert len(row["completions"]) == len(row["labels"]) == len(row["decided_by"]) > 0
        assert all(step in traces[row["trace_id"]]["response"] for step in row["completions"])
        assert all(row["labels"][:-1])
        wrong = traces[row["trace_id"]]["verdict"] == "wrong"
        assert not (wrong and row["labels"][-1] and "boxed" in row["completions"][-1])
    assert {label for row in steps for label in row["labels"]} == {True, False}


def test_the_hub_gives_what_the_folder_gives(version: Version, hub: Any, tmp_path: Path) -> None:
    """A trainer that reads the pushed version at its tag trains on the very same rows."""
    push(version, local_files(version), Hub("me/sums", token=TOKEN, endpoint=hub.url), public=False)
    code = "import datasets, json, sys\n"
    code += "for stage in ('sft_stage1', 'sft_stage2'):\n"
    code += "    print(json.dumps(datasets.load_dataset('me/sums', stage, revision='v1', split='train').to_list()))"
    there = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for stage, line in zip(("sft_stage1", "sft_stage2"), done.stdout.splitlines(), strict=True):
        here = datasets.load_dataset(str(version.folder), stage, split="train", cache_dir=str(tmp_path / "here"))
        assert json.loads(line) == here.to_list()


@pytest.mark.slow
@pytest.mark.model
def test_the_rewards_drive_grpo(regenerate: Callable[..., Any], tmp_path: Path) -> None:
    """The problems that are easy by their pass rate earn a reward; None for a whole group would make the mean NaN."""
    rows = []
    for a, b, right in ((1, 1, 3), (2, 2, 3), (1, 2, 3), (2, 1, 3), (847, 968, 1), (759, 486, 1)):
        texts = [LONG, SHORT, LONG + "\n"][:right] + [WRONG] * (4 - right)
        question = {"prompt": f"Calculate {a} + {b}.", "answer": str(a + b), "license": "mit"}
        rows += [question | {"response": text.format(a=a, b=b, sum=a + b, off=a + b + 1)} for text in texts]
    regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)), tmp_path / "home")
    folder = str(find(tmp_path / "home", "replayed").folder)
    (said,) = example(
        "train_grpo", folder, "--pass-rate", "0.5", "0.9", "--generations", "4", "--max-tokens", "32",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert said["rows"] == 4
    assert len(said["losses"]) == len(said["rewards"]) == 2
    assert all(math.isfinite(value) for value in said["losses"] + said["rewards"])
    assert all(0.0 <= reward <= 1.0 for reward in said["rewards"])
    assert max(said["rewards"]) > 0.0


def test_the_exported_rewards_are_the_verdicts_of_the_traces(version: Version) -> None:
    asked = {row["id"]: row for row in version.scan("rl").collect().iter_rows(named=True)}
    traces = [t for t in version.scan("traces").collect().iter_rows(named=True) if t["problem_id"] in asked]
    rows = [asked[trace["problem_id"]] for trace in traces]
    completions = [[{"role": "assistant", "content": trace["response"]}] for trace in traces]
    rewards = combined_reward(
        completions=completions, **{f"{n}s" if n == "prompt" else n: [r[n] for r in rows] for n in rows[0]}
    )
    assert rewards == [float(trace["verdict"] == "correct") for trace in traces]
    assert set(rewards) == {0.0, 1.0}


# --- templates that drop reasoning ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.model
def test_rendered_text_keeps_the_reasoning_where_a_template_drops_it(
    regenerate: Callable[..., Any], tmp_path: Path
) -> None:
    """A student with the template of the R1 distillations: messages are refused, text trains on every token."""
    from importlib.resources import files

    from proofmill.data.errors import InputError

    template = files("trl") / "chat_templates" / "deepseek_r1_distill.jinja"
    student = tiny_model.save(tmp_path / "student", template=template.read_text())
    samples = write_jsonl(tmp_path / "samples.jsonl", sums(4, (LONG, SHORT, WRONG)))
    with pytest.raises(InputError, match="hold this data as messages"):
        regenerate(replay_recipe(samples, publish={"student": str(student)}), tmp_path / "refused")
    publish = {"student": str(student), "render": "text"}
    regenerate(replay_recipe(samples, publish=publish), tmp_path / "home")
    folder = str(find(tmp_path / "home", "replayed").folder)
    said = example("train_sft", folder, "--model", str(student), "--steps", "1", "--out", str(tmp_path / "out"))
    assert "count" in said[0]["learned"]
    assert said[0]["learned"].endswith("<|im_end|>")
    assert "</think>" in said[1]["learned"]


# --- other trainers -------------------------------------------------------------------------------


def test_the_messages_config_has_the_shape_that_other_trainers_ask_for(version: Version, tmp_path: Path) -> None:
    """LLaMA-Factory: turns alternate and end with the assistant; Axolotl and open-instruct: role and content."""
    rows = datasets.load_dataset(str(version.folder), "messages", split="train", cache_dir=str(tmp_path))
    counts = version.manifest.published_rows
    assert rows.num_rows == counts["sft_stage1"] + counts["sft_stage2"] > 0
    for row in rows:
        turns = row["messages"]
        assert all(set(turn) == {"role", "content"} and turn["content"] for turn in turns)
        spoken = [turn["role"] for turn in turns if turn["role"] != "system"]
        assert spoken == ["user", "assistant"] * (len(spoken) // 2)
        assert "<think>" in turns[-1]["content"]
    (file,) = version.files("messages")
    alone = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path))
    assert alone["messages"] == rows["messages"]


def snippets() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the guide shows for LLaMA-Factory and for Axolotl."""
    import yaml

    guide = (HERE.parents[1] / "flows" / "GUIDE.md").read_text()
    part = guide.partition("\n## Other trainers")[2].partition("\n## ")[0]
    factory = json.loads(part.partition("```json\n")[2].partition("```")[0])["sums"]
    return factory, yaml.safe_load(part.partition("```yaml\n")[2].partition("```")[0])["datasets"][0]


# Keys that LLaMA-Factory's data/README.md and Axolotl's config reference name; both ignore or refuse others.
FACTORY = {"hf_hub_url", "script_url", "file_name", "formatting", "subset", "split", "revision", "columns", "tags"}
FACTORY_TAGS = {f"{n}_tag" for n in ("role", "content", "user", "assistant", "observation", "function", "system")}
AXOLOTL = {"path", "name", "split", "revision", "type", "field_messages", "message_property_mappings", "roles_to_train"}


def test_llama_factory_takes_every_row_by_its_own_rules(version: Version, tmp_path: Path) -> None:
    """Its `sharegpt` format: a system turn may come first; then user and assistant by turns, as many of each."""
    entry, _ = snippets()
    assert (entry["formatting"], set(entry) - FACTORY, set(entry["tags"]) - FACTORY_TAGS) == ("sharegpt", set(), set())
    tags = entry["tags"]
    rows = datasets.load_dataset(str(version.folder), entry["subset"], split=entry["split"], cache_dir=str(tmp_path))
    for turns in rows[entry["columns"]["messages"]]:
        roles = [turn[tags["role_tag"]] for turn in turns]
        spoken = roles[1:] if roles[0] == tags["system_tag"] else roles
        assert spoken[0::2] == [tags["user_tag"]] * (len(spoken) // 2)
        assert spoken[1::2] == [tags["assistant_tag"]] * (len(spoken) // 2)
        assert spoken
        assert all(isinstance(turn[tags["content_tag"]], str) for turn in turns)


@pytest.mark.model
def test_axolotl_and_open_instruct_train_on_the_answer_alone(version: Version, tmp_path: Path) -> None:
    """Both render the turns with the tokenizer's template and mask all but the assistant's: the prompt's tokens are a
    prefix of the whole, and what is left is the answer with its reasoning."""
    from transformers import AutoTokenizer

    _, entry = snippets()
    assert (entry["type"], set(entry) - AXOLOTL, entry["roles_to_train"]) == ("chat_template", set(), ["assistant"])
    tokenizer = AutoTokenizer.from_pretrained(str(models.resolve("bundled").path))
    rows = datasets.load_dataset(str(version.folder), entry["name"], split="train", cache_dir=str(tmp_path))
    for turns in rows[entry["field_messages"]]:
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        prompt = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
        assert whole.startswith(prompt)
        assert whole.removeprefix(prompt).startswith(turns[-1]["content"])


def test_the_guides_snippets_name_what_is_there(version: Version) -> None:
    factory, axolotl = snippets()
    config = set(version.manifest.published_rows)
    assert {factory["subset"], axolotl["name"]} == {"messages"} <= config
    assert factory["columns"]["messages"] == axolotl["field_messages"] == "messages"
    turn = datasets.Dataset.from_parquet(str(version.files("messages")[0]))[0]["messages"][-1]
    assert turn["role"] == factory["tags"]["assistant_tag"] == axolotl["roles_to_train"][0]
    assert {factory["tags"]["role_tag"], factory["tags"]["content_tag"]} == set(turn)
