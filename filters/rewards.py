"""Reward functions for reinforcement learning, with the signature that TRL's `GRPOTrainer` calls.

    trainer = GRPOTrainer(..., reward_funcs=[math_reward, code_reward], train_dataset=rl)

Each takes `prompts` and `completions` (texts or message lists) and the columns of the `rl` config as keyword
lists, of which `answer`, `info` (JSON text), `domain` and `verifier` are read, and returns one reward for each row:

- 1.0 for a `correct` completion; 0.0 for `wrong`, `unparsed`, `timeout`, and a reasoning block left open;
- 0.0 for `error: not_judged` too: a program did what keeps it from being judged, and must not gain by that;
- None where the verifier is at fault (any other `error`) or the row is of another domain: TRL leaves such a row out.

The verifiers are those of the pipeline, so a reward and a verdict never disagree. Hostile completions are
judged in worker processes that can be killed; they start at the first row that needs one and end with the
process. The functions are safe in threads; from async code use `in_thread`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import orjson

from proofmill.data.errors import RecipeError
from proofmill.data.files import loads_exact
from proofmill.filters.domains import find_domain
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import CORRECT, UNPARSED, Domain, Problem, Verdict
from proofmill.filters.verification import TRUNCATED, Job, Judge

LONG2SHORT_STRENGTH = 0.2
"""λ of the Long2Short shift (VibeThinker-3B, arXiv 2606.16140)."""

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_judges: dict[int, Judge] = {}  # by process id: a forked child must not use its parent's workers


class RewardFunction(Protocol):
    """What TRL calls: prompts, completions and the data set's columns in, one reward for each row out."""

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Return one reward for each row, None where there is none."""


def domain_reward(
    domain: str, *, verifiers: Mapping[str, str] | None = None, in_process: bool = True
) -> RewardFunction:
    """Return the reward function of one domain; rows of other domains get None.

    Args:
        domain: a built-in domain, or the name of a custom verifier.
        verifiers: custom verifiers as `package.module:name`, as in a recipe.
        in_process: as for `make_combined_reward`.
    """

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        domains = columns.get("domain") or [domain] * len(prompts)
        own = [name if name == domain else None for name in domains]
        return _scores(
            own, prompts, completions, {"verifier": domains} | dict(columns), verifiers, in_process=in_process
        )

    reward.__name__ = reward.__qualname__ = f"{domain}_reward"
    return reward


math_reward = domain_reward("math")
"""Mathematical accuracy: the final answer equals `answer`."""
code_reward = domain_reward("code")
"""Programming correctness: the program passes every test of `info`, in the sandbox."""
logic_reward = domain_reward("logic")
"""Logical consistency: the scorer of `info["task"]` gives the answer full marks."""
choice_reward = domain_reward("choice")
"""The option chosen is `answer`."""
instruction_reward = domain_reward("instruction")
"""Every constraint of `info["constraints"]` holds."""


def make_combined_reward(
    *,
    programming: float = 1.0,
    mathematics: float = 1.0,
    logic: float = 1.0,
    choice: float = 1.0,
    instruction: float = 1.0,
    others: Mapping[str, float] | None = None,
    verifiers: Mapping[str, str] | None = None,
    in_process: bool = True,
    long2short_strength: float = 0.0,
    think_prefilled: bool = False,
) -> RewardFunction:
    """Return one reward function for a data set of several domains.

    Args:
        programming, mathematics, logic, choice, instruction: what a correct completion is worth.
        others: the same for domains of one's own; a domain that is not named counts 1.0.
        verifiers: custom verifiers as `package.module:name`, as in a recipe.
        in_process: whether a program is rewarded that passed its tests only in one process with them. Nothing spoke
            for tampering then, but training pushes on every weakness: without it such a row gets None.
        long2short_strength: λ of the Long2Short shift among the correct completions of a prompt; 0 is off.
            Lengths are tokens where the trainer passes `completion_ids`, else characters.
        think_prefilled: the chat template opens the think block in the prompt, so a completion without a
            closing tag never left it. (A text prompt that ends in `<think>` is seen without this.)
    """
    weights = {"code": programming, "math": mathematics, "logic": logic}
    weights |= {"choice": choice, "instruction": instruction, **(others or {})}

    def combined_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        domains = columns.get("domain") or columns.get("verifier") or [None] * len(prompts)
        scores = _scores(
            domains, prompts, completions, columns, verifiers, think_prefilled=think_prefilled, in_process=in_process
        )
        rewards = [
            None if score is None else score * weights.get(domain or "", 1.0)
            for score, domain in zip(scores, domains, strict=True)
        ]
        if not long2short_strength:
            return rewards
        groups = [_key(prompt) for prompt in prompts]
        correct = [bool(score) for score in scores]
        # Characters do as well as tokens, since only completions of one prompt are compared.
        lengths = [len(item) for item in columns.get("completion_ids") or map(_text, completions)]
        return long2short(rewards, lengths, groups, correct=correct, strength=long2short_strength)

    return combined_reward


combined_reward = make_combined_reward()
"""All domains, each worth 1.0; the column `domain` (or `verifier`) tells them apart."""


def long2short(
    rewards: Sequence[float | None],
    lengths: Sequence[int],
    groups: Sequence[Hashable],
    *,
    correct: Sequence[bool] | None = None,
    strength: float = LONG2SHORT_STRENGTH,
) -> list[float | None]:
    """Shift reward from long to short among the correct trajectories of one prompt.

    r_i' = r_i + λ (s_i - s̄) / max_j |s_j - s̄| with s_i = 1 / L_i (VibeThinker-3B, arXiv 2606.16140). Wrong
    trajectories stay as they are, and the shifts of a prompt sum to zero.

    Args:
        rewards: one for each trajectory; None stays None.
        lengths: tokens (or any unit) of each trajectory; 0 counts as 1.
        groups: what tells the prompts apart.
        correct: which trajectories are correct; by default those with a reward above 0.
        strength: λ, the largest shift.
    """
    if correct is None:
        correct = [reward is not None and reward > 0 for reward in rewards]
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, (group, right) in enumerate(zip(groups, correct, strict=True)):
        if right and rewards[row] is not None:
            members[group].append(row)
    shifted = list(rewards)
    for rows in members.values():
        shortness = [1 / max(1, lengths[row]) for row in rows]
        mean = math.fsum(shortness) / len(rows)
        widest = max(abs(value - mean) for value in shortness)
        for row, value in zip(rows, shortness, strict=True):
            shift = strength * (value - mean) / widest if widest > mean * 1e-12 else 0.0
            shifted[row] = (rewards[row] or 0.0) + shift
    return shifted


def mgpo_weight(accuracy: float, gamma: float = 1.0) -> float:
    """Return the weight of a prompt in MGPO (VibeThinker-1.5B, arXiv 2511.06221), largest where half are right.

    w = exp(-γ KL(p ‖ 0.5)), KL = p ln(p / 0.5) + (1 - p) ln((1 - p) / 0.5), natural logarithms.

    Args:
        accuracy: p, the share of correct trajectories, in [0, 1].
        gamma: γ ≥ 0; 0 weighs all prompts alike.

    Raises:
        ValueError: `accuracy` is not a share.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy}")
    divergence = sum(share * math.log(2 * share) for share in (accuracy, 1 - accuracy) if share > 0)
    return math.exp(-gamma * divergence)


def in_thread(reward: RewardFunction) -> Callable[..., Awaitable[list[float | None]]]:
    """Return the reward as a coroutine function, which does not block the event loop; TRL takes these too."""

    async def call(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return await asyncio.to_thread(reward, prompts, completions, **columns)

    call.__name__ = getattr(reward, "__name__", "reward")
    return call


def _scores(
    domains: Sequence[str | None],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    verifiers: Mapping[str, str] | None = None,
    *,
    think_prefilled: bool = False,
    in_process: bool = True,
) -> list[float | None]:
    """Return what each domain's verdict is worth, None where there is none; rows without a domain have none."""
    custom = verifiers or {}
    rows = len(prompts)
    scores: list[float | None] = [None] * rows
    jobs: list[Job | None] = [None] * rows
    names, answers, infos = (columns.get(name) or [None] * rows for name in ("verifier", "answer", "info"))
    for row in range(rows):
        problem = _problem(domains[row], prompts[row], answers[row], infos[row])
        verifier = str(names[row] or domains[row])
        domain = _domain(verifier, custom.get(verifier))
        if problem is None or domain is None:
            continue
        opened = think_prefilled or _ends_in_think(prompts[row])
        think = split_think(_text(completions[row]), opened=opened)
        if think.closed:
            jobs[row] = Job(verifier, custom.get(verifier), problem, think.rest)
        else:
            # A block left open was cut, or never meant to end: no answer, so nothing has to be judged.
            scores[row] = domain.reward(Verdict(UNPARSED, detail=TRUNCATED))
    if not any(jobs):
        return scores
    for row, (job, (verdict, _)) in enumerate(zip(jobs, _judge().judge(jobs), strict=True)):
        if job and verdict and (in_process or not _beside_its_tests(verdict)):
            scores[row] = job.domain.reward(verdict)
    return scores


def _beside_its_tests(verdict: Verdict) -> bool:
    """Return whether a program is called `correct` by the reading of its tests that shares a process with it."""
    return verdict.verdict == CORRECT and "in_process" in (verdict.detail or "").split("; ")


def _problem(domain: str | None, prompt: Any, answer: Any, info: Any) -> Problem | None:
    """Return the row's problem; None where it has no domain or its info can't be read."""
    if domain is None:
        return None
    try:
        fields = loads_exact(info) if isinstance(info, str) and info else info or {}
    except ValueError:
        return None
    gold = None if answer is None else str(answer)
    return Problem(domain, _text(prompt), gold, fields) if isinstance(fields, dict) else None


@cache
def _domain(verifier: str, place: str | None) -> Domain | None:
    try:
        return find_domain(verifier, {verifier: place} if place else None)
    except RecipeError as error:
        _log.warning("rows of verifier %r get no reward: %s", verifier, error)
        return None


def _text(message: Any) -> str:
    """Return the text of a prompt or completion: itself, or the content of the last message with one."""
    if isinstance(message, str):
        return message
    contents = [item.get("content") for item in message or [] if isinstance(item, Mapping)]
    last = next((content for content in reversed(contents) if content), "")
    if isinstance(last, str):
        return last
    return "".join(str(part.get("text") or "") for part in last if isinstance(part, Mapping))


def _ends_in_think(prompt: Any) -> bool:
    return isinstance(prompt, str) and prompt.rstrip().endswith("<think>")


def _key(prompt: Any) -> Hashable:
    return prompt if isinstance(prompt, str) else orjson.dumps(prompt, default=str)


def _judge() -> Judge:
    """Return this process's judge, started at first use and closed at exit."""
    with _lock:
        judge = _judges.get(os.getpid())
        if judge is None:
            judge = _judges[os.getpid()] = Judge()
            atexit.register(judge.close)
        return judge
