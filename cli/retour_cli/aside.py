"""Aside: does something as the services' user, in a process of its own, for a command that must stay root.

What comes back is JSON and nothing else: that user may have had a hand in it, and root reads it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from retour_policy.errors import EX_TEMPFAIL, RetourError

MAX_ANSWER_OCTETS = 10_000_000


class AsideError(RetourError):
    """What went wrong there, with its exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.temporary = status == EX_TEMPFAIL
        self.exit_status = status


def aside(work: Callable[[], Any]) -> Any:
    """What `work`, which may become another user for good, returns there: JSON values. Raises `AsideError`."""
    sys.stdout.flush()
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        _work(work, into)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        said = pipe.read(MAX_ANSWER_OCTETS)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status or not said:
        raise AsideError(f"a process that looked as the services' user ended with {status}", EX_TEMPFAIL)
    answer = json.loads(said)
    if "error" in answer:
        raise AsideError(str(answer["error"]), int(answer["status"]))
    return answer["value"]


def _work(work: Callable[[], Any], into: int) -> None:
    """In the child: never returns."""
    status = 1
    try:
        with os.fdopen(into, "wb") as pipe:
            pipe.write(json.dumps(_answer(work)).encode())
        status = 0
    finally:
        os._exit(status)


def _answer(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": work()}
    except RetourError as error:
        return {"error": str(error), "status": error.exit_status}
