"""The card of a trained model: what it began from, what it was trained on and how, in a form that the hub reads."""

from __future__ import annotations

from collections.abc import Iterator

from proofmill.data.card import hub_license
from proofmill.data.model_versions import ModelManifest, StageRecord


def model_card(manifest: ModelManifest) -> str:
    """Return README.md of a model version."""
    return "\n".join([*_head(manifest), *_body(manifest)]) + "\n"


def _head(manifest: ModelManifest) -> Iterator[str]:
    yield "---"
    yield "library_name: transformers"
    licenses = {base.license for base in manifest.bases}
    if len(licenses) == 1 and (name := next(iter(licenses))) and hub_license(name):
        yield f"license: {hub_license(name)}"
    if hub_ids := [base.name for base in manifest.bases if "/" in base.name]:
        yield "base_model:"
        yield from (f"- {name}" for name in hub_ids)
    yield "tags: [proofmill]"
    yield "---"


def _body(manifest: ModelManifest) -> Iterator[str]:
    yield f"# {manifest.name}, version {manifest.version}"
    yield ""
    if manifest.weights:
        parts = zip(manifest.bases, manifest.weights, strict=True)
        yield "The average of " + ", ".join(f"{base.name} ({share:.2f})" for base, share in parts) + "."
    else:
        (base,) = manifest.bases
        data = ", ".join(record.label for record in manifest.data)
        yield f"{base.name} (weights `{base.weights}`), trained on {data} with [TRL](https://github.com/huggingface/trl)."
    yield ""
    if manifest.stages:
        yield "| stage | rows | steps | tokens learned | seconds | first loss | last loss | validation loss |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
        yield from (_row(stage) for stage in manifest.stages)
        yield ""
        yield "![Loss by step](losses.svg)"
        yield ""
    if chosen := manifest.chosen:
        yield (
            f"The checkpoint was chosen by pass@{chosen['k']} on the suite {chosen['suite']}: {chosen['chosen']} of "
            f"{', '.join(chosen['candidates'])}."
        )
        yield ""
    yield "Lineage, options, versions of libraries and the digest of every file are in `manifest.json`."
    yield "`questions.parquet` has a digest of every question that the model was trained on, by which `proofmill eval`"
    yield "leaves them out."


def _row(stage: StageRecord) -> str:
    losses = (
        "-" if loss is None else f"{loss:.4f}" for loss in (stage.first_loss, stage.last_loss, stage.validation_loss)
    )
    counts = f"{stage.rows:,} | {stage.steps:,} | {stage.tokens:,} | {stage.seconds:,.0f}"
    return f"| {stage.name} | {counts} | {' | '.join(losses)} |"
