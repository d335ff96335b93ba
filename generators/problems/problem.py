"""Turn one row of a source into a problem, whose id is the digest of its content, or say why it can't be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proofmill.data.files import digest, dumps_canonical, loads_exact
from proofmill.filters.domains import find_domain, info_fields, is_known

Row = dict[str, Any]

_TEXT_FIELDS = ("domain", "system", "verifier", "source", "license")


@dataclass
class IngestStats:
    """The ledger of reading: every row that was read became a problem (or sample), or was dropped for a named reason.

    Attributes:
        read: rows that came in.
        dropped: how many could not be used, by reason.
        examples: the first few of them, each with its position.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def drop(self, reason: str, where: str, why: str = "") -> None:
        """Count a row that can't be used, and remember the first few with their position."""
        self.dropped[reason] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{where}: {reason}" + (f" ({why})" if why else ""))

    def drop_many(self, reason: str, count: int) -> None:
        """Count rows that were left out together."""
        if count:
            self.dropped[reason] += count


@dataclass(frozen=True, slots=True)
class SourceDefaults:
    """The values for rows of a source that don't state their own.

    Attributes:
        domain: of its problems.
        source: its name in published rows.
        license: of its rows; None: not stated.
        unlabelled: whether problems may come without an answer, where a vote of the samples can give one.
        verifiers: custom verifiers by name, besides the built-in domains.
    """

    domain: str
    source: str
    license: str | None
    unlabelled: bool = False
    verifiers: Mapping[str, str] = field(default_factory=dict)


def problem_row(row: Row, defaults: SourceDefaults) -> Row | str:
    """Return a row of schema PROBLEMS, or the reason why the row is not a usable problem."""
    if bad := mistyped(row, _TEXT_FIELDS):
        return bad
    domain = row.get("domain") or defaults.domain
    verifier = row.get("verifier") or domain
    if not is_known(verifier, defaults.verifiers):
        return "unknown_verifier" if row.get("verifier") else "unknown_domain"
    messages = split_prompt(row.get("prompt"))
    if isinstance(messages, str):
        return messages
    system, prompt = messages
    info = info_of(row)
    answer = _text(row.get("answer"))
    if is_known(domain):
        judge = find_domain(domain)
        answer = None if answer is None else judge.gold(answer)
        if judge.lacks(answer, info) and not (defaults.unlabelled and judge.can_label(answer, info)):
            return "no_gold"
    system = row.get("system") or system
    return {
        "id": digest("problem", domain, system, prompt, answer, info),
        "domain": domain,
        "system": system,
        "prompt": prompt,
        "answer": answer,
        "info": dumps_canonical(info).decode() if info else None,
        "verifier": verifier,
        "source": row.get("source") or defaults.source,
        "license": row.get("license") or defaults.license,
    }


def mistyped(row: Row, names: Iterable[str]) -> str | None:
    """Return `bad_NAME` for the first field that should be text and is not."""
    return next((f"bad_{name}" for name in names if not isinstance(row.get(name), str | None)), None)


def split_prompt(prompt: Any) -> tuple[str | None, str] | str:
    """Return (system, user) of a prompt that is text or a message list, or the reason why it can't be used."""
    if isinstance(prompt, str):
        return (None, prompt) if prompt.strip() else "empty_prompt"
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) for turn in prompt):
        return "no_prompt"
    roles = [turn.get("role") for turn in prompt]
    texts = [str(turn.get("content") or "") for turn in prompt]
    if roles == ["user"] and texts[0].strip():
        return None, texts[0]
    if roles == ["system", "user"] and texts[1].strip():
        return texts[0], texts[1]
    return "multi_turn" if len(roles) > 1 else "no_prompt"


def info_of(row: Row) -> Row:
    """Return what a domain needs besides prompt and answer: columns of its own, and `info`, an object or its JSON."""
    info = {name: row[name] for name in info_fields() if row.get(name) is not None}
    value = row.get("info")
    if isinstance(value, str):
        try:
            value = loads_exact(value)
        except ValueError:
            return info
    return info | value if isinstance(value, dict) else info


def response_text(response: Any) -> str | None:
    """Return a response as text: a string, or the last assistant message of a list."""
    if isinstance(response, str):
        return response
    if isinstance(response, list):
        turns = [turn for turn in response if isinstance(turn, dict) and turn.get("role", "assistant") == "assistant"]
        if turns and isinstance(turns[-1].get("content"), str):
            return str(turns[-1]["content"])
    return None


def last_text(value: Any) -> str | None:
    """Return a text, or of a list the last assistant message, else the last message that has text."""
    text = response_text(value)
    if text is None and isinstance(value, list):
        contents = [
            turn["content"] for turn in value if isinstance(turn, dict) and isinstance(turn.get("content"), str)
        ]
        return contents[-1] if contents else None
    return text


def _text(answer: Any) -> str | None:
    return answer if answer is None or isinstance(answer, str) else dumps_canonical(answer).decode()
