"""Errors: each says whether trying again later can help."""

from __future__ import annotations

from dataclasses import dataclass

EX_FAILED = 1
EX_TEMPFAIL = 75
EX_CONFIG = 78


class RetourError(Exception):
    """What went wrong, in words for the postmaster; never shown to an SMTP client."""

    temporary = True
    exit_status = EX_TEMPFAIL


class StoreUnavailable(RetourError):
    """The store cannot be read or written now. Unknown database errors are of this class."""


class StoreDamaged(StoreUnavailable):
    """The database's file is damaged. A service goes on answering 451; a command, or a start, ends for good."""

    temporary = False
    exit_status = EX_CONFIG


class StoreRefused(RetourError):
    """The store exists, but this version cannot use it."""

    temporary = False
    exit_status = EX_CONFIG


class TooMuchWaits(RetourError):
    """Something is not taken now, because too much of its kind waits; the store itself is well."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in a file: where it is, what is wrong, and how to fix it."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


class ConfigError(RetourError):
    """A configuration, or a file that it names, cannot be used; contains every `Problem` found."""

    temporary = False
    exit_status = EX_CONFIG

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class InputError(RetourError):
    """The postmaster asked for something impossible: not a valid address, a stream that is not configured."""

    temporary = False
    exit_status = EX_FAILED
