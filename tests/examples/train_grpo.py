"""Trains a model with TRL's GRPO on the `rl` config of a version, rewarded by the pipeline's own verifiers.

python tests/examples/train_grpo.py proofmill-home/datasets/quickstart/v0001 --model student/sft_stage2 --out rl
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from proofmill.filters.rewards import combined_reward
from proofmill.generators.models import resolve


def main() -> None:
    """A few steps, then the losses and rewards of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder of a version, or a data set on the hub")
    parser.add_argument("--revision", help="tag of a data set on the hub")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pass-rate", type=float, nargs=2, default=(0.0, 1.0), metavar=("LOW", "HIGH"))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    model = str(resolve(options.model).path)
    config = GRPOConfig(
        output_dir=str(options.out),
        max_steps=options.steps,
        per_device_train_batch_size=options.generations,
        num_generations=options.generations,
        max_completion_length=options.max_tokens,
        bf16=options.bf16,
        use_cpu=options.cpu,
        gradient_checkpointing=not options.cpu,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    rows = load_dataset(options.data, "rl", split="train", revision=options.revision)
    low, high = options.pass_rate  # a group of samples teaches where some are right and some are not
    rows = rows.filter(lambda row: low <= row["pass_rate"] <= high)
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16" if options.bf16 else "float32"),
        reward_funcs=combined_reward,
        args=config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    trainer.save_model(str(options.out))
    steps = [entry for entry in trainer.state.log_history if "reward" in entry]
    said = {
        "losses": [step["loss"] for step in steps],
        "rewards": [step["reward"] for step in steps],
        "rows": rows.num_rows,
    }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
