"""Find the recorded facts that differ between two versions, and which of them made a row differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofmill.data.differences import ADDED, CHANGED, Group
from proofmill.data.errors import RecipeError
from proofmill.data.manifest import Benchmarks, Manifest
from proofmill.data.sections import portable
from proofmill.data.versions import Version
from proofmill.filters.caps import CAPPED_MIX, CAPPED_TEACHER, CAPPED_TOKENS
from proofmill.filters.catalog import FILTERS
from proofmill.filters.curriculum import CAPPED
from proofmill.filters.domains import DOMAINS
from proofmill.filters.learning_potential import LOW_POTENTIAL, NLL_OUTLIER, TOO_SHORT
from proofmill.filters.selection import RULES
from proofmill.flows.expansion import STEPS as EXPANSION_STEPS
from proofmill.flows.recipe import load as recipe_file
from proofmill.flows.recipe.schema import AMOUNTS

_KINDS = ("kind", "strategy")  # where they differ, the keys of one kind alone say nothing
_LABELS = ("name", "source", "path", "task")  # by which an item of a list is known again
_UNDECIDING = ("name", "verify.workers")
_INPUT_KINDS = (
    ("files", "input file"),
    ("hubs", "data set file"),
    ("verifiers", "custom verifier of"),
    ("filters", "your filter"),
)
_SHOWN_CHARACTERS, _DIGEST_CHARACTERS = 160, 8

Pair = tuple[Any, Any]


@dataclass
class ManifestDiff:
    """What differs in how two versions were made.

    Attributes:
        recipe: by dotted key: (before, after); what is not there is None, and a new section or item stands as a whole.
        models: by sampler, in words.
        code: by step whose version differs, in words.
        unrecorded: a version whose manifest has no versions of steps; empty where both have them.
        libraries: by name: (before, after).
        inputs: by kind (files, hubs, custom verifiers, benchmarks, resampled), in words.
        voted: whether either version has answers that samples voted for.
    """

    recipe: dict[str, Pair] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    unrecorded: str = ""
    libraries: dict[str, Pair] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    voted: bool = False

    def lines(self) -> list[str]:
        """Return every fact that differs."""
        inputs = [line for lines in self.inputs.values() for line in lines]
        return [*self.fields(("",)), *self.models.values(), *self.code.values(), *self.versions(), *inputs]

    def fields(self, prefixes: Iterable[str]) -> list[str]:
        """Return the recipe fields under these prefixes; `*` stands for a number."""
        wanted = [prefix.split(".") for prefix in prefixes]
        return list(_described("recipe ", {key: pair for key, pair in self.recipe.items() if _under(key, wanted)}))

    def versions(self, names: Iterable[str] | None = None) -> list[str]:
        """Return the libraries of other versions: all, or some."""
        return list(
            _described("library ", {n: pair for n, pair in self.libraries.items() if names is None or n in names})
        )

    def changed_inputs(self, *kinds: str) -> list[str]:
        """Return the changed inputs of these kinds."""
        return [line for kind in kinds for line in self.inputs.get(kind, ())]


def manifest_diff(before: Version, after: Version) -> ManifestDiff:
    """Compare two manifests; keys that an older recipe did not have yet count as their default."""
    a, b = before.manifest, after.manifest
    recipes = [portable(_resolved(manifest)) for manifest in (a, b)]
    codes = [manifest.code_version.steps for manifest in (a, b)]
    return ManifestDiff(
        recipe={key: pair for key, pair in _differing(*recipes) if key not in _UNDECIDING},
        models=_models(a, b),
        code=_code(*codes) if all(codes) else {},
        unrecorded=next((v.label for v, code in zip((before, after), codes, strict=True) if not code), ""),
        # A library that one side does not record decided nothing there, or not by its version.
        libraries={
            name: (a.libraries[name], b.libraries[name])
            for name in a.libraries
            if name in b.libraries and a.libraries[name] != b.libraries[name]
        },
        inputs=_inputs(a.inputs.to_json(), b.inputs.to_json()) | _benchmarks(a, b),
        voted=any(recipe.get("problems", {}).get("pseudo_labels") for recipe in recipes),
    )


def _resolved(manifest: Manifest) -> dict[str, Any]:
    try:
        recipe = recipe_file.parse(dict(manifest.recipe)).resolved()
    except RecipeError:  # of a version whose keys are not known any more
        recipe = dict(manifest.recipe)
    return recipe | {"limit": manifest.limit}


def _differing(a: Any, b: Any, key: str = "") -> Iterator[tuple[str, Pair]]:
    """Yield the dotted keys that differ, with both values; None and a missing key are the same."""
    if a == b:
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        other_kind = any(a.get(name) != b.get(name) for name in _KINDS)
        for name in dict.fromkeys([*a, *b]):
            if (name in a and name in b) or not other_kind:
                yield from _differing(a.get(name), b.get(name), f"{key}.{name}" if key else str(name))
    elif _of_sections(a) and _of_sections(b) and [*a, *b]:
        yield from _differing_items(a, b, key)
    else:
        yield key, (a, b)


def _of_sections(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _differing_items(a: list[Any], b: list[Any], key: str) -> Iterator[tuple[str, Pair]]:
    """Yield what differs between two lists: items with the same label are compared, the others in their order."""
    labels = [[_label(item) for item in side] for side in (a, b)]
    pairs = [(labels[0].index(label), place) for place, label in enumerate(labels[1]) if label in labels[0]]
    left = [place for place in range(len(a)) if place not in dict(pairs)]
    right = [place for place in range(len(b)) if place not in dict(pairs).values()]
    together = min(len(left), len(right))
    pairs += zip(left, right, strict=False)
    edits = [pair for i, j in sorted(pairs, key=lambda p: p[1]) for pair in _differing(a[i], b[j], f"{key}.{j}")]
    edits += [(f"{key}.{i}", (a[i], None)) for i in left[together:]]
    edits += [(f"{key}.{j}", (None, b[j])) for j in right[together:]]
    yield from edits or [(key, (labels[0], labels[1]))]  # the same items in another order


def _label(item: Mapping[str, Any]) -> str:
    return next((str(item[name]) for name in _LABELS if item.get(name)), repr(item))


def _models(a: Manifest, b: Manifest) -> dict[str, str]:
    sides = [{model.sampler: model.to_json() for model in manifest.models} for manifest in (a, b)]
    changed = {}
    for name in sides[0].keys() & sides[1].keys():
        one, two = sides[0][name], sides[1][name]
        parts = [f"{key} {one[key]} → {two[key]}" for key in ("model", "revision", "weights") if one[key] != two[key]]
        if parts:
            changed[name] = f"model of sampler {name}: {', '.join(parts)}"
    return changed


def _code(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, str]:
    versions = {name: tuple(side.get(name, "none") for side in (a, b)) for name in (*a, *b)}
    return {name: f"code of {name}: version {old} → {new}" for name, (old, new) in versions.items() if old != new}


def _inputs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what came from outside, of the kinds that both manifests record."""
    changed = {}
    for kind, label in _INPUT_KINDS:
        if kind in a and kind in b and a[kind] != b[kind]:
            sides = [_digests(kind, side[kind]) for side in (a, b)]
            changed[kind] = list(_edits(label, *sides)) or [f"{label}s: in another order"]
    if a.get("resampled", 0) != b.get("resampled", 0):
        changed["resampled"] = ["drawn anew with --resample"]
    return changed


def _digests(kind: str, known: Any) -> dict[str, str]:
    """Return digests by name; those of files with the same name are joined."""
    pairs = known.items() if kind in ("verifiers", "filters") else known
    if kind == "hubs":  # one mapping a data set
        pairs = [pair for files in known for pair in files.items()]
    digests: dict[str, str] = {}
    for name, value in pairs:
        digests[name] = digests.get(name, "") + value
    return digests


def _edits(label: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*b, *a]):
        if name not in a or name not in b:
            yield f"{label} {name}: {'new' if name in b else 'gone'}"
        elif a[name] != b[name]:
            yield f"{label} {name}: {_short(a[name])} → {_short(b[name])}"


def _benchmarks(a: Manifest, b: Manifest) -> dict[str, list[str]]:
    """Return the benchmarks whose content changed; the recipe's own difference shows added and removed ones."""
    indexes = [manifest.benchmarks or Benchmarks() for manifest in (a, b)]
    digests = [index.digest for index in indexes]
    if not all(digests) or digests[0] == digests[1]:
        return {}
    sides = [{item["called"]: item["file"] for item in index.sources} for index in indexes]
    both = [{name: side[name] for name in sides[0] if name in sides[1] and side[name]} for side in sides]
    asked = [manifest.recipe.get("decontaminate") for manifest in (a, b)]
    edited = list(_edits("benchmark", *both))
    if not edited and asked[0] == asked[1]:
        edited = [f"items of the benchmarks: index {_short(digests[0])} → {_short(digests[1])}"]
    return {"benchmarks": edited} if edited else {}


def _described(kind: str, pairs: Mapping[str, Pair]) -> Iterator[str]:
    return (f"{kind}{name}: {_brief(before)} → {_brief(after)}" for name, (before, after) in pairs.items())


def _brief(value: Any) -> str:
    """Return a value in one short line; of a section what it sets."""
    text = _plain(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _plain(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return (
        "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in value.items() if item not in (None, [], {})) + "}"
    )


def _short(value: str | None) -> str:
    return (value or "none")[:_DIGEST_CHARACTERS]


def _under(key: str, prefixes: Sequence[Sequence[str]]) -> bool:
    """Return whether a dotted key begins with one of the prefixes, part by part; an empty last part takes anything."""
    parts = key.split(".")
    for prefix in prefixes:
        whole = [part for part in prefix if part]
        if len(parts) >= len(whole) and all(p in ("*", q) for p, q in zip(whole, parts, strict=False)):
            return True
    return False


# --- causes ---------------------------------------------------------------------------------------

UNKNOWN = "no recorded fact explains it"
OTHERS = "other rows were added, removed or judged otherwise"
SIBLINGS = "other traces of the same problem were added, removed or judged otherwise"
_OF_THE_RUN = (CAPPED_TEACHER, CAPPED_MIX, CAPPED_TOKENS)
_CAPS = ("capped_pass_rate", CAPPED, *_OF_THE_RUN)
_RANKED_BY = ("claims", "clr", "quality", "nll")  # what decides which traces a cap lets through

# Recipe fields and inputs that columns depend on beside a filter's own options and version.
_MORE_FIELDS: dict[str, tuple[str, ...]] = {
    "problems": ("problems.", "seed", "limit", "samplers.*.engine."),
    "samples": ("samplers.", "prompt.", "seed"),
    "verdicts": ("problems.pseudo_labels.", "verify.judge."),
    "claims": ("verify.cpu_seconds",),
    "clr": ("claims.model.",),
    "nll": ("quality.learning.", "publish.student"),
    "contamination": ("decontaminate.",),
    "near_duplicates": ("dedup.",),
    "selection": ("selection.",),
    "publish": ("publish.", "prompt.", "select.", "curriculum."),
}
_INPUTS = {"problems": ("files", "hubs"), "verdicts": ("verifiers",), "contamination": ("benchmarks",)}
# Steps whose version belongs to columns that another one writes.
_MORE_STEPS: dict[str, tuple[str, ...]] = {
    "problems": (
        *("recorded", "problems_left", "topic_asked", "topics", "labelled_problems"),
        *(step.name for step in EXPANSION_STEPS),
    ),
    "verdicts": ("votes", "labels", "judge_asked", "model_judged", *(f"verdicts of {name}" for name in DOMAINS)),
    "clr": ("clr_named", "clr_judged"),
    "contamination": ("benchmarks", "near_asked", "near_problems", "near_traces"),
    "nll": ("learning", "potential"),
    "near_duplicates": ("signatures",),
    "selection": ("caps", "balance", "topic_asked", "topics"),
    "publish": (
        *("audit", "guess_rates", "contaminated_problems", "holdout", "prompt_signatures"),
        *("to_rewrite", "rewrite_asked", "short_solutions"),
    ),
}
_FILTERS = {filter_.name: filter_ for filter_ in FILTERS}
_SELECTION = ("select.", "curriculum.", "quality.", "claims.", "dedup.")
# By config that holds more than the traces' fates: the stages that fill it.
_FILLED = {
    "problems": ("problems", "verdicts", "contamination", "publish"),
    "claims": ("claims", "clr"),
    "pass_rates": ("verdicts", "samples"),
}


def causes(group: Group, facts: ManifestDiff, *, others: bool, moved: bool) -> list[str]:
    """Return the facts that differ and could have made this difference, in words.

    Args:
        group: rows with the same difference.
        facts: what differs between the versions.
        others: whether any row was added, removed or judged otherwise, which decides whom near-duplicates repeat.
        moved: whether any row was, or has another fate for what a stage measured, which decides the caps of the run.
    """
    if group.kind != CHANGED:
        lines = _of_presence(group, facts)
    elif (stage := _decisive(group)) is not None:
        lines = facts_of_step(facts, stage)
        if stage == "near_duplicates" and others:
            lines.append(OTHERS)
        hangs_on_siblings = stage == "luck" or (stage == "verdicts" and facts.voted)
        if hangs_on_siblings and group.siblings and not lines:
            lines.append(SIBLINGS)
    else:
        lines = _of_selection(group, facts, moved=moved)
    return _or_unknown(lines, facts)


def causes_of_files(facts: ManifestDiff, configs: Iterable[str]) -> list[str]:
    """Return why files of these configs differ where no trace does."""
    stages = dict.fromkeys(stage for config in configs for stage in _FILLED.get(config, ("publish",)))
    lines = [line for stage in stages for line in facts_of_step(facts, stage)]
    lines += [*facts.models.values(), *facts.changed_inputs("files", "hubs", "resampled")]
    return _or_unknown(lines or [*facts.code.values()], facts)  # such as a filter that one side has not


def facts_of_step(facts: ManifestDiff, name: str) -> list[str]:
    """Return the facts that the columns of a filter, or of another step, depend on."""
    filter_ = _FILTERS.get(name)
    own = tuple(f"{filter_.section}.{key}" for key in filter_.keyed_by) if filter_ else ()
    steps = (name, *_MORE_STEPS.get(name, ()))
    libraries = {library for step in steps if step in _FILTERS for library in _FILTERS[step].libraries}
    libraries |= {"pyarrow", "polars", "transformers"} if name == "publish" else set()
    return [
        *facts.fields((*own, *_MORE_FIELDS.get(name, () if filter_ else (f"{name}.", "filters.")))),
        *facts.changed_inputs(*_INPUTS.get(name, ("filters",))),
        *(facts.code[step] for step in steps if step in facts.code),
        *facts.versions(libraries),
    ]


def _judges_of(reason: str | None) -> tuple[str, ...]:
    """Return the filters whose published columns decide a drop reason; all that rank traces, for a cap."""
    if reason in _CAPS:
        return _RANKED_BY
    filter_ = next((filter_ for filter_ in FILTERS for rule in filter_.rules if rule.reason == reason), None)
    if filter_ is None:  # a user's own filter, or the section `select`
        return ()
    if filter_.adds.names:
        return (filter_.name,)
    return tuple(other.name for other in FILTERS if not set(filter_.reads).isdisjoint(other.adds.names))


def _thresholds_of(reason: str | None) -> tuple[str, ...]:
    """Return the recipe fields that are the threshold of a drop reason."""
    if reason is None:
        return ("curriculum.",)
    if reason in _CAPS:
        return ("select.", "curriculum.")
    named = [(filter_.section, rule) for filter_ in FILTERS for rule in filter_.rules] + [
        ("select", rule) for rule in RULES
    ]
    if reason not in {rule.reason for _, rule in named}:
        return ("filters.",)  # of a user's own filter
    keys = tuple(f"{place}.{key}" for place, rule in named if rule.reason == reason for key in rule.hangs_on)
    return (*keys, "curriculum.") if reason == "degenerate" else keys


def _or_unknown(found: list[str], facts: ManifestDiff) -> list[str]:
    if found:
        return list(dict.fromkeys(found))
    return [f"the code, which {facts.unrecorded} doesn't record" if facts.unrecorded else UNKNOWN]


def _of_presence(group: Group, facts: ManifestDiff) -> list[str]:
    """Return why a row exists on one side alone."""
    if not group.problem_known:
        return facts_of_step(facts, "problems") or _of_samples(group, facts)
    if not group.sampler_known:
        return [f"recipe samplers: {group.sampler!r} is {'new' if group.kind == ADDED else 'gone'}"]
    if not group.slot_known:
        amounts = facts.fields(f"samplers.*.sampling.{name}" for name in AMOUNTS)
        return amounts or _of_samples(group, facts)
    if not group.same_model:
        models = [text for name, text in facts.models.items() if name == group.sampler]
        return models or [
            *facts.fields(("samplers.*.model", "samplers.*.engine.model")),
            *facts.changed_inputs("files", "hubs"),
        ]
    return _of_samples(group, facts)


def _of_samples(group: Group, facts: ManifestDiff) -> list[str]:
    models = [text for name, text in facts.models.items() if name == group.sampler]
    return [*models, *facts_of_step(facts, "samples"), *facts.changed_inputs("files", "hubs", "resampled")]


def _decisive(group: Group) -> str | None:
    """Return the first stage that measured differently and decides this change; None if the selection did."""
    if not group.fate_changed or group.before["verdict"] != group.after["verdict"]:
        return group.judged[0] if group.judged else None
    reasons = (group.before["drop_reason"], group.after["drop_reason"])
    concerned = {name for reason in reasons for name in (_judges_of(reason) if reason else _RANKED_BY)}
    return next((name for name in group.judged if name in concerned), None)


def _of_selection(group: Group, facts: ManifestDiff, *, moved: bool) -> list[str]:
    reasons = (group.before["drop_reason"], group.after["drop_reason"])
    narrow = facts.fields(prefix for reason in reasons for prefix in _thresholds_of(reason))
    lines = [*(narrow or facts.fields(_SELECTION)), *facts_of_step(facts, "selection")]
    if moved and {*reasons} & {*_OF_THE_RUN, TOO_SHORT, NLL_OUTLIER, LOW_POTENTIAL}:
        lines.append(OTHERS)
    elif group.siblings:
        lines.append(SIBLINGS)
    return lines
