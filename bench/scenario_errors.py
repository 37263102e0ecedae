"""What is wrong in a scenario, said with file, line, field and what would be right: all of it at once, up to ten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bench.marked_yaml import Marked, Path
from bench.scenario_fields import part_of
from bench.units import did_you_mean, nearest

MOST = 10
Problem = tuple[Path, str]


def of_validation(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Pydantic's errors in our words, by field path."""
    return [(tuple(one["loc"]), _text(one, model)) for one in error.errors(include_url=False)]


def told(marked: Marked, problems: Sequence[Problem]) -> str:
    """The message: one line a problem, in the order of the file."""
    lines = [(line, f"{marked.where}:{line}: {text}") for line, text in marked.problems]
    for path, text in problems:
        field = ".".join(str(part) for part in path)
        line = marked.line(path)
        where = f"{marked.where}:{line}" if marked.lines else marked.where  # the command line has no lines
        lines.append((line, f"{where}: {field}: {text}" if field else f"{where}: {text}"))
    lines.sort(key=lambda one: one[0])
    texts = [text for _, text in lines[:MOST]]
    if len(lines) > MOST:
        texts.append(f"... and {len(lines) - MOST} more")
    return "\n".join(texts)


def _text(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, path, value = error["type"], tuple(error["loc"]), error["input"]
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), path[:-1], model)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        part = _part(model, path)
        keys = f" with {', '.join(_written(part))}" if part else ""
        return f"{'nothing' if value is None else repr(value)[:60]} where a mapping belongs{keys}"
    if kind == "bool_type":
        return f"{'nothing' if value is None else repr(value)[:60]} where true or false belongs"
    if kind == "string_type":
        return f'{"nothing" if value is None else repr(value)[:60]} where a text belongs; put it in "quotes"'
    if kind == "missing" and (part := _part(model, path[:-1])) is not None:
        return f"is missing: {_written(part)[str(path[-1])].description}"
    return str(error["msg"])


def _unknown_key(key: str, parents: Path, model: type[BaseModel]) -> str:
    part = _part(model, parents)
    known = list(_written(part)) if part else []
    # A name that is right elsewhere comes before one that is nearly right here: "rate" is no misspelt "gate".
    elsewhere = [name for name in model.model_fields if (inner := _part(model, (name,))) and key in _written(inner)]
    elsewhere = [name for name in elsewhere if name != "sweep"] or elsewhere
    if elsewhere:
        return f'unknown key here; did you mean "{elsewhere[0]}.{key}"?'
    if key in model.model_fields:
        return f'unknown key here; did you mean "{key}" at the top level?'
    if nearest(key, known):
        return f"unknown key; {did_you_mean(key, known)}"
    return f"unknown key; known: {', '.join(known)}"


def _written(part: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a mapping by the names that a file has."""
    return {field.alias or name: field for name, field in part.model_fields.items()}


def _part(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model of the mapping at a path, or None where there is no mapping."""
    for name in path:
        if isinstance(name, int):
            continue  # of a list: its items are of the model that was found for the list
        field = _written(model).get(name)
        found = part_of(field.annotation) if field else None
        if found is None:
            return None
        model = found
    return model
