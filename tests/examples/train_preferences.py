"""Trains on `pairs` with TRL's DPO, and a process reward model on `step_labels`; both go in as they are.

    python tests/examples/train_preferences.py proofmill-home/datasets/quickstart/v0001 --model student --out preferred

Releases of TRL that still have `PRMTrainer` (up to 1.13) train the reward model with it; newer ones have none, and then
the same rows are cut into tokens here as it did: each step ends with a line break, whose label is the step's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
)
from trl import DPOConfig, DPOTrainer

from proofmill.generators.models import resolve

_UNLABELLED = -100  # what the loss leaves out


def prefer(rows: Dataset, model: str, common: dict[str, Any]) -> Trainer:
    """Return DPO of a model, on prompt, chosen and rejected."""
    return DPOTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        args=DPOConfig(max_length=None, **common),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def judge_steps(rows: Dataset, model: str, common: dict[str, Any]) -> Trainer:
    """Return the training of a process reward model, on prompt, completions and labels."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    judge = AutoModelForTokenClassification.from_pretrained(model, num_labels=2)
    try:
        from trl.experimental.prm import PRMConfig, PRMTrainer
    except ImportError:
        tokens = rows.map(lambda row: step_tokens(row, tokenizer), remove_columns=rows.column_names)
        together = DataCollatorForTokenClassification(tokenizer)
        return Trainer(judge, TrainingArguments(**common), together, tokens)
    config = PRMConfig(max_length=None, **common)
    return PRMTrainer(judge, args=config, train_dataset=rows, processing_class=tokenizer)


def step_tokens(row: dict[str, Any], tokenizer: Any) -> dict[str, list[int]]:
    """Return a row as tokens, with a label on the last token of each step and on no other."""
    ids = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
    labels = [_UNLABELLED] * len(ids)
    for step, right in zip(row["completions"], row["labels"], strict=True):
        of_step = tokenizer(f"{step}\n", add_special_tokens=False)["input_ids"]
        ids = ids + of_step
        labels = [*labels, *[_UNLABELLED] * (len(of_step) - 1), int(right)]
    return {"input_ids": ids, "labels": labels}


def main() -> None:
    """Both trainings, one after the other; each says its rows and losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder of a version, or a data set on the hub")
    parser.add_argument("--revision", help="tag of a data set on the hub")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    model = str(resolve(options.model).path)
    for config, training in (("pairs", prefer), ("step_labels", judge_steps)):
        rows = load_dataset(options.data, config, split="train", revision=options.revision)
        common = {
            "output_dir": str(options.out / config),
            "max_steps": options.steps,
            "per_device_train_batch_size": options.batch,
            "use_cpu": options.cpu,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": 0,
        }
        trainer = training(rows, model, common)
        trainer.train()
        trainer.save_model(str(options.out / config))
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        said = {"config": config, "rows": len(rows), "losses": losses, "trainer": type(trainer).__name__}
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
