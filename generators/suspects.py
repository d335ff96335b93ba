"""Which prompt kills the engine: found by who was under way when it died, then by trial.

A death alone accuses nobody: engines also die of full memory, of drivers and of `kill`. So after a first death
everything unfinished is simply sent again. A prompt that was under way at two deaths is a suspect. Suspects
are tried with nothing else under way: a group that kills the engine is halved, one that ends is cleared, and a
prompt that has killed it three times while it was alone is guilty. Among w suspects that takes about log2(w) deaths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

_ACCUSED = 2  # deaths in company before a prompt is tried
_GUILTY = 3  # deaths of a prompt by itself


class Suspects:
    """Prompts, by any name, that may have killed the engine."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()
        self._groups: list[list[str]] = []

    @property
    def trial(self) -> Sequence[str]:
        """The prompts that must run by themselves now; empty: everything may run together."""
        return self._groups[-1] if self._groups else ()

    def died(self, under_way: Iterable[str]) -> str | None:
        """The engine, or a part of it, died with these prompts under way; returns the one that is surely guilty."""
        involved = list(dict.fromkeys(under_way))
        tried = next((group for group in self._groups if not set(group).isdisjoint(involved)), None)
        if tried is None:
            self._seen.update(involved)
            killers = [prompt for prompt in involved if self._seen[prompt] >= _ACCUSED]
            if killers and killers != involved and len(involved) > 1:
                self._groups.append(killers)  # others were there too, so these have not been tried yet
                return None
        else:
            self._groups.remove(tried)
            killers = [prompt for prompt in tried if prompt in involved]
            if rest := [prompt for prompt in tried if prompt not in involved]:
                self._groups.append(rest)  # still under way in another part of the engine
        if len(involved) == 1:
            return self._was_alone(involved[0])
        self._halve(killers)
        return None

    def ended(self, prompt: str) -> None:
        """All requests of a prompt have come to an end: it is cleared."""
        self._seen.pop(prompt, None)
        self._alone.pop(prompt, None)
        self._groups = [left for group in self._groups if (left := [name for name in group if name != prompt])]

    def _halve(self, killers: list[str]) -> None:
        half = (len(killers) + 1) // 2
        self._groups += [part for part in (killers[half:], killers[:half]) if part]

    def _was_alone(self, prompt: str) -> str | None:
        self._alone[prompt] += 1
        if self._alone[prompt] >= _GUILTY:
            self.ended(prompt)
            return prompt
        self._groups.append([prompt])
        return None
