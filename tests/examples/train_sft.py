"""Trains a model on a version with TRL: stage 1 first, then stage 2 from where that ended.

    python tests/examples/train_sft.py proofmill-home/datasets/quickstart/v0001 --out student
    python tests/examples/train_sft.py me/sums --revision v1 --out student

Rows of both stages go in as they are: `prompt` and `completion`, of which only the completion is learned.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from proofmill.generators.models import resolve


def train(rows: Dataset, model: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One stage; the model it ends with is saved in `out`. Says the losses and what the first row taught."""
    config = SFTConfig(
        output_dir=str(out),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        learning_rate=options.learning_rate,
        max_length=None,  # the card says how long the longest row is; the default would cut it
        bf16=options.bf16,
        use_cpu=options.cpu,
        gradient_checkpointing=not options.cpu,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    weights = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16" if options.bf16 else "float32")
    trainer = SFTTrainer(weights, args=config, train_dataset=rows, processing_class=tokenizer)
    first = next(iter(trainer.get_train_dataloader()))["labels"][0]
    trainer.train()
    trainer.save_model(str(out))
    return {
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "learned": tokenizer.decode([token for token in first.tolist() if token >= 0]),
    }


def main() -> None:
    """Both stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder of a version, or a data set on the hub")
    parser.add_argument("--revision", help="tag of a data set on the hub")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    model = str(resolve(options.model).path)
    for stage in ("sft_stage1", "sft_stage2"):
        rows = load_dataset(options.data, stage, split="train", revision=options.revision)
        said = {"stage": stage, "rows": len(rows), **train(rows, model, options.out / stage, options)}
        sys.stdout.write(json.dumps(said) + "\n")
        model = str(options.out / stage)


if __name__ == "__main__":
    main()
