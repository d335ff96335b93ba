"""Why a row of one version differs from the other's: the recorded facts that differ and could have done it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofmill.data.differences import ADDED, CHANGED, JUDGED, Group
from proofmill.data.errors import RecipeError
from proofmill.data.versions import Version
from proofmill.filters.curriculum import CAPPED
from proofmill.flows.recipe import file as recipe_file
from proofmill.flows.recipe.schema import AMOUNTS
from proofmill.flows.stages.keys import STAGES, portable

UNKNOWN = "no recorded fact explains it"
_ABSENT = object()
_VERDICTS = ("wrong", "unparsed", "truncated", "timeout", "error")
_CAPS = ("capped_pass_rate", CAPPED, "capped_mix", "capped_tokens")
_LIBRARIES = {stage.name: stage.libraries for stage in STAGES}

# By stage: recipe fields that its columns depend on, beside its code and libraries.
_FIELDS: dict[str, tuple[str, ...]] = {
    "problems": ("problems.", "seed", "limit", "samplers.*.engine."),
    "samples": ("samplers.", "prompt.", "seed"),
    "verdicts": ("verify.cpu_seconds", "verify.memory_mb", "verify.verifiers", "verify.jail"),
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
    "contamination": ("contamination", "benchmarks"),
    "learning": ("learning", "potential"),
    "near_duplicates": ("near_duplicates", "signatures"),
    "selection": ("selection", "caps", "balance"),
    "publish": ("publish", "audit", "holdout"),
}
# By drop reason: the stages whose columns decide it, and the recipe fields of its threshold.
_STAGES_OF = dict.fromkeys(_VERDICTS, ("verdicts",)) | {
    "refuted_claim": ("claims",),
    "repetition": ("quality",),
    "degenerate": ("quality",),
    "contaminated": ("contamination",),
    "near_duplicate": ("near_duplicates",),
    "in_previous": ("near_duplicates",),
    "unreliable": ("clr",),
    **dict.fromkeys(("too_short", "nll_outlier", "low_potential"), ("learning",)),
    **dict.fromkeys(_CAPS, ("claims", "clr", "quality", "learning")),
}
_THRESHOLDS: dict[str | None, tuple[str, ...]] = {
    "refuted_claim": ("claims.drop",),
    "repetition": ("quality.",),
    "degenerate": ("quality.", "curriculum."),
    "in_previous": ("dedup.",),
    "too_long": ("select.max_trace_tokens",),
    "unreliable": ("claims.",),
    **dict.fromkeys(("too_short", "nll_outlier", "low_potential"), ("quality.learning.",)),
    **dict.fromkeys(_CAPS, ("select.", "curriculum.")),
    None: ("curriculum.",),
}
_SELECTION = ("select.", "curriculum.", "quality.", "claims.", "dedup.")


@dataclass
class Facts:
    """What differs in how two versions were made.

    Attributes:
        recipe: by dotted key: (before, after); absent keys are None.
        models: by sampler, in words.
        code: stages whose code differs.
        unrecorded: a version whose manifest has no code digests; empty where both have them.
        libraries: by name: (before, after).
        inputs: files, hub folders, custom verifiers, benchmarks, in words.
    """

    recipe: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    code: set[str] = field(default_factory=set)
    unrecorded: str = ""
    libraries: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Every fact that differs."""
        code = [f"code of {stage}" for stage in sorted(self.code)]
        return [
            *self.fields(("",)),
            *self.models.values(),
            *code,
            *_told("library ", self.libraries),
            *self.inputs.values(),
        ]

    def fields(self, prefixes: Iterable[str]) -> list[str]:
        """Recipe fields under these prefixes; `*` stands for a number."""
        wanted = [prefix.split(".") for prefix in prefixes]
        return list(_told("recipe ", {key: pair for key, pair in self.recipe.items() if _under(key, wanted)}))

    def stage(self, name: str, extra: Iterable[str] = ()) -> list[str]:
        """Facts that a stage's columns depend on."""
        stages = _CODE.get(name, (name,))
        libraries = {n: pair for n, pair in self.libraries.items() if any(n in _LIBRARIES.get(s, ()) for s in stages)}
        return [
            *self.fields((*_FIELDS.get(name, (f"{name}.",)), *extra)),
            *(text for kind, text in self.inputs.items() if kind in _INPUTS.get(name, ())),
            *(f"code of {stage}" for stage in stages if stage in self.code),
            *_told("library ", libraries),
        ]


_INPUTS = {"problems": ("files", "hubs"), "verdicts": ("verifiers",), "contamination": ("benchmarks",)}


def facts_of(before: Version, after: Version) -> Facts:
    """Compares two manifests. Keys that an older recipe had not yet count as their default."""
    a, b = before.manifest, after.manifest
    recipes = [dict(_flat(portable(_resolved(manifest)))) for manifest in (a, b)]
    codes = [manifest["code_version"].get("stages") for manifest in (a, b)]
    inputs = [manifest.get("inputs", {}) | {"benchmarks": manifest.get("benchmarks")} for manifest in (a, b)]
    return Facts(
        recipe=_differing(recipes[0], recipes[1], leave_out=("name", "verify.workers")),
        models=_models(a, b),
        code={name for name in codes[0] if codes[0][name] != codes[1].get(name)} if all(codes) else set(),
        unrecorded=next((v.label for v, code in zip((before, after), codes, strict=True) if not code), ""),
        libraries=_differing(a["libraries"], b["libraries"]),
        inputs=_inputs(*inputs),
    )


def causes(group: Group, facts: Facts, *, others: bool) -> list[str]:
    """The facts that differ and could have made this difference, in words.

    Args:
        group: rows with the same difference.
        facts: what differs between the versions.
        others: whether any row was added, removed or judged otherwise, which decides whom near-duplicates repeat.
    """
    if group.kind != CHANGED:
        found = _of_presence(group, facts)
    elif (stage := _decisive(group)) is not None:
        found = facts.stage(stage)
        if stage == "near_duplicates" and others:
            found.append("other rows were added, removed or judged otherwise")
    else:
        found = _of_selection(group, facts)
    if found:
        return list(dict.fromkeys(found))
    return [f"the code, which {facts.unrecorded} doesn't record" if facts.unrecorded else UNKNOWN]


def causes_of_files(facts: Facts) -> list[str]:
    """Why files differ where no trace and no problem does."""
    found = [*facts.stage("publish"), *facts.models.values(), *facts.inputs.values()]
    return found or [f"the code, which {facts.unrecorded} doesn't record" if facts.unrecorded else UNKNOWN]


def _of_presence(group: Group, facts: Facts) -> list[str]:
    """Why a row is there on one side alone."""
    if not group.problem_known:
        return facts.stage("problems") or _of_samples(group, facts)
    if not group.sampler_known:
        return [f"recipe samplers: {group.sampler!r} is {'new' if group.kind == ADDED else 'gone'}"]
    if not group.slot_known:
        amounts = facts.fields(f"samplers.*.sampling.{name}" for name in AMOUNTS)
        return amounts or _of_samples(group, facts)
    if not group.same_model:
        models = [text for name, text in facts.models.items() if name == group.sampler]
        return models or [*facts.fields(("samplers.*.model", "samplers.*.engine.model")), *_of_files(facts)]
    return _of_samples(group, facts)


def _of_samples(group: Group, facts: Facts) -> list[str]:
    resampled = [facts.inputs["resampled"]] if "resampled" in facts.inputs else []
    models = [text for name, text in facts.models.items() if name == group.sampler]
    return [*models, *facts.stage("samples"), *_of_files(facts), *resampled]


def _of_files(facts: Facts) -> list[str]:
    return [facts.inputs[kind] for kind in ("files", "hubs") if kind in facts.inputs]


def _decisive(group: Group) -> str | None:
    """The first stage that measured otherwise and decides this change; None: the selection decided otherwise."""
    if not group.fate_changed or group.before["verdict"] != group.after["verdict"]:
        return group.judged[0] if group.judged else None
    reasons = (group.before["drop_reason"], group.after["drop_reason"])
    concerned = {stage for reason in reasons for stage in _STAGES_OF.get(reason or CAPPED, tuple(JUDGED))}
    return next((stage for stage in group.judged if stage in concerned), None)


def _of_selection(group: Group, facts: Facts) -> list[str]:
    reasons = (group.before["drop_reason"], group.after["drop_reason"])
    narrow = facts.fields(prefix for reason in reasons for prefix in _THRESHOLDS.get(reason, ()))
    found = narrow or facts.fields(_SELECTION)
    if group.siblings:
        found.append("other traces of the same problem were added, removed or judged otherwise")
    return found or facts.stage("selection")


def _resolved(manifest: Mapping[str, Any]) -> dict[str, Any]:
    try:
        recipe = recipe_file.parse(dict(manifest["recipe"])).resolved()
    except RecipeError:  # of a version whose keys are not known any more
        recipe = dict(manifest["recipe"])
    return recipe | {"limit": manifest.get("limit")}


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys; a list's items by their number, and its length by the items that are there."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        yield key, value
    for name, item in items:
        yield from _flat(item, f"{key}.{name}" if key else str(name))


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], leave_out: Sequence[str] = ()) -> dict[str, tuple[Any, Any]]:
    names = [name for name in dict.fromkeys([*a, *b]) if name not in leave_out]
    pairs = {name: (a.get(name, _ABSENT), b.get(name, _ABSENT)) for name in names}
    return {
        name: (None if x is _ABSENT else x, None if y is _ABSENT else y) for name, (x, y) in pairs.items() if x != y
    }


def _models(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, str]:
    sides = [{m["sampler"]: m for m in manifest["models"]} for manifest in (a, b)]
    found = {}
    for name in sides[0].keys() & sides[1].keys():
        one, two = sides[0][name], sides[1][name]
        parts = [f"{key} {one[key]} → {two[key]}" for key in ("model", "revision", "weights") if one[key] != two[key]]
        if parts:
            found[name] = f"model of sampler {name}: {', '.join(parts)}"
    return found


def _inputs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, str]:
    names = {"hubs": "data sets", "verifiers": "custom verifiers", "resampled": "drawn anew with --resample"}
    found = {kind: text for kind, text in names.items() if kind in a and kind in b and a[kind] != b[kind]}
    if "files" in a and "files" in b and a["files"] != b["files"]:
        changed = [list(item) for item in b["files"] if item not in a["files"]]
        gone = [item[0] for item in a["files"] if item not in b["files"] and item[0] not in [c[0] for c in changed]]
        told = ", ".join([f"{name} ({digest[:12]})" for name, digest in changed] + [f"{name} (gone)" for name in gone])
        found["files"] = f"input files: {told or 'in another order'}"
    indexes = [(side.get("benchmarks") or {}).get("digest") for side in (a, b)]
    if all(indexes) and indexes[0] != indexes[1]:
        found["benchmarks"] = f"benchmarks: index {indexes[0]} → {indexes[1]}"
    return found


def _told(kind: str, pairs: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    return (f"{kind}{name}: {before} → {after}" for name, (before, after) in pairs.items())


def _under(key: str, prefixes: Sequence[Sequence[str]]) -> bool:
    """Whether a dotted key begins with one of the prefixes, part by part; an empty last part takes anything."""
    parts = key.split(".")
    for prefix in prefixes:
        whole = [part for part in prefix if part]
        if len(parts) >= len(whole) and all(p in ("*", q) for p, q in zip(whole, parts, strict=False)):
            return True
    return False
