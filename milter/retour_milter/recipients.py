"""Recipients: whom a message is for, as the client wrote them and as the mail server will use them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retour_policy.address import mailbox, normalise

REPORTED = "NOTIFY=FAILURE,DELAY"
"""What a mail server reports of a recipient for whom nothing was asked (RFC 3461 section 4.1)."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient of a message."""

    spelling: str
    """As the client wrote it, or as Postfix has completed it for sendmail(1)."""
    address: str
    """The mailbox that the mail server will use, without <>: what is looked up and recorded."""
    options: tuple[str, ...] = ()
    """The ESMTP parameters of RCPT."""

    @classmethod
    def of(cls, spelling: str, resolved: str | None, options: Sequence[str] = ()) -> Recipient:
        """`resolved` is what the mail server says that it makes of it: Postfix's {rcpt_addr}.

        Postfix puts that in lower case, so the client's own spelling is kept where it is the same mailbox.
        """
        own, theirs = mailbox(spelling), mailbox(resolved or "")
        address = own if "@" not in theirs or normalise(theirs) == normalise(own) else theirs
        return cls(spelling, address, tuple(options))

    @property
    def reporting(self) -> str | None:
        """The parameters with which failures are reported; None if they are already (RFC 3461 section 4.1)."""
        asked = next((one[len("NOTIFY=") :].upper() for one in self.options if one.upper().startswith("NOTIFY=")), None)
        words = (asked or "FAILURE").split(",")
        if "FAILURE" in words:
            return None
        notify = ",".join([*(word for word in words if word != "NEVER"), "FAILURE"])
        return " ".join([f"NOTIFY={notify}", *(one for one in self.options if one.upper().startswith("ORCPT="))])


@dataclass(frozen=True, slots=True)
class RecipientEdits:
    """What to ask of the mail server: first the removals, then the additions."""

    delete: tuple[str, ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    """Recipient, and its ESMTP parameters."""


NO_EDITS = RecipientEdits()


def edits_of(
    withheld: Iterable[Recipient],
    kept: Sequence[Recipient],
    readd: Iterable[Recipient],
    *,
    completed: bool,
    can_add: bool,
) -> RecipientEdits:
    """How to have `withheld` get nothing, and failures of `readd`, who are among the kept, reported.

    Postfix removes a recipient by the form in which it got it (cleanup(8) compares octets), not by the one that it
    shows. Over SMTP that is what the client wrote, without a source route. Of sendmail(1) mail, which is `completed`,
    nobody tells, so all forms that come to the same are named. Where one of those could be a kept recipient as well,
    that one is removed and added again.
    """
    delete, add = list[str](), [(one.spelling, one.reporting or REPORTED) for one in readd]
    delete += [one.spelling for one in readd]
    for one in withheld:
        delete += _forms(one)
        if completed:
            alike = [other for other in kept if _local(other) == _local(one)]
            if not alike:
                delete += _incomplete_forms(one)
            elif can_add:
                delete += [form for other in (one, *alike) for form in (*_forms(other), *_incomplete_forms(other))]
                add += [(other.spelling, REPORTED) for other in alike]
    return RecipientEdits(tuple(dict.fromkeys(delete)), tuple(dict.fromkeys(add)))


def _forms(one: Recipient) -> list[str]:
    bare = one.spelling.strip().removeprefix("<").removesuffix(">")
    return [one.spelling, *(form for form in (mailbox(one.spelling), one.address) if form != bare)]


def _incomplete_forms(one: Recipient) -> list[str]:
    """What Postfix would have completed to this address (append_at_myorigin, append_dot_mydomain and the like)."""
    local, _, domain = one.address.rpartition("@")
    host = domain.partition(".")[0]
    return [local, f"{local}@{host}", f"{local}@{domain}.", f"{domain}!{local}", f"{local}%{domain}"]


def _local(one: Recipient) -> str:
    return one.address.rpartition("@")[0]
