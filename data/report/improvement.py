"""The page of a loop: one file, made from its loop.json alone, that asks nobody for anything and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from proofmill.data.report import plots
from proofmill.data.report.page import filled

Json = Mapping[str, Any]


def render(story: Json) -> str:
    """Return the page of what a loop has come to so far."""
    return filled(
        "improvement.html",
        title=f"{story['name']}: the loop",
        story=story,
        loops=[_shown(loop) for loop in story["loops"] if loop["models"]],
        side_by_side=_side_by_side(story),
    )


def _shown(loop: Json) -> dict[str, Any]:
    """One base's part of the page."""
    models = [model for model in loop["models"] if model["overall"]]
    ends = [model for model in models if _is_end(loop, model)]
    return {
        **loop,
        "stopped": loop.get("stopped"),
        "why": loop.get("why", ""),
        "best": loop.get("best"),
        "arms": loop.get("arms", []),
        "first": models[0] if models else None,
        "last": _named(models, loop.get("best")) or (models[-1] if models else None),
        "cost": _cost(loop),
        "pictures": {name: Markup(picture) for name, picture in _pictures(loop, models, ends)},  # noqa: S704
    }


def title(model: Json) -> str:
    """Return what a model is called in pictures: its round and stage."""
    if not model["round"]:
        return "base"
    return f"round {model['round']}, {model['stage'].removeprefix('sft_').replace('stage', 'stage ')}"


def _is_end(loop: Json, model: Json) -> bool:
    return not model["round"] or model["model"] in {one["model"] for one in loop["rounds"]}


def _named(models: list[Any], label: str | None) -> Any:
    return next((model for model in models if model["model"] == label), None)


def _pictures(loop: Json, models: list[Any], ends: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield pictures as SVG, an empty one where there is nothing to draw; their texts are escaped there."""
    yield "pass_k", ""
    yield "pass_1", plots.intervals({title(model): {"pass@1": _interval(model["overall"])} for model in models})
    yield "tokens", plots.bars({title(model): model["overall"]["tokens"]["value"] for model in models})
    curves = {title(model): model["overall"]["pass_k"] for model in ends}
    common = [k for k in next(iter(curves.values()), {}) if all(k in curve for curve in curves.values())]
    if len(common) > 1:
        series = {name: [curve[k] for k in common] for name, curve in reversed(curves.items())}
        yield "pass_k", plots.lines(series, [f"k = {k}" for k in common], width=760)
    if loop.get("arms"):
        rows: dict[str, dict[str, tuple[float, float, float]]] = {}
        for arm in loop["arms"]:
            rows.setdefault(arm["arm"], {})[f"seed {arm['seed']}"] = _interval(arm["overall"])
        yield "arms", plots.intervals(rows)


def _interval(score: Json) -> tuple[float, float, float]:
    pass_1 = score["pass_1"]
    return pass_1["value"], pass_1["low"], pass_1["high"]


def _cost(loop: Json) -> dict[str, Any]:
    """What the rounds cost together, and by each point of pass@1 that was gained over the base."""
    costs = [one["cost"] for one in loop["rounds"] if "cost" in one]
    tokens = sum(sum(cost["tokens"].values()) for cost in costs)
    hours = sum(sum(cost["seconds"].values()) for cost in costs) / 3600
    gains = [one["gain_on_base"]["pass_1"]["value"] for one in loop["rounds"] if one.get("gain_on_base")]
    points = 100 * max(gains, default=0.0)
    return {
        "tokens": tokens,
        "hours": hours,
        "points": points,
        "tokens_a_point": tokens / points if points > 0 else None,
        "hours_a_point": hours / points if points > 0 else None,
    }


def _side_by_side(story: Json) -> Markup | None:
    """Return each base and its best student beside the others, where the loop began from several bases."""
    loops = [loop for loop in story["loops"] if loop["models"]]
    if len(loops) < 2:
        return None
    rows = {}
    for loop in loops:
        best = _named(loop["models"], loop.get("best")) or loop["models"][-1]
        rows[loop["base"]] = {"base": _interval(loop["models"][0]["overall"]), "student": _interval(best["overall"])}
    return Markup(plots.intervals(rows))  # noqa: S704 (texts are escaped there)
