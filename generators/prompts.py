"""How a problem becomes the tokens that the model sees, and the messages that training sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.files import digest
from proofmill.filters.domains import find_domain

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """The recipe's `prompt` section.

    Attributes:
        system: system message for all problems; a problem's own one wins.
        templates: by domain, text with `{problem}`.
        chat_template_args: passed to the chat template (`enable_thinking`, …).
        verifiers: custom verifiers by domain.
    """

    system: str | None
    templates: Mapping[str, str]
    chat_template_args: Mapping[str, Any]
    verifiers: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """Return what of it decides the rendered prompts."""
        return {
            "system": self.system,
            "templates": dict(self.templates),
            "chat_template_args": dict(self.chat_template_args),
        }


def messages(style: PromptStyle, problem: Mapping[str, Any]) -> list[Message]:
    """Return the prompt of a problem (row of schema PROBLEMS) as sampled."""
    template = style.templates.get(problem["domain"])
    if template is None:
        ask = find_domain(problem["verifier"], style.verifiers).ask
        text = f"{problem['prompt']}\n\n{ask}" if ask else problem["prompt"]
    else:
        text = template.replace("{problem}", problem["prompt"])
    return _with_system(problem["system"] or style.system, text)


def bare(problem: Mapping[str, Any]) -> list[Message]:
    """Return the prompt of a problem without instructions on how to answer."""
    return _with_system(problem["system"], problem["prompt"])


def as_trained(style: PromptStyle, problem: Mapping[str, Any], train_as: str) -> list[Message]:
    """Return the prompt that training sees: as it was `sampled`, or `bare`."""
    return bare(problem) if train_as == "bare" else messages(style, problem)


def _with_system(system: str | None, text: str) -> list[Message]:
    start = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": text}]


class Renderer:
    """A model's own chat template and tokenizer.

    Args:
        model: folder of the model.

    Raises:
        InputError: at first use, when the folder's tokenizer can't be loaded or has no chat template.
    """

    def __init__(self, model: Path) -> None:
        self.model = model

    @cached_property
    def _tokenizer(self) -> Any:
        """Loaded at first use: importing transformers takes seconds, in which the engine can load already."""
        return load_tokenizer(self.model)

    @property
    def template_digest(self) -> str:
        """Digest of the chat template."""
        return digest(str(self._tokenizer.chat_template))

    def text(self, prompt: list[Message], arguments: Mapping[str, Any]) -> str:
        """Return the prompt as text, ready for the model to go on."""
        rendered: str = self._tokenizer.apply_chat_template(
            prompt, tokenize=False, add_generation_prompt=True, **arguments
        )
        return rendered

    def exchange(self, turns: list[Message], arguments: Mapping[str, Any]) -> str:
        """Return a finished exchange as text."""
        rendered: str = self._tokenizer.apply_chat_template(turns, tokenize=False, **arguments)
        return rendered

    @property
    def end(self) -> str:
        """What ends an assistant's turn."""
        return str(self._tokenizer.eos_token or "")

    def tokens_of(self, texts: list[str]) -> list[list[int]]:
        """Return token ids of many rendered texts at once."""
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return ids

    def tokens(self, text: str) -> list[int]:
        """Return token ids of rendered text."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decoded(self, tokens: list[int]) -> str:
        """Return the text of token ids, special tokens and all."""
        text: str = self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text


def load_tokenizer(model: Path) -> Any:
    """Return the tokenizer in a model folder.

    Raises:
        InputError: there is none, or it brings no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"The tokenizer of the model can't be loaded: {str(error).splitlines()[0]}",
            where=str(model),
            remedy="save one beside the weights: AutoTokenizer.from_pretrained(base).save_pretrained(folder)",
        ) from error
    if not tokenizer.chat_template:
        raise InputError(
            "The model has no chat template, so a prompt can't be rendered as it was trained.",
            where=str(model),
            remedy="add chat_template.jinja to the folder, or use an instruction-tuned model",
        )
    return tokenizer


def check_templates(templates: Mapping[str, str]) -> None:
    """Refuse a template that would lose the problem.

    Raises:
        RecipeError: a template without `{problem}`.
    """
    for domain, template in templates.items():
        if "{problem}" not in template:
            raise RecipeError(
                f"The template for '{domain}' has no {{problem}} in it.",
                where=f"recipe key prompt.templates.{domain}",
                remedy="put {problem} where the problem's text should stand",
            )


def opened_reasoning(rendered: str) -> str:
    """Return the reasoning tag that a template has already opened for the model, to be kept with the response."""
    tail = rendered.rstrip()
    return "<think>\n" if tail.endswith("<think>") else ""
