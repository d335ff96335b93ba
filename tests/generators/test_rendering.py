"""Published rows train on what was proven: nothing of a response is lost in the student's template."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from proofmill.data.errors import InputError, RecipeError
from proofmill.generators import models
from proofmill.generators.prompts import (
    Message,
    PromptStyle,
    Renderer,
    StudentView,
    bare,
    check_templates,
    messages,
    opened_reasoning,
)

# Small templates, each with the habit of a family.
PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPS = (  # R1 distillations: past reasoning is cut off
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "<|im_start|>assistant\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PREFILLS = DROPS.removesuffix("{% endif %}") + "<think>\n{% endif %}"  # ... and the tag is opened for the model
REWRITES = (  # Qwen3: every finished turn gets a think block, an empty one if need be
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and '</think>' not in m['content'] %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'].split('</think>')[-1].lstrip('\n') if loop.index > 99 or m['role'] == 'assistant' "
    "and not loop.last else m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHANGES_PROMPT = PLAIN.replace("<|im_start|>{{", "{% if not add_generation_prompt %}!{% endif %}<|im_start|>{{")

Students = Callable[[str], Renderer]
PROMPT: list[Message] = [{"role": "user", "content": "How much is 1 + 1?"}]
THOUGHT = "<think>\nOne and one.\n</think>\n\nThe answer is 2."
SHORT = "The answer is 2."


@pytest.fixture(scope="session")
def bundled() -> Path:
    return models.resolve("bundled").path


@pytest.fixture(scope="session")
def student(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Renderer]:
    """A maker of students: the embedded model's tokenizer with another template."""

    @cache
    def make(template: str) -> Renderer:
        folder = tmp_path_factory.mktemp("student")
        for path in (*bundled.glob("*token*"), bundled / "config.json"):
            shutil.copy(path, folder)
        (folder / "chat_template.jinja").write_text(template)
        return Renderer(folder)

    return make


def test_messages_are_counted_as_the_student_will_see_them(student: Students) -> None:
    renderer = student(PLAIN)
    view = StudentView(renderer, "messages", {})
    (row,) = view.render([(PROMPT, THOUGHT, "t")])
    assert (row.prompt, row.completion) == (PROMPT, [{"role": "assistant", "content": THOUGHT}])
    whole = renderer.tokens(renderer.exchange([*PROMPT, {"role": "assistant", "content": THOUGHT}], {}))
    head = renderer.tokens(renderer.text(PROMPT, {}))
    assert (row.completion_tokens, row.total_tokens) == (len(whole) - len(head), len(whole))
    assert whole[: len(head)] == head


@pytest.mark.parametrize(
    ("template", "text"),
    [(DROPS, THOUGHT), (PREFILLS, THOUGHT), (PREFILLS, SHORT), (CHANGES_PROMPT, SHORT)],
    ids=["drops reasoning", "prefills and drops", "prefills for a bare answer", "rewrites the prompt"],
)
def test_a_template_that_loses_something_is_refused_with_the_way_out(
    student: Students, template: str, text: str
) -> None:
    view = StudentView(student(template), "messages", {})
    with pytest.raises(InputError) as caught:
        view.render([(PROMPT, text, "trace-7")])
    assert "trace-7" in caught.value.where
    assert "publish.render" in caught.value.remedy
    assert "text" in caught.value.remedy


@pytest.mark.parametrize("text", [THOUGHT, SHORT])
def test_a_template_that_only_adds_an_empty_block_is_taken(student: Students, text: str) -> None:
    renderer = student(REWRITES)
    (row,) = StudentView(renderer, "messages", {}).render([(PROMPT, text, "t")])
    assert text in renderer.exchange([*PROMPT, *row.completion], {})


@pytest.mark.parametrize("template", [PLAIN, DROPS, REWRITES, CHANGES_PROMPT])
@pytest.mark.parametrize("text", [THOUGHT, SHORT, "<think>no line break</think>2", "# head\n\n* list", "1", "é数"])
def test_text_loses_nothing_under_any_template(student: Students, template: str, text: str) -> None:
    renderer = student(template)
    (row,) = StudentView(renderer, "text", {}).render([(PROMPT, text, "t")])
    assert (row.prompt, row.completion) == (renderer.text(PROMPT, {}), text + renderer.end)
    assert isinstance(row.prompt, str)
    tokens = renderer.tokens(row.prompt + text + renderer.end)
    assert row.total_tokens == len(tokens)
    assert tokens[: len(tokens) - (row.completion_tokens or 0)] == renderer.tokens(row.prompt)


@pytest.mark.parametrize(
    ("text", "completion"),
    [
        (THOUGHT, "One and one.\n</think>\n\nThe answer is 2."),
        ("<think>no line break</think>2", "no line break</think>2"),
        (SHORT, "</think>\n\nThe answer is 2."),
    ],
)
def test_a_tag_that_the_prompt_opens_stands_there_once_and_is_closed(
    student: Students, text: str, completion: str
) -> None:
    renderer = student(PREFILLS)
    (row,) = StudentView(renderer, "text", {}).render([(PROMPT, text, "t")])
    assert isinstance(row.prompt, str)
    assert row.prompt.endswith("<think>\n")
    assert row.completion == completion + renderer.end


@pytest.mark.parametrize("render", ["messages", "text"])
@pytest.mark.parametrize("space", [" ", "\n", "  \n\n"])
def test_spaces_before_a_response_do_not_stop_a_publication(student: Students, render: str, space: str) -> None:
    (plain, spaced) = StudentView(student(PLAIN), render, {}).render(
        [(PROMPT, SHORT, "t"), (PROMPT, space + SHORT, "u")]
    )
    assert spaced == plain


def test_the_longest_row_is_known(student: Students) -> None:
    view = StudentView(student(PLAIN), "messages", {})
    rows = view.render([(PROMPT, "x " * n, "t") for n in (5, 500, 50)])
    assert view.longest == max(row.total_tokens or 0 for row in rows) > 500


def test_without_a_student_rows_pass_uncounted() -> None:
    (row,) = StudentView(None, "messages", {}).render([(PROMPT, THOUGHT, "t")])
    assert (row.completion_tokens, row.total_tokens) == (None, None)


def test_text_without_a_student_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        StudentView(None, "text", {})
    assert "publish.student" in caught.value.where


# --- prompts --------------------------------------------------------------------------------------

PROBLEM = {"domain": "math", "verifier": "math", "system": None, "prompt": "1 + 1?"}


def test_a_prompt_asks_for_the_answer_in_the_form_of_its_domain() -> None:
    (turn,) = messages(PromptStyle(None, {}, {}, {}), PROBLEM)
    assert turn["content"].startswith("1 + 1?\n\n")
    assert "\\boxed" in turn["content"]
    assert bare(PROBLEM) == [{"role": "user", "content": "1 + 1?"}]


def test_a_template_wins_and_may_hold_braces() -> None:
    style = PromptStyle("be brief", {"math": "{problem} in \\boxed{}"}, {}, {})
    assert messages(style, PROBLEM) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "1 + 1? in \\boxed{}"},
    ]
    assert messages(style, PROBLEM | {"system": "own"})[0]["content"] == "own"


def test_a_template_without_its_problem_is_refused() -> None:
    with pytest.raises(RecipeError, match="problem") as caught:
        check_templates({"math": "no place for it"}, "prompt")
    assert caught.value.where.endswith("prompt.templates.math")


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [("…<think>\n", "<think>\n"), ("…<think>", "<think>\n"), ("…", ""), ("<think>\n\n</think>\n\n", "")],
)
def test_a_tag_that_the_template_opens_is_seen(prompt: str, opened: str) -> None:
    assert opened_reasoning(prompt) == opened


@pytest.mark.parametrize(("missing", "says"), [("*token*", "tokenizer"), ("chat_template.jinja", "chat template")])
def test_a_model_that_can_not_be_prompted_is_refused(bundled: Path, tmp_path: Path, missing: str, says: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in bundled.iterdir():
        if path.suffix in (".json", ".jinja", ".txt") and not path.match(missing):
            shutil.copy(path, folder)
    with pytest.raises(InputError, match=says) as caught:
        _ = Renderer(folder).template_digest  # asked for before anything is sampled
    assert str(folder) in caught.value.where
    assert caught.value.remedy
