"""Choosing among the checkpoints of a training: the one whose samples solve most on a probing suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proofmill.filters.agreement import pass_at_k
from proofmill.flows.display import Progress
from proofmill.flows.evaluate import EvaluatedModel, evaluate
from proofmill.flows.recipe.suite import load_suite
from proofmill.flows.recipe.training import ChooseCheckpoint
from proofmill.flows.train import Choose


def checkpoint_chooser(home: Path, options: ChooseCheckpoint | None, progress: Progress) -> Choose:
    """Return what picks the checkpoint with the highest pass@k on a probing suite."""

    def choose(folders: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
        if options is None:
            return folders[-1], {}
        suite, _ = load_suite(options.suite).present()
        suite = suite.model_copy(update={"repeats": max(options.k, suite.repeats)})
        rates: dict[str, float] = {}
        for folder in folders:
            progress.note(f"probing {folder.name} by pass@{options.k}")
            found = evaluate(
                suite, EvaluatedModel(folder.name, suite.engine, str(folder)), home, progress, limit=options.limit
            )
            judged = [result for result in found.results if result.n >= options.k]
            rates[folder.name] = sum(pass_at_k(r.n, r.correct, options.k) for r in judged) / max(1, len(judged))
        best = max(rates, key=lambda name: rates[name])
        said = {"suite": suite.name, "k": options.k, "chosen": best, "candidates": list(rates), "pass_k": rates}
        return next(folder for folder in folders if folder.name == best), said

    return choose
