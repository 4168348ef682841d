"""Forked: work in a process of its own that has everything imported, and may become another user, or die."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What the work returned, or None; the exit status of its process (negative: the signal)."""

    value: T | None
    status: int


def forked(work: Callable[[], T]) -> Outcome[T]:
    """Do `work` in a child of this process, and wait for its end. What it returns must be picklable."""
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        _work(work, into)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Outcome(pickle.loads(said) if said else None, status)


def _work(work: Callable[[], Any], into: int) -> None:
    status = 1
    try:
        said = pickle.dumps(work())
        with os.fdopen(into, "wb") as pipe:
            pipe.write(said)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
