"""The dataset card: a README.md that the hub's viewer and `load_dataset` understand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from proofmill.data.errors import InputError
from proofmill.data.files import digest
from proofmill.data.manifest import Benchmarks, FileEntry, Manifest
from proofmill.data.version_files import Contents

TRAINING = ("sft_stage1", "sft_stage2", "rl", "pairs", "step_labels", "messages")
_ORDER = (*TRAINING, "traces", "problems", "pass_rates", "routes", "expansion", "claims")
_ABOUT = {
    "sft_stage1": "stage 1: proven long chains of thought, several paths a problem",
    "sft_stage2": "stage 2: short answers (or the hard subset)",
    "rl": "prompts with verifiable rewards, weighted by how much they can still teach",
    "pairs": "proven traces beside wrong ones of the same problem and like length, for DPO",
    "step_labels": "steps that exact checks, verdicts or a model call right or wrong, for process reward models",
    "messages": "the rows of both stages as one list of messages",
    "traces": "every sampled row with its verdict and the reason why it was dropped; nothing is thrown away",
    "problems": "the problems with gold answer, source and licence",
    "pass_rates": "how often each sampler solved each problem",
    "routes": "which model answers each problem, why, and at what cost",
    "expansion": "every new problem that was written, with the reason why it was left out",
    "claims": "one row a checked claim",
}
_NAMES = {"float": "float32", "double": "float64"}  # Arrow types that `datasets` calls by another name


def render(manifest: Manifest, contents: Mapping[str, Contents]) -> str:
    """Return the card as Markdown with a YAML head. It holds no dates, so equal data gives an equal card.

    Args:
        manifest: of the version; lists the Parquet files, and not yet the card itself.
        contents: what the files hold, by config and split (`sft_stage1/train`).
    """
    name, files = manifest.name, [file for file in manifest.files if file.path.endswith(".parquet")]
    configs = _configs(files)
    published = {
        f"{config}/{split}": contents[f"{config}/{split}"] for config, splits in configs.items() for split, _ in splits
    }
    head = {
        "pretty_name": name,
        **_license_head(manifest.licenses),
        "size_categories": [_size(max((manifest.published_rows.get(config, 0) for config in TRAINING), default=0))],
        "task_categories": ["text-generation"],
        "tags": ["reasoning", "verified", "proofmill"],
        "configs": [
            {"config_name": config, "data_files": [{"split": split, "path": path} for split, path in splits]}
            | ({"default": True} if config == "sft_stage1" else {})
            | {"description": f"{_ABOUT[config]}; content {_content(config, files)}"}
            for config, splits in configs.items()
        ],
        "dataset_info": dataset_info(published, files),
    }
    body = [
        f"# {name}",
        "Reasoning traces that a language model wrote and a program proved: every kept row has a verdict, "
        "every dropped row says why.",
        "## What is in it",
        _table(("config", "rows", "what"), _contents(manifest, configs)),
        "## How it was made",
        _models(manifest),
        *_cost(manifest),
        *_expansion(manifest),
        *_routing(manifest),
        "## Where the rows went",
        _table(("step", "in", "kept", "dropped"), _funnel(manifest)),
        "## Decontamination",
        _decontamination(manifest.benchmarks, (manifest.recipe.get("decontaminate") or {}).get("meaning")),
        "## Licences",
        "Every row names its source and its licence. Rows by both:",
        _licenses(manifest.terms),
        "## Limits",
        "A verdict proves the final answer. Intermediate steps were checked where an exact check exists (config "
        "`claims`); `claim_coverage` says which share of the steps that is. All problems are of kinds that a program "
        "can check; open questions and dialogue are out of scope.",
        "## Load and train",
        _usage(manifest),
        "## Recipe",
        "```yaml\n" + yaml.safe_dump(manifest.shown_recipe, sort_keys=False, allow_unicode=True) + "```",
    ]
    head_text: str = yaml.safe_dump(head, sort_keys=False)
    return f"---\n{head_text}---\n\n" + "\n\n".join(body) + "\n"


def _configs(files: Sequence[FileEntry]) -> dict[str, list[tuple[str, str]]]:
    """Return the splits of each config that has rows, as (split, glob); an empty config would break the hub's
    viewer.
    """
    by_config: dict[str, set[str]] = {}
    for file in files:
        split = file.path.rpartition("/")[2].partition("-")[0]
        by_config.setdefault(file.config, set()).add(split)
    listed = [config for config in _ORDER if config in by_config]
    return {config: [(s, f"{config}/{s}-*.parquet") for s in sorted(by_config[config])] for config in listed}


def _content(config: str, files: Sequence[FileEntry]) -> str:
    """Return a digest of one config's files.

    `datasets` caches a local folder under its name and its card's `configs` alone, so without this digest
    `load_dataset` would answer for one version with the rows of another.
    """
    return digest([file.sha256 for file in files if file.config == config])


def _license_head(licenses: Sequence[str | None]) -> dict[str, str]:
    """Return the card's licence keys: the hub's name if one covers all rows, else `other` and an id made of all
    names.
    """
    names = sorted({(name or UNKNOWN).lower() for name in licenses})
    if len(names) == 1 and (known := hub_license(names[0])):
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.+]+", "-", "-and-".join(names)).strip("-")}


def _licenses(terms: Sequence[tuple[str, str, str | None, int]]) -> str:
    """Return a Markdown table of published rows by licence, source and config."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for config, source, name, count in terms:
        counts.setdefault((name or UNKNOWN, source), {})[config] = count
    shown = [config for config in _ORDER if any(config in by_config for by_config in counts.values())]
    rows = [
        (name, source, *(f"{by_config.get(config, 0):,}" for config in shown))
        for (name, source), by_config in sorted(counts.items())
    ]
    return _table(("licence", "source", *(f"`{config}`" for config in shown)), rows)


def _size(rows: int) -> str:
    """Return the hub's size category for a number of rows."""
    limits = ((1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M"), (10_000_000, "10M"))
    below = "n"
    for limit, name in limits:
        if rows < limit:
            return f"{below}<n<{name}" if below != "n" else f"n<{name}"
        below = name
    return "n>10M"


def _contents(manifest: Manifest, configs: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = manifest.published_rows
    return [(f"`{config}`", f"{rows[config]:,}", _ABOUT[config]) for config in configs]


def _models(manifest: Manifest) -> str:
    lines = [
        f"- sampler `{m.sampler}`: {m.model}, revision `{m.revision}`, weights `{m.weights}`" for m in manifest.models
    ]
    if not lines:
        lines = ["No model was sampled for this version: its samples were recorded before, and are replayed.", ""]
    lines += [f"- recorded samples by {name}" for name in manifest.recorded_models]
    if judge := manifest.answer_judge:
        lines.append(
            f"- {judge.model}, weights `{judge.weights}`, judged the answers that rules could not decide: "
            f"{judge.share:.1%} of the verdicts, those whose `verdict_detail` is `model_judge`"
        )
    if near := manifest.near_judge:
        lines.append(
            f"- {near.model}, weights `{near.weights}`, compared {sum(near.counts.values()):,} problems with benchmark "
            f"items near them, and called {near.counts.get('same', 0):,} the same; these and their traces are left out"
        )
    if short := manifest.rewritings:
        lines.append(
            f"- {short.model}, weights `{short.weights}`, condensed {short.traces:,} proven traces: "
            f"{short.tries.kept:,} of {short.tries.entered:,} tries were proven too and are short; "
            "the rows with `form` rewritten are of these"
        )
    return "\n".join(lines)


def _cost(manifest: Manifest) -> list[str]:
    kept, tokens = manifest.selection.kept, manifest.tokens.sampled
    if not kept or not tokens:
        return []
    money = f", and {manifest.route.cost / kept:.4g} of money at the recipe's prices" if manifest.route else ""
    return [f"The traces took {tokens:,} completion tokens: {tokens / kept:,.0f} a kept trace{money}."]


def _expansion(manifest: Manifest) -> list[str]:
    if not manifest.expansion:
        return []
    return [
        "## New problems",
        "Operators made new problems of those of the sources. They have no gold answer: where `pseudo_label` is set, "
        "enough samples agreed on the answer. `parents`, `operator` and `model` say where each comes from; it has the "
        "licence of its parents.",
        _table(("operator", "written", "kept", "left out", "tokens a kept one"), funnel_by_operator(manifest)),
    ]


def funnel_by_operator(manifest: Manifest) -> list[tuple[str, ...]]:
    """Return a row for each operator of `problems.expand`: what it wrote, what was kept, what was not, its cost."""
    rows: list[tuple[str, ...]] = []
    for found in manifest.expansion:
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in found.dropped.items()) or "-"
        share = f"{found.kept:,} ({found.kept / found.written:.1%})" if found.written else "0"
        cost = "-" if found.tokens_per_kept is None else f"{found.tokens_per_kept:,.0f}"
        rows.append((found.operator, f"{found.written:,}", share, dropped, cost))
    return rows


def _routing(manifest: Manifest) -> list[str]:
    if not (found := manifest.route):
        return []
    small, waiting = found.models[0], found.waiting
    rows = [
        (f"`{m.sampler}`", f"{m.price:g}", f"{m.prompt_price:g}", f"{m.tried:,}", f"{m.answers:,}", f"{m.cost:.4g}")
        for m in found.models
    ]
    beside = (
        ""
        if found.large_alone is None
        else f", where the dearest teacher alone would cost about {found.large_alone:.4g}"
    )
    return [
        "## Routing",
        f"What `{small.sampler}` could not prove went on to teachers. {found.proven:,} of {found.problems:,} problems "
        f"are proven, at a cost of {found.cost:.4g}{beside}. The config `routes` has every problem, `policy.json` the "
        "policy by domain and pass rate."
        + (
            f" Teachers could not be asked about some problems, which are not proven yet: {waiting}." if waiting else ""
        ),
        _table(("sampler", "price of a million tokens", "of the prompts", "tried", "answers", "cost"), rows),
    ]


def _funnel(manifest: Manifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, step in manifest.stages.items():
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in step.dropped.items())
        rows.append((name, f"{step.entered:,}", f"{step.kept:,}", dropped or "-"))
    return rows


def _decontamination(benchmarks: Benchmarks | None, meaning: Mapping[str, Any] | None) -> str:
    if not benchmarks or not benchmarks.items:
        return "Not compared with any benchmark."
    names = ", ".join(f"{name} ({count:,} items)" for name, count in benchmarks.items.items())
    return (
        f"Prompts and traces that share a run of {benchmarks.n} words with an item of these benchmarks were left "
        f"out: {names}. The columns `contaminated_by` and `contaminated_span` say which, and which words. "
        f"Digest of the index: `{benchmarks.digest}`."
        + (
            f" Prompts that say an item in other words (nearness {meaning['threshold']} and more) were left out too."
            if meaning
            else " Items in other words were not looked for."
        )
    )


def _usage(manifest: Manifest) -> str:
    longest = manifest.tokens.longest_row
    need = (
        f"The longest row has {longest:,} tokens: give the trainer `max_length={longest}` or more.\n\n"
        if longest
        else ""
    )
    return (
        f"{need}```python\nfrom datasets import load_dataset\n\n"
        'stage1 = load_dataset("path/to/this/folder", "sft_stage1", split="train")\n'
        'stage2 = load_dataset("path/to/this/folder", "sft_stage2", split="train")\n```\n\n'
        "Both go into TRL's `SFTTrainer` as they are, stage 1 first; `rl` goes into its `GRPOTrainer` with the "
        "rewards of `proofmill.filters.rewards`." + _more_usage(manifest)
    )


def _more_usage(manifest: Manifest) -> str:
    """Return what to do with the configs that only some versions have."""
    rows, text = manifest.published_rows, ""
    if rows.get("pairs"):
        longest = manifest.tokens.longest_pair
        limit = f", with `max_length={longest}` or more" if longest else ""
        text += f" `pairs` goes into its `DPOTrainer`{limit}."
    if rows.get("step_labels"):
        text += (
            " `step_labels` has the columns of TRL's stepwise supervision (`prompt`, `completions`, `labels`). A label "
            "speaks of its own step: steps that nothing decided stand in the prompt, without a label."
        )
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells])


# --- `dataset_info`: columns, rows and bytes of every config, so that the hub and `load_dataset` need not look -----


def dataset_info(contents: Mapping[str, Contents], files: Sequence[FileEntry]) -> list[dict[str, Any]]:
    """Return the card's `dataset_info` block, one entry a config, in the order given.

    Args:
        contents: by config and split (`sft_stage1/train`).
        files: path and bytes of every published file.
    """
    configs: dict[str, dict[str, Contents]] = {}
    for name, content in contents.items():
        config, _, split = name.partition("/")
        configs.setdefault(config, {})[split] = content
    return [_entry(config, splits, files) for config, splits in configs.items()]


def _entry(config: str, splits: Mapping[str, Contents], files: Sequence[FileEntry]) -> dict[str, Any]:
    return {
        "config_name": config,
        "features": features(next(iter(splits.values())).schema),
        "splits": [
            {"name": split, "num_bytes": content.memory, "num_examples": content.rows}
            for split, content in sorted(splits.items())
        ],
        "download_size": sum(file.bytes for file in files if file.config == config),
        "dataset_size": sum(content.memory for content in splits.values()),
    }


def features(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the columns as the card's YAML has them, in the form that `datasets.Features` reads and writes."""
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("struct") or inner.get("dtype") or inner}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name, **_feature(field.type)} for field in kind]}
    return {"dtype": _NAMES.get(str(kind), str(kind))}


# --- licences: which ones may be published without being allowed by name ----------------------------------------

UNKNOWN = "unknown"
_RESTRICTIVE = re.compile(
    r"(?<![a-z])(nc|nd|non[-_ ]?commercial|research|proprietary|other|none|noassertion|all[-_ ]rights)(?![a-z])"
)

_HUB = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0
    gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail
    openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib
    """.split()  # noqa: SIM905 (readable as it is)
)
"""Licences that the hub knows by name (its documentation, "Licenses"); any other is `other` with a name."""


def hub_license(name: str) -> str | None:
    """Return the hub's name of a licence, or None where it has none."""
    return name.lower() if name.lower() in _HUB else None


def check_licenses(licenses: Iterable[str | None], allowed: Iterable[str]) -> None:
    """Refuse licences that are unknown, non-commercial or forbid derivatives, unless they are allowed by name.

    Raises:
        InputError: names the licences and how to allow them.
    """
    allowed = {name.lower() for name in allowed}
    names = {(name or UNKNOWN).lower() for name in licenses}
    refused = sorted(name for name in names - allowed if name == UNKNOWN or _RESTRICTIVE.search(name))
    if refused:
        raise InputError(
            f"The licence of some problems is {' or '.join(refused)}, so they can't be published as they are.",
            where="recipe keys problems.sources[].license and samplers[].engine.license",
            remedy="state the source's licence there, or allow it: "
            f"--set 'publish.allow_licenses=[{', '.join(refused)}]'",
        )
