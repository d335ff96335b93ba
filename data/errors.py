"""Errors that a user may meet: each says what happened, where, and what to do next."""

from __future__ import annotations


class ProofmillError(Exception):
    """Base of all errors that are shown without a traceback.

    Args:
        what: what went wrong, one sentence.
        where: the file, line, recipe key or row where it went wrong.
        remedy: what the reader can do next.

    `exit_code` is the command's exit status: 1 failed, 2 wrong usage, 3 nothing left to publish.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.remedy = what, where, remedy

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  next:  {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:  # worker processes send errors home; pickle passes no keyword arguments
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[ProofmillError], what: str, where: str, remedy: str) -> ProofmillError:
    return kind(what, where=where, remedy=remedy)


class UsageError(ProofmillError):
    """Wrong usage: an unknown option, a path that is not there."""

    exit_code = 2


class RecipeError(UsageError):
    """The recipe can't be read, has an unknown key or a value that doesn't fit."""


class InputError(ProofmillError):
    """A file or row that the user gave can't be used."""


class EngineError(ProofmillError):
    """The language-model engine can't start, died, or refused."""


class VerifierError(ProofmillError):
    """A verifier can't be trusted or can't run here; no verdict was written."""


class TrainingError(ProofmillError):
    """A training can't go on: the loss is no number, memory ran out, the process died."""


class StoreError(ProofmillError):
    """Something under HOME is locked, damaged, or can't be written."""


class ScratchError(ProofmillError):
    """This machine's folder for temporary files can't be used; no verdict was written."""


class HubError(ProofmillError):
    """The Hugging Face hub can't be reached, refuses, or holds something other than it should."""


class NothingKeptError(ProofmillError):
    """The run went through, but no row survived to be published."""

    exit_code = 3
