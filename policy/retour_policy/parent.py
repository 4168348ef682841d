"""Parent: has the kernel end a process together with the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal

from retour_policy.errors import EX_TEMPFAIL

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded before fork(2), after which little is safe


def die_with_parent(number: signal.Signals, parent: int = 0) -> None:
    """Have the kernel send this process `number` when its parent ends, however it does (prctl(2)).

    To be called between fork(2) and exec(2), which keeps it. `parent` is who forked: it may have ended just before.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if parent and os.getppid() != parent:
        os._exit(EX_TEMPFAIL)
