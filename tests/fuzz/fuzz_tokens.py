"""Fuzzes tokens, references and VERP addresses: `python tests/fuzz/fuzz_tokens.py [libFuzzer options]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_policy.tokens", "retour_policy.messages", "retour_policy.address"]):
    from retour_policy.messages.router import UnknownAddress
    from retour_policy.tokens.token import TokenError

import parts
import quiet

PARTS = parts.make()
LOCAL, _, DOMAIN = PARTS.address.partition("@")
SEND = PARTS.router.route(PARTS.address).send
REFERENCE = PARTS.signer.reference(SEND)


def one_input(data: bytes) -> None:
    """No address but the one that was made stands for its send; no reference but the one that was made is genuine."""
    text = data.decode("utf-8", "surrogateescape")
    changed = _changed(LOCAL, data)
    for address in (text, f"{text}@{DOMAIN}", f"{changed}@{DOMAIN}"):
        try:
            route = PARTS.router.route(address)
        except (UnknownAddress, TokenError):
            continue
        if route.kind == "verp":
            assert route.send == SEND and address.strip('"').lower().startswith(LOCAL), address
    for reference in (text, _changed(REFERENCE, data)):
        found = PARTS.router.reference(reference)
        assert found is None or (found == SEND and reference.strip().lower() == REFERENCE), reference


def _changed(text: str, data: bytes) -> str:
    """`text` with some characters replaced, as the input says: a place, and what comes there."""
    characters = list(text)
    for place, octet in zip(data[::2], data[1::2], strict=False):
        characters[place % len(characters)] = chr(octet)
    return "".join(characters)


if __name__ == "__main__":
    quiet.logs()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
