"""Problems: the errors that pydantic finds in a configuration, worded for a postmaster."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from retour_policy.config.model import Config
from retour_policy.errors import Problem

_MEANINGS = {
    "missing": "is missing, and there is no default",
    "string_type": "is not text; put it in quotes",
    "int_type": "is not a whole number; write it without quotes",
    "bool_type": "is neither true nor false; write it without quotes",
    "tuple_type": 'is not a list; for example ["a", "b"]',
    "dict_type": "is not a table; for example {{ name = value }}",
    "model_type": "is not a table; use a heading such as [{key}] with keys below it",
    "path_type": "is not a path; put it in quotes",
    "literal_error": "is not {expected}",
    "greater_than_equal": "is too small; the minimum is {ge}",
    "less_than_equal": "is too large; the maximum is {le}",
    "too_short": "is an empty list; give at least one value, or leave the key out",
}
"""What pydantic's error types mean to a postmaster."""
REMOVED = {
    "policy.suppress_for": "hard_for, soft_for, network_for and autoreply_for take its place, one for each kind of "
    "failure",
    "storm.settle_after": "what a storm holds counts when it repeats: repeats, repeats_over and soft_repeats_over say "
    "how often and over how long",
    "storm.lapse_after": "what a storm holds does not lapse, it counts when it repeats: repeats, repeats_over, "
    "soft_repeats_over",
}
"""Keys that older versions had, by table and key, and what takes their place."""


def problems_of(path: Path, data: dict[str, Any], error: ValidationError) -> list[Problem]:
    """What pydantic found wrong with the tables `data` of the file `path`, a `Problem` for each error."""
    # pydantic also calls a list with a wrong value too short, which it is not.
    faults = [fault for fault in error.errors() if not (fault["type"] == "too_short" and fault["input"])]
    return [_problem(path, data, fault) for fault in faults]


def _problem(path: Path, data: dict[str, Any], fault: Any) -> Problem:
    parts = [part for part in fault["loc"] if not str(part).startswith(("function-", "literal[", "tuple["))]
    key, kind, context = key_text(data, parts), fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(str(path), key, _unknown(parts))
    if kind == "value_error":
        return Problem(str(path), key, str(context["error"]))
    if kind == "tuple_type" and key == "stream":
        return Problem(str(path), key, "is one table; write [[stream]], because there can be several")
    words = _MEANINGS[kind].format(key=key, **context) if kind in _MEANINGS else f"is wrong: {fault['msg']}"
    given = json.dumps(fault["input"], default=str) if kind not in ("missing", "too_short") else ""
    return Problem(str(path), key, f"{given} {words}" if 0 < len(given) < 60 else words)


def key_text(data: Any, parts: Sequence[object]) -> str:
    """`stream[newsletter].match.sender` for the path of keys and list indexes to a value."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
            name = data.get("name") if isinstance(data, dict) else None
            text += f"[{name if isinstance(name, str) else part + 1}]"
        else:
            data = data.get(part) if isinstance(data, dict) else None
            text += f".{part}" if text else str(part)
    return text


def _unknown(parts: Sequence[object]) -> str:
    if (removed := ".".join(map(str, parts[-2:]))) in REMOVED:
        return f"is gone, remove it; {REMOVED[removed]}"
    model: Any = Config
    for part in parts[:-1]:
        fields = getattr(model, "model_fields", {})
        if part in fields:  # else it is an index of a list, or a name that the postmaster gave
            model = _model_of(fields[part].annotation)
    known = list(getattr(model, "model_fields", {}))
    near = difflib.get_close_matches(str(parts[-1]), known, 1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; the keys are {', '.join(known)}"


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_of(argument) for argument in getattr(annotation, "__args__", ())]
    return next((model for model in inner if model is not None), None)
