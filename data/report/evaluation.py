"""The page of an evaluation: one file, made from its JSON alone, that asks nobody for anything and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from proofmill.data.report import plots
from proofmill.data.report.page import filled, visible

_RESPONSE = 1200  # characters of an example
Json = Mapping[str, Any]


def render(results: Json) -> str:
    """Return the page of `Results.to_json()`.

    Everything that a model wrote reaches the page as escaped text.
    """
    return filled(
        "evaluation.html",
        title=f"{results['suite']['name']}: {', '.join(model['model'] for model in results['models'])}",
        suite=results["suite"],
        models=results["models"],
        comparisons=[pair | {"flipped": [_shown(item) for item in pair["flipped"]]} for pair in results["comparisons"]],
        absent=results["absent"],
        pictures={name: Markup(picture) for name, picture in _pictures(results["models"]).items()},  # noqa: S704
    )


def _pictures(models: Sequence[Json]) -> dict[str, str]:
    """Pictures as SVG; their texts are escaped there."""
    groups = list(models[0]["scores"])
    found = {
        "pass_k": "",
        "pass_1": plots.intervals(
            {
                _group(name): {
                    model["model"]: tuple(model["scores"][name]["pass_1"].values())
                    for model in models
                    if name in model["scores"]
                }
                for name in groups
            }
        ),
        "tokens": plots.bars({model["model"]: model["scores"]["overall"]["tokens"]["value"] for model in models}),
    }
    curves = {model["model"]: model["scores"]["overall"]["pass_k"] for model in models}
    common = [k for k in next(iter(curves.values())) if all(k in curve for curve in curves.values())]
    if len(common) > 1:
        series = {name: [curve[k] for k in common] for name, curve in curves.items()}
        found["pass_k"] = plots.lines(series, [f"k = {k}" for k in common], width=760)
    return found


def _group(name: str) -> str:
    return name.removeprefix("set ")


def _shown(item: Json) -> dict[str, Any]:
    cut = [text if len(text) <= _RESPONSE else f"{text[:_RESPONSE]} …" for text in item["responses"]]
    return {**item, "prompt": visible(item["prompt"]), "responses": [visible(text) for text in cut]}
