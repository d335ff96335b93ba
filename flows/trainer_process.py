"""The process that trains: started, listened to, and its end told in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import TrainingError
from proofmill.flows.display import Progress
from proofmill.flows.recipe.training import TrainOptions
from proofmill.generators import trainer
from proofmill.generators.engines.vllm import quiet_threads

Row = dict[str, Any]


def run_trainer(work: Mapping[Path, str], options: TrainOptions, progress: Progress) -> None:
    """Start the process that trains, and tell what it says.

    Args:
        work: folders with a `spec.json`, done in turn by one process, since it imports for half a minute; and the
            counter that shows each one's steps. Nothing is started for none.
        options: of the training.
        progress: told of steps.

    Raises:
        TrainingError: it said why it ended, or died.
    """
    if not work:
        return
    launch = [sys.executable]
    if options.processes > 1:
        launch += ["-m", "accelerate.commands.launch", "--num_processes", str(options.processes)]
    folder = next(iter(work))
    log = folder / "trainer.log"
    error: Row | None = None
    progress.note("loading the trainer (half a minute)")
    with (
        log.open("ab") as file,
        subprocess.Popen(  # noqa: S603 (our own words)
            [*launch, "-m", "proofmill.generators.trainer", *(str(one / "spec.json") for one in work)],
            env=quiet_threads(os.environ),
            stdin=subprocess.PIPE,  # nothing is written: it closes when this process is gone
            stdout=subprocess.PIPE,
            stderr=file,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                told = _told(line)
                if told.get("event") == "error":
                    error = told
                elif told.get("event") == "begin":
                    folder = Path(told["folder"])
                else:
                    _show(told, progress, work[folder])
            code = process.wait()
        finally:
            if process.poll() is None:  # Ctrl-C, or an error of ours: the checkpoints stay
                process.terminate()
                process.wait()
    if code or error:
        raise _failure(error, code, folder, log)


def _told(line: bytes) -> Row:
    """What a line of the trainer's output says; libraries may print there too."""
    if not line.startswith(b'{"event"'):
        return {}
    try:
        found: Row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found


def _show(told: Row, progress: Progress, counter: str) -> None:
    if told.get("event") == "resumed":
        progress.note(f"going on from step {told['step']}")
        progress.advance(counter, told["step"])
    elif told.get("event") == "step":
        progress.expect(counter, told["of"])
        progress.advance(counter)
        reward = f", reward {told['reward']:.3f}" if told.get("reward") is not None else ""
        loss = "no number" if told.get("loss") is None else f"{told['loss']:.4f}"
        progress.note(f"step {told['step']}: loss {loss}{reward}")


def _failure(error: Row | None, code: int, folder: Path, log: Path) -> TrainingError:
    checkpoint = trainer.last_checkpoint(folder)
    kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint was written yet"
    kind = error["kind"] if error else "memory" if code == -9 else "died"
    what = error["what"] if error else f"the process ended with code {code}"
    if kind == "diverged":
        return TrainingError(
            f"The training diverged: {what}.",
            where=f"{log}; {kept}",
            remedy="lower the learning rate (stage1.learning_rate, …) or max_grad_norm; a checkpoint is a model, "
            "which --base takes",
        )
    if kind == "memory":
        return TrainingError(
            f"Memory ran out: {what}.",
            where=f"{log}; {kept}",
            remedy="lower micro_batch (the batch stays), or set gradient_checkpointing=true, lora={} or a smaller "
            "max_length; with the first two the same command goes on from the checkpoint",
        )
    tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-2:])
    return TrainingError(
        f"The training stopped: {what}.",
        where=f"{log}: {tail}",
        remedy=f"{kept}; the same command goes on from there",
    )
