"""Why a row of one version differs from the other's: the recorded facts that differ and could have done it."""

from __future__ import annotations

from collections.abc import Iterable

from proofmill.data.differences import ADDED, CHANGED, Group
from proofmill.data.manifest import EARLIER_FILTERS
from proofmill.filters.curriculum import CAPPED
from proofmill.flows.changes.facts import Facts
from proofmill.flows.recipe.schema import AMOUNTS
from proofmill.flows.stages.keys import STAGES

UNKNOWN = "no recorded fact explains it"
OTHERS = "other rows were added, removed or judged otherwise"
SIBLINGS = "other traces of the same problem were added, removed or judged otherwise"
_VERDICTS = ("wrong", "unparsed", "truncated", "timeout", "error")
_OF_THE_RUN = ("capped_mix", "capped_tokens")
_CAPS = ("capped_pass_rate", CAPPED, *_OF_THE_RUN)
_LEARNING = ("too_short", "nll_outlier", "low_potential")
_LIBRARIES = {stage.name: stage.libraries for stage in STAGES}

# By stage: recipe fields that its columns depend on, beside its code and libraries.
_FIELDS: dict[str, tuple[str, ...]] = {
    "problems": ("problems.", "seed", "limit", "samplers.*.engine."),
    "samples": ("samplers.", "prompt.", "seed"),
    "verdicts": (
        "verify.cpu_seconds",
        "verify.memory_mb",
        "verify.verifiers",
        "verify.jail",
        "problems.pseudo_labels.",
    ),
    "claims": ("claims.scope", "verify.cpu_seconds"),
    "clr": ("claims.model.",),
    "quality": (),
    "learning": ("quality.learning.", "publish.student"),
    "contamination": ("decontaminate.",),
    "near_duplicates": ("dedup.",),
    "publish": ("publish.", "prompt.", "select.", "curriculum."),
}
_CODE: dict[str, tuple[str, ...]] = {
    "problems": ("problems", "recorded"),
    "verdicts": ("verdicts", "votes", "labels"),
    "contamination": ("contamination", "benchmarks"),
    "learning": ("learning", "potential"),
    "near_duplicates": ("near_duplicates", "signatures"),
    "selection": ("selection", "caps", "balance"),
    "publish": ("publish", "audit", "holdout"),
}
_INPUTS = {"problems": ("files", "hubs"), "verdicts": ("verifiers",), "contamination": ("benchmarks",)}
# By drop reason: the stages whose columns decide it, and the recipe fields of its threshold.
_EVERY_FILTER = tuple(record.name for record in EARLIER_FILTERS)
_STAGES_OF = dict.fromkeys(_VERDICTS, ("verdicts",)) | {
    "refuted_claim": ("claims",),
    "repetition": ("quality",),
    "degenerate": ("quality",),
    "contaminated": ("contamination",),
    "near_duplicate": ("near_duplicates",),
    "in_previous": ("near_duplicates",),
    "unreliable": ("clr",),
    **dict.fromkeys(_LEARNING, ("learning",)),
    **dict.fromkeys(_CAPS, ("claims", "clr", "quality", "learning")),
}
_THRESHOLDS: dict[str | None, tuple[str, ...]] = {
    "refuted_claim": ("claims.drop",),
    "repetition": ("quality.",),
    "degenerate": ("quality.", "curriculum."),
    "in_previous": ("dedup.",),
    "too_long": ("select.max_trace_tokens",),
    "unreliable": ("claims.",),
    **dict.fromkeys(_LEARNING, ("quality.learning.",)),
    **dict.fromkeys(_CAPS, ("select.", "curriculum.")),
    None: ("curriculum.",),
}
_SELECTION = ("select.", "curriculum.", "quality.", "claims.", "dedup.")
# By config that holds more than the traces' fates: the stages that fill it.
_FILLED = {
    "problems": ("problems", "verdicts", "contamination", "publish"),
    "claims": ("claims", "clr"),
    "pass_rates": ("verdicts", "samples"),
}


def causes(group: Group, facts: Facts, *, others: bool, moved: bool) -> list[str]:
    """The facts that differ and could have made this difference, in words.

    Args:
        group: rows with the same difference.
        facts: what differs between the versions.
        others: whether any row was added, removed or judged otherwise, which decides whom near-duplicates repeat.
        moved: whether any row was, or has another fate for what a stage measured, which decides the caps of the run.
    """
    if group.kind != CHANGED:
        found = _of_presence(group, facts)
    elif (stage := _decisive(group)) is not None:
        found = of_stage(facts, stage)
        if stage == "near_duplicates" and others:
            found.append(OTHERS)
        if stage == "verdicts" and facts.voted and group.siblings and not found:
            found.append(SIBLINGS)
    else:
        found = _of_selection(group, facts, moved=moved)
    return _or_unknown(found, facts)


def causes_of_files(facts: Facts, configs: Iterable[str]) -> list[str]:
    """Why files of these configs differ where no trace does."""
    stages = dict.fromkeys(stage for config in configs for stage in _FILLED.get(config, ("publish",)))
    found = [line for stage in stages for line in of_stage(facts, stage)]
    return _or_unknown([*found, *facts.models.values(), *facts.of_inputs("files", "hubs", "resampled")], facts)


def of_stage(facts: Facts, name: str) -> list[str]:
    """Facts that a stage's columns depend on."""
    stages = _CODE.get(name, (name,))
    return [
        *facts.fields(_FIELDS.get(name, (f"{name}.",))),
        *facts.of_inputs(*_INPUTS.get(name, ())),
        *(facts.code[stage] for stage in stages if stage in facts.code),
        *facts.versions({library for stage in stages for library in _LIBRARIES.get(stage, ())}),
    ]


def _or_unknown(found: list[str], facts: Facts) -> list[str]:
    if found:
        return list(dict.fromkeys(found))
    return [f"the code, which {facts.unrecorded} doesn't record" if facts.unrecorded else UNKNOWN]


def _of_presence(group: Group, facts: Facts) -> list[str]:
    """Why a row is there on one side alone."""
    if not group.problem_known:
        return of_stage(facts, "problems") or _of_samples(group, facts)
    if not group.sampler_known:
        return [f"recipe samplers: {group.sampler!r} is {'new' if group.kind == ADDED else 'gone'}"]
    if not group.slot_known:
        amounts = facts.fields(f"samplers.*.sampling.{name}" for name in AMOUNTS)
        return amounts or _of_samples(group, facts)
    if not group.same_model:
        models = [text for name, text in facts.models.items() if name == group.sampler]
        return models or [
            *facts.fields(("samplers.*.model", "samplers.*.engine.model")),
            *facts.of_inputs("files", "hubs"),
        ]
    return _of_samples(group, facts)


def _of_samples(group: Group, facts: Facts) -> list[str]:
    models = [text for name, text in facts.models.items() if name == group.sampler]
    return [*models, *of_stage(facts, "samples"), *facts.of_inputs("files", "hubs", "resampled")]


def _decisive(group: Group) -> str | None:
    """The first stage that measured otherwise and decides this change; None: the selection decided otherwise."""
    if not group.fate_changed or group.before["verdict"] != group.after["verdict"]:
        return group.judged[0] if group.judged else None
    reasons = (group.before["drop_reason"], group.after["drop_reason"])
    concerned = {stage for reason in reasons for stage in _STAGES_OF.get(reason or CAPPED, _EVERY_FILTER)}
    return next((stage for stage in group.judged if stage in concerned), None)


def _of_selection(group: Group, facts: Facts, *, moved: bool) -> list[str]:
    reasons = (group.before["drop_reason"], group.after["drop_reason"])
    narrow = facts.fields(prefix for reason in reasons for prefix in _THRESHOLDS.get(reason, ()))
    found = [*(narrow or facts.fields(_SELECTION)), *of_stage(facts, "selection")]
    if moved and {*reasons} & {*_OF_THE_RUN, *_LEARNING}:
        found.append(OTHERS)
    elif group.siblings:
        found.append(SIBLINGS)
    return found
