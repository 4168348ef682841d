"""Fuzzes the lookup's protocol: `python tests/fuzz/fuzz_socketmap.py [libFuzzer options]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_lmtpd", "retour_policy.messages", "retour_policy.tokens"]):
    from retour_lmtpd.backend import Backend
    from retour_lmtpd.socketmap import SocketmapError, answer, netstring, split

import parts
import quiet

PARTS = parts.make()
ANSWERS = (b"OK retour", b"NOTFOUND ", b"TEMP ", b"PERM ")


class Addresses(Backend):
    """Only knows which addresses take mail."""

    def __init__(self) -> None:
        self._settings = PARTS  # type: ignore[assignment]


BACKEND = Addresses()


def one_input(data: bytes) -> None:
    """Any request gets one of four answers; what was split at any place gives the same requests."""
    for request in (data, b"bounce " + data, b"bounce " + PARTS.address.encode() + data):
        assert answer(BACKEND, request).startswith(ANSWERS)
    quiet.assert_no_fault()
    for octets in (data, netstring(data[:9_000])):
        try:
            whole, rest = split(octets)
        except SocketmapError:
            continue
        assert b"".join(map(netstring, whole)) + rest == octets or b":" in octets
        half = len(octets) // 2
        first, left = split(octets[:half])
        second, end = split(left + octets[half:])
        assert (first + second, end) == (whole, rest)


if __name__ == "__main__":
    quiet.logs()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
