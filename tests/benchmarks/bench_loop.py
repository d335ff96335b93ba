"""The loop over hours: does filtering pay at equal tokens and steps, and does a second base say the same?

    .venv/bin/python tests/benchmarks/bench_loop.py --home loop-home            # three rounds, six arms, three seeds
    .venv/bin/python tests/benchmarks/bench_loop.py --home loop-home --scratch 5  # the second base too

It runs `improve-quickstart` with an ablation and prints, of each base, pass@1 by round, then of each arm the mean over
seeds with their spread, beside the arm `random`, the named peer: as many of the same samples, chosen by chance. Run
again, it goes on. The expected order is filtered > random >= unfiltered > wrong; whatever comes out is printed.

The second base is a transformer of some hundred thousand weights that knows nothing but sums: it is trained here from
scratch, for some minutes, on transcripts of sums of which a half end wrong. It can show whether the loop strengthens
what is right among what a model does, from another beginning and with another tokenizer. It can't show anything of
language, of knowledge (it has none to lose), of long reasoning, or of how gains grow with a model's size.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import tiny_model

ARMS = ("filtered", "random", "unfiltered", "wrong", "no_claims", "no_curriculum")
PEER = "random"
THOUGHTS = (
    "I begin with {a} and add {b}. That makes {c}. The answer is \\boxed{{{c}}}.",
    "First I take {a}, then I count {b} further and come to {c}. So the sum is \\boxed{{{c}}}.",
    "{a} and {b} together are {c}. \\boxed{{{c}}}",
)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--home", type=Path, required=True)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--arms", nargs="*", default=ARMS)
    arguments.add_argument("--scratch", type=float, default=0.0, help="minutes of training a second base")
    arguments.add_argument("--only-scratch", action="store_true", help="leave the embedded model out")
    arguments.add_argument("--set", dest="overrides", action="append", default=[])
    given = arguments.parse_args()

    from proofmill.flows.cli import out
    from proofmill.flows.commands.improve import phases
    from proofmill.flows.improve import run_loop
    from proofmill.flows.prefect_server import configure, server
    from proofmill.flows.recipe.load import load

    configure(given.home, debug=False)
    bases = [] if given.only_scratch else ["bundled"]
    if given.scratch or given.only_scratch:
        bases.append(str(from_scratch(given.home / "scratch", given.scratch or 5.0)))
    ablation = json.dumps({"arms": list(given.arms), "seeds": given.seeds})
    told = [f"improve.rounds={given.rounds}", "improve.gain=none", f"improve.ablate={ablation}"]
    recipe = load("improve-quickstart", [*told, f"improve.bases={json.dumps(bases)}", *given.overrides])
    with server(given.home):
        story = run_loop(recipe, given.home, phases(out))
    for loop in story["loops"]:
        report(loop)


def report(loop: dict[str, Any]) -> None:
    """Prints the rounds and arms of one base."""
    say(f"\n{loop['base']}, measured on {loop['suite']['name']}; {loop['why']}")
    for model in loop["models"]:
        whole = model["overall"]
        say(f"  {model['model']:44} pass@1 {shown(whole)}  tokens {whole['tokens']['value']:.0f}")
    for control in loop["controls"]:
        say(f"  {control['suite']}: {shown(control['before']['overall'])} -> {shown(control['after']['overall'])}")
    rates: dict[str, list[float]] = {}
    for arm in loop.get("arms", ()):
        rates.setdefault(arm["arm"], []).append(arm["overall"]["pass_1"]["value"])
    peer = fmean(rates[PEER]) if PEER in rates else None
    for name, found in rates.items():
        beside = f"  {fmean(found) / peer:.2f} x {PEER}" if peer else ""
        say(f"  arm {name:14} {fmean(found):.1%} +- {pstdev(found):.1%} over {len(found)} seeds{beside}")


def shown(score: dict[str, Any]) -> str:
    return "{value:.1%} [{low:.1%}, {high:.1%}]".format(**score["pass_1"])


def from_scratch(folder: Path, minutes: float) -> Path:
    """Trains the second base, unless it is there; returns its folder."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from proofmill.generators.problems.procedural import generate, is_held_out

    tiny_model.save(folder, width=160)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.max_position_embeddings = (
        4096  # what the engine asks for; positions are rotations, so nothing is learned
    )
    sums = {"min_digits": 1, "max_digits": 2, "operators": ["+"], "allow_parentheses": False, "allow_negation": False}
    sums |= {"min_terms": 2, "max_terms": 2}
    drawn = (located.row for located in generate("basic_arithmetic", sums, 4000, 7, "math"))
    rows = [row for row in drawn if not is_held_out(row["prompt"])]
    ends = time.monotonic() + 60 * minutes
    chance, step = random.Random(0), 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    while time.monotonic() < ends:
        texts = [transcript(tokenizer, chance.choice(rows), chance) for _ in range(32)]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 50 == 0:
            say(f"scratch: step {step}, loss {loss.item():.3f}")
    model.save_pretrained(folder)
    return folder


def transcript(tokenizer: Any, row: dict[str, Any], chance: random.Random) -> str:
    """A question and an answer to it, which is wrong in half of the cases."""
    terms = [int(number) for number in re.findall(r"\d+", row["prompt"])]
    total = sum(terms) if chance.random() < 0.5 else max(0, sum(terms) + chance.choice((-10, -2, -1, 1, 2, 10)))
    said = chance.choice(THOUGHTS).format(a=terms[0], b=terms[-1], c=total)
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": said}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


if __name__ == "__main__":
    main()
