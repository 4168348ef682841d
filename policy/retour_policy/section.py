"""Section: one table of the configuration, and the kinds of value that its keys have."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from retour_policy.clock import DAY, HOUR, MINUTE, SECOND

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZES = {"k": 1024, "M": 1024 * 1024}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _duration(value: object) -> object:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,9})([smhd])", value)
        if found:
            return int(found[1]) * _UNITS[found[2]]
    raise ValueError('is not a time; right would be a number and a unit, such as "30s", "4h" or "180d"')


def _size(value: object) -> object:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,6})([kM])", value)
        if found:
            return int(found[1]) * _SIZES[found[2]]
    raise ValueError('is not a size; right would be a number and a unit, such as "256k" or "2M"')


def _name(value: object) -> object:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError("is not a name; right are up to 64 of a-z 0-9 . _ - that begin with a letter or digit")


Duration = Annotated[int, BeforeValidator(_duration)]
"""Written "4h", held as milliseconds."""
Size = Annotated[int, BeforeValidator(_size)]
"""Written "256k", held as octets."""
Name = Annotated[str, BeforeValidator(_name)]
Count = Annotated[StrictInt, Field(ge=0, le=1_000_000)]
Texts = tuple[StrictStr, ...]


class Section(BaseModel):
    """A table of the file: frozen, and without keys that nobody reads."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, ignored_types=(cached_property,)
    )
