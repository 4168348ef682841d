"""Under way: whether a message that carries a Retour-Ref is that very send, which somebody has handed back to us."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from email.utils import parseaddr

from retour_milter.backend import EarlierSend
from retour_milter.header_edits import first
from retour_milter.recipients import Recipient
from retour_policy.address import is_address, normalise
from retour_policy.config.model import Config, Stream
from retour_policy.config.values import REFERENCE

MAX_REFERENCES = 3  # that are looked at in one message; we make one
Headers = Sequence[tuple[str, str]]


def references(headers: Headers, read: Callable[[str], int | None]) -> Iterator[int]:
    """The sends that genuine Retour-Ref fields name; `read` verifies one."""
    fields = [value for name, value in headers if name.lower() == REFERENCE.lower()]
    for value in fields[:MAX_REFERENCES]:
        number = read(value)
        if number is not None:
            yield number


def is_same_message(
    send: EarlierSend, sender: str, recipients: Sequence[Recipient], headers: Headers, config: Config, now: int
) -> bool:
    """Whether a message with a reference to `send` provably is that one.

    The field alone proves nothing: it travels with the content, when somebody forwards a message, edits it as new or
    posts it to a list. So sender and recipients must be those of the send, and the mail server must still have it.
    A resend may wait longer; it leaves here with its own reference.
    """
    stream = config.stream_named(send.stream)
    if stream is None or stream.pattern:  # on its way it has a VERP address, which needs no reference
        return False
    if not send.is_resend and now - send.at > config.spool.queue_lifetime:
        return False
    stamped = sender_of(stream, headers) or send.sender
    return normalise(sender) == normalise(stamped) and all(send.holds(one.address) for one in recipients)


def sender_of(stream: Stream, headers: Headers) -> str | None:
    """The envelope sender that a stream without a pattern gives a message; None: it keeps its own."""
    if stream.envelope_from == "header-from":
        author = parseaddr(first(headers, "From") or "")[1]
        return author if is_address(author) and author.isascii() else None  # the milter cannot ask for SMTPUTF8
    return stream.static_sender
