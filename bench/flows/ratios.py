"""Ratios: what the benchmarks find out, and what must be reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """One figure. None: it is shown only."""

    name: str
    value: float
    must: float | None = None
    """At least; with `at_most` at most."""
    aim: float | None = None
    at_most: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether it is what it must be."""
        if self.must is None:
            return True
        return self.value <= self.must if self.at_most else self.value >= self.must

    def __str__(self) -> str:
        word = "at most" if self.at_most else "at least"
        must = "" if self.must is None else f"   {word} {self.must:g}"
        aim = "" if self.aim is None else f", aim {self.aim:g}"
        return f"{self.name:52} {self.value:5.2f}{must}{aim}"
