"""Base: what all tables of the configuration have in common."""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file: frozen, and without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, ignored_types=(cached_property,)
    )
