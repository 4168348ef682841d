"""Fuzzes the milter's adapter and session: `python tests/fuzz/fuzz_milter.py [libFuzzer options]`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_milter", "retour_policy.address", "retour_policy.sanitize"]):
    import Milter

    from retour_milter.adapter import Adapter
    from retour_milter.backend import Backend
    from retour_milter.in_flight import InFlight

import parts
import quiet

from retour_policy.core.suppression import Suppression
from retour_policy.messages.outgoing import RecordedSend

PARTS = parts.make()
ANSWERS = {Milter.CONTINUE, Milter.ACCEPT, Milter.REJECT, Milter.TEMPFAIL, Milter.DISCARD, Milter.SKIP, Milter.NOREPLY}
GONE = Suppression("*", "hard", 0, None, "5.1.1 userunknown")
ARGUMENTS = [(), ("NOTIFY=NEVER",), ("NOTIFY=DELAY", "ORCPT=rfc822;a+2Bb@example.net"), ("ORCPT=",)]
BARE = ("\r", "\x00")


class NothingKept(Backend):
    """Knows one suppressed address, and records nothing."""

    def __init__(self) -> None:
        self.clock = lambda: parts.NOW
        self.signer = PARTS.signer
        self.settings = PARTS
        self.in_flight = InFlight()

    def suppressed_among(self, stream, some):  # type: ignore[no-untyped-def]
        """Whoever has a g in their name."""
        return {address: GONE for address in some if "g" in address}

    def find_send(self, number):  # type: ignore[no-untyped-def]
        """None is on record."""
        return

    def record(self, settings, stream, sender, recipients, withheld, **more):  # type: ignore[no-untyped-def]
        """A number for the send."""
        assert recipients or withheld
        return RecordedSend(self.signer.draw(), _none())


def _none() -> Mapping[str, Suppression]:
    return {}


class Postfix:
    """What the adapter asks of the mail server: keeps it, and looks at it."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        """Any action: its texts hold no octet that ends a header or a reply."""

        def act(*words: object) -> object:
            texts = [word for word in words if isinstance(word, str)]
            said_before = name == "delrcpt"  # spelled as the client did
            assert said_before or not any(octet in text for text in texts for octet in BARE), (name, words)
            assert name != "setreply" or not any("\n" in text for text in texts), words
            assert name != "chgfrom" or texts[0].isascii(), words
            return None

        return act

    def getsymval(self, name: str) -> str | None:
        """Nobody logged in; the mail server tells no other form of a recipient."""
        return "4Fq" if name == "i" else None


def one_input(data: bytes) -> None:
    """A session of any texts gets one of the known answers at each step, and no exception."""
    given = atheris.FuzzedDataProvider(data)
    adapter = Adapter()
    adapter._ctx, adapter._protocol, adapter._actions = Postfix(), 0, 0x1FF
    adapter.connect("client", socket.AF_INET, ("127.0.0.1", given.ConsumeIntInRange(0, 2)))
    for _ in range(given.ConsumeIntInRange(1, 3)):
        sender = "<news@example.com>" if given.ConsumeBool() else _text(given)
        answers = [adapter.envfrom(sender)]
        if answers != [Milter.ACCEPT]:
            taken = [
                adapter.envrcpt(_text(given), *given.PickValueInList(ARGUMENTS))
                for _ in range(given.ConsumeIntInRange(1, 3))
            ]
            for _ in range(given.ConsumeIntInRange(0, 4)):
                name = given.PickValueInList(["Subject", "Retour-Tag", "Retour-Ref", "X-Kind", "Message-ID", "From"])
                adapter.header(name, "static" if given.ConsumeBool() else _text(given))
            # A mail server asks for the end of a message only where a recipient was taken.
            answers += [*taken, *([adapter.eom()] if Milter.CONTINUE in taken else [])]
        assert set(answers) <= ANSWERS, answers
        adapter.abort()
    adapter.close()
    quiet.assert_no_fault()


def _text(given: atheris.FuzzedDataProvider) -> str:
    """As pymilter hands texts over: octets with surrogate escapes, and never a NUL, which ends them in C."""
    octets = given.ConsumeBytes(given.ConsumeIntInRange(0, 60)).replace(b"\0", b"")
    return str(octets.decode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    quiet.logs()
    Adapter.backend = NothingKept()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
