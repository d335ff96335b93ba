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
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import tiny_model

if TYPE_CHECKING:
    from proofmill.flows.recipe.schema import Recipe

ARMS = ("filtered", "random", "unfiltered", "wrong", "no_claims", "no_curriculum")
PEER = "random"
OPENINGS = ("I add them one by one.", "First the first two, then the next.", "Let me count.", "Step by step:")


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
        plain = load("improve-quickstart", given.overrides)
        bases.append(str(from_scratch(given.home / "scratch", given.scratch or 5.0, plain)))
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


def from_scratch(folder: Path, minutes: float, recipe: Recipe) -> Path:
    """Trains the second base on the loop's kind of sums, unless it is there; returns its folder."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chance, turns = random.Random(0), list(transcripts(recipe, random.Random(1)))
    tiny_model.save(folder, width=192, texts=[text for turn in turns[:4000] for text in turn])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.max_position_embeddings = 4096  # what the engine asks for; positions are rotations, nothing is learned
    optimizer, step = torch.optim.AdamW(model.parameters(), lr=2e-3), 0
    pool = [tokens_of(tokenizer, *turn) for turn in turns]
    begins = ends = time.monotonic()
    while (ends - begins) < 60 * minutes:
        rows = chance.sample(pool, 64)
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids, _ in rows])
        labels = torch.tensor([learned + [-100] * (longest - len(learned)) for _, learned in rows])
        loss = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step, ends = step + 1, time.monotonic()
        optimizer.param_groups[0]["lr"] = 2e-3 * max(0.05, 1 - (ends - begins) / (60 * minutes))
        if step % 100 == 0:
            say(f"scratch: step {step}, loss {loss.item():.3f}")
    model.save_pretrained(folder)
    return folder


def transcripts(recipe: Recipe, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Yields questions, bare and as the loop's samplers ask them, and answers of which a half are wrong.

    No question of the suite is among them.
    """
    from proofmill.generators.problems.procedural import generate, is_held_out

    asks = [sampler.templates["math"] for sampler in recipe.samplers]
    for source in recipe.problems.sources:
        for located in generate(source.task, source.args, 3000, 7, "math"):
            asked = str(located.row["prompt"])
            if is_held_out(asked):
                continue
            for shown in (asked, *(ask.replace("{problem}", asked) for ask in asks)):
                terms = [int(number) for number in re.findall(r"\d+", asked)]
                off = 0 if chance.random() < 0.5 else chance.choice((-10, -2, -1, 1, 2, 10))
                yield shown, worked(terms, max(0, sum(terms) + off), chance.choice(OPENINGS))


def worked(terms: list[int], said: int, opening: str) -> str:
    """Returns an answer that adds one term after the other, and ends with what is said."""
    so_far, lines = terms[0], []
    for number, term in enumerate(terms[1:], 2):
        total = so_far + term if number < len(terms) else said
        lines.append(f"{so_far} + {term} = {total}.")
        so_far = total
    return f"{opening} {' '.join(lines)} The answer is \\boxed{{{said}}}."


def tokens_of(tokenizer: Any, asked: str, said: str) -> tuple[list[int], list[int]]:
    """Returns a transcript's tokens, and the same as labels, those of the question ignored."""
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    whole = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
    head = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    count = len(tokenizer.encode(head, add_special_tokens=False))
    return whole, [-100] * count + whole[count:]


if __name__ == "__main__":
    main()
