"""What doesn't fit a section, in words that name the key and the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from proofmill.data.sections import Section


def explained(error: ValidationError, model: type[Section]) -> str:
    """Return the faults of a recipe, or of another section, on one line."""
    return "; ".join(_explained(item, model) for item in _faults(error))


def _faults(error: ValidationError) -> list[Any]:
    """Return the faults of a section; a list whose only fault is that of its items is not too short."""
    found = error.errors()
    below = [item["loc"] for item in found]
    return [
        item
        for item in found
        if item["type"] != "too_short"
        or not any(len(other) > len(item["loc"]) and other[: len(item["loc"])] == item["loc"] for other in below)
    ]


def _explained(item: Any, model: type[Section]) -> str:
    """Return a fault in words that name the key and the nearest known one."""
    path = ".".join(str(part) for part in item["loc"] if part not in _TAGS)
    if item["type"] != "extra_forbidden":
        return f"{path}: {item['msg'].removeprefix('Value error, ')}" if path else str(item["msg"])
    near = difflib.get_close_matches(str(item["loc"][-1]), _known_keys(item["loc"][:-1], model), 1)
    return f"{path}: unknown key" + (f", did you mean '{near[0]}'?" if near else "")


_TAGS = {"procedural", "file", "huggingface", "vllm", "replay", "openai", "long_to_short", "broad_to_hard"}


def _known_keys(location: Sequence[Any], model: Any) -> list[str]:
    """Return the names of the fields at a place in the recipe."""
    for part in location:
        if isinstance(part, str) and part not in _TAGS:
            model = model.model_fields[part].annotation if _is_section(model) else model
        model = _unwrap(model, part)
    return list(model.model_fields) if _is_section(model) else []


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, Section)


def _unwrap(model: Any, tag: Any) -> Any:
    """Return the section inside tuples, unions and annotations, the one that `tag` names where there are several."""
    origin = get_origin(model)
    if origin is Annotated:
        return _unwrap(get_args(model)[0], tag)
    if origin is tuple:
        return _unwrap(get_args(model)[0], tag)
    if origin is Union or type(model).__name__ == "UnionType":
        options = [option for option in get_args(model) if option is not type(None)]
        if len(options) == 1:
            return _unwrap(options[0], tag)
        for option in options:
            names = option.model_fields if _is_section(option) else {}
            if any(tag in get_args(field.annotation) for field in names.values()):
                return option
        sections = [option for option in get_args(model) if _is_section(option)]
        return sections[0] if len(sections) == 1 else model
    return model
