"""What differs in how two versions were made, as their manifests record it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofmill.data.errors import RecipeError
from proofmill.data.manifest import Manifest
from proofmill.data.versions import Version
from proofmill.flows.recipe import file as recipe_file
from proofmill.flows.stages.keys import portable

_KINDS = ("kind", "strategy")  # where they differ, the keys of one kind alone say nothing
_LABELS = ("name", "source", "path", "task")  # by which an item of a list is known again
_UNDECIDING = ("name", "verify.workers")
_SHOWN_CHARACTERS, _DIGEST_CHARACTERS = 160, 8

Pair = tuple[Any, Any]


@dataclass
class Facts:
    """What differs in how two versions were made.

    Attributes:
        recipe: by dotted key: (before, after); what is not there is None, and a new section or item stands as a whole.
        models: by sampler, in words.
        code: by stage whose code differs, in words.
        unrecorded: a version whose manifest has no code digests; empty where both have them.
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
        """Every fact that differs."""
        inputs = [line for lines in self.inputs.values() for line in lines]
        return [*self.fields(("",)), *self.models.values(), *self.code.values(), *self.versions(), *inputs]

    def fields(self, prefixes: Iterable[str]) -> list[str]:
        """Recipe fields under these prefixes; `*` stands for a number."""
        wanted = [prefix.split(".") for prefix in prefixes]
        return list(_told("recipe ", {key: pair for key, pair in self.recipe.items() if _under(key, wanted)}))

    def versions(self, names: Iterable[str] | None = None) -> list[str]:
        """Libraries of other versions: all, or some."""
        return list(_told("library ", {n: pair for n, pair in self.libraries.items() if names is None or n in names}))

    def of_inputs(self, *kinds: str) -> list[str]:
        """Inputs of these kinds."""
        return [line for kind in kinds for line in self.inputs.get(kind, ())]


def facts_of(before: Version, after: Version) -> Facts:
    """Compares two manifests. Keys that an older recipe had not yet count as their default."""
    a, b = before.manifest, after.manifest
    recipes = [portable(_resolved(manifest)) for manifest in (a, b)]
    codes = [manifest["code_version"].get("stages") for manifest in (a, b)]
    return Facts(
        recipe={key: pair for key, pair in _differing(*recipes) if key not in _UNDECIDING},
        models=_models(a, b),
        code=_code(*codes) if all(codes) else {},
        unrecorded=next((v.label for v, code in zip((before, after), codes, strict=True) if not code), ""),
        libraries=dict(_differing(a["libraries"], b["libraries"])),
        inputs=_inputs(a.get("inputs", {}), b.get("inputs", {})) | _benchmarks(a, b),
        voted=any(recipe.get("problems", {}).get("pseudo_labels") for recipe in recipes),
    )


def _resolved(manifest: Manifest) -> dict[str, Any]:
    try:
        recipe = recipe_file.parse(dict(manifest["recipe"])).resolved()
    except RecipeError:  # of a version whose keys are not known any more
        recipe = dict(manifest["recipe"])
    return recipe | {"limit": manifest.get("limit")}


def _differing(a: Any, b: Any, key: str = "") -> Iterator[tuple[str, Pair]]:
    """Dotted keys with what stands there on either side. None and what is not there are the same."""
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
    """Items of two lists: those called the same beside each other, the others in their order."""
    labels = [[_label(item) for item in side] for side in (a, b)]
    pairs = [(labels[0].index(label), place) for place, label in enumerate(labels[1]) if label in labels[0]]
    left = [place for place in range(len(a)) if place not in dict(pairs)]
    right = [place for place in range(len(b)) if place not in dict(pairs).values()]
    together = min(len(left), len(right))
    pairs += zip(left, right, strict=False)
    found = [pair for i, j in sorted(pairs, key=lambda p: p[1]) for pair in _differing(a[i], b[j], f"{key}.{j}")]
    found += [(f"{key}.{i}", (a[i], None)) for i in left[together:]]
    found += [(f"{key}.{j}", (None, b[j])) for j in right[together:]]
    yield from found or [(key, (labels[0], labels[1]))]  # the same items in another order


def _label(item: Mapping[str, Any]) -> str:
    return next((str(item[name]) for name in _LABELS if item.get(name)), repr(item))


def _models(a: Manifest, b: Manifest) -> dict[str, str]:
    sides = [{m["sampler"]: m for m in manifest["models"]} for manifest in (a, b)]
    found = {}
    for name in sides[0].keys() & sides[1].keys():
        one, two = sides[0][name], sides[1][name]
        parts = [f"{key} {one[key]} → {two[key]}" for key in ("model", "revision", "weights") if one[key] != two[key]]
        if parts:
            found[name] = f"model of sampler {name}: {', '.join(parts)}"
    return found


def _code(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, str]:
    return {name: f"code of {name}: {_short(a[name])} → {_short(b[name])}" for name in a if a[name] != b.get(name)}


def _inputs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[str]]:
    """What came from outside, of the kinds that both manifests record."""
    found = {}
    for kind, told in (("files", "input file"), ("hubs", "data set file"), ("verifiers", "custom verifier of")):
        if kind in a and kind in b and a[kind] != b[kind]:
            sides = [_digests(kind, side[kind]) for side in (a, b)]
            found[kind] = list(_edits(told, *sides)) or [f"{told}s: in another order"]
    if a.get("resampled", 0) != b.get("resampled", 0):
        found["resampled"] = ["drawn anew with --resample"]
    return found


def _digests(kind: str, known: Any) -> dict[str, str]:
    """Digests by name; files that are called the same stand together."""
    pairs = known.items() if kind == "verifiers" else known
    if kind == "hubs":  # one mapping a data set
        pairs = [pair for files in known for pair in files.items()]
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = found.get(name, "") + value
    return found


def _edits(told: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*b, *a]):
        if name not in a or name not in b:
            yield f"{told} {name}: {'new' if name in b else 'gone'}"
        elif a[name] != b[name]:
            yield f"{told} {name}: {_short(a[name])} → {_short(b[name])}"


def _benchmarks(a: Manifest, b: Manifest) -> dict[str, list[str]]:
    """Benchmarks whose items are others; one that was added or left out is told by the recipe."""
    indexes = [manifest.get("benchmarks") or {} for manifest in (a, b)]
    digests = [index.get("digest") for index in indexes]
    if not all(digests) or digests[0] == digests[1]:
        return {}
    sides = [{item["called"]: item["file"] for item in index.get("sources", ())} for index in indexes]
    both = [{name: side[name] for name in sides[0] if name in sides[1] and side[name]} for side in sides]
    asked = [manifest["recipe"].get("decontaminate") for manifest in (a, b)]
    edited = list(_edits("benchmark", *both))
    if not edited and asked[0] == asked[1]:
        edited = [f"items of the benchmarks: index {_short(digests[0])} → {_short(digests[1])}"]
    return {"benchmarks": edited} if edited else {}


def _told(kind: str, pairs: Mapping[str, Pair]) -> Iterator[str]:
    return (f"{kind}{name}: {_brief(before)} → {_brief(after)}" for name, (before, after) in pairs.items())


def _brief(value: Any) -> str:
    """A value in one short line; of a section what it sets."""
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
    """Whether a dotted key begins with one of the prefixes, part by part; an empty last part takes anything."""
    parts = key.split(".")
    for prefix in prefixes:
        whole = [part for part in prefix if part]
        if len(parts) >= len(whole) and all(p in ("*", q) for p, q in zip(whole, parts, strict=False)):
            return True
    return False
