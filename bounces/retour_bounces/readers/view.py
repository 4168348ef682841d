"""View: what readers find out about one message, only when it is asked for, and once where that takes time."""

from __future__ import annotations

from retour_bounces.message import addresses, original
from retour_bounces.message.encoded_word import decoded
from retour_bounces.message.parts import Message
from retour_bounces.message.split_original import split_original
from retour_bounces.message.text import text_of
from retour_bounces.once import once
from retour_bounces.prose import mail_system
from retour_bounces.prose.scan import Prose, scan_text
from retour_bounces.report import Original

MAX_SUBJECT_CHARACTERS = 2_000
MAX_PARTY_CHARACTERS = 4_000
"""Characters of a field with addresses that are read."""
_PARTIES = ("to", "from", "delivered-to", "reply-to", "sender", "return-path")


class View:
    """A message with all that several readers ask of it; what takes time is kept as long as the view."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.fields = message.fields

    @once
    def subject(self) -> str:
        """The Subject, decoded."""
        return decoded(self.fields.get("subject")[:MAX_SUBJECT_CHARACTERS])

    @once
    def text(self) -> str:
        """The whole text that people read."""
        return text_of(self.message)

    @once
    def divided_text(self) -> tuple[str, str]:
        """The text of the report itself, and that of the returned message, "" where none stands in it."""
        return split_original(self.text)

    @property
    def own_text(self) -> str:
        """The text of the report itself."""
        return self.divided_text[0]

    @once
    def attached_original(self) -> Original | None:
        """What is known of the returned message from the part that holds it; None where no part does."""
        return original.of(self.message) if self.message.returned else None

    @once
    def prose(self) -> Prose:
        """What the text says. Who wrote the returned message is hardly what it is about, but a list brings its members
        their own posts."""
        back = self.attached_original
        writer = (back.sender if back else None) or ""
        return scan_text(self.divided_text, self._parties, self.subject, writer)

    @property
    def _parties(self) -> set[str]:
        """Addresses that send or get the report, and so are hardly what it is about."""
        values = [self.fields.get(name)[:MAX_PARTY_CHARACTERS] for name in _PARTIES]
        return set(addresses.written(" ".join(values).lower()))

    @once
    def is_from_mail_system(self) -> bool:
        """Does the sender look like a mail system?"""
        return self._is_author or mail_system.has_envelope(self.fields)

    @once
    def _is_author(self) -> bool:
        return mail_system.is_author(self.fields)

    @property
    def is_report_by_author(self) -> bool:
        """Does a mail system write in its own name? Some programs answer for a person with a mail system's envelope."""
        return self.is_from_mail_system and (self._is_author or self._returns_or_refuses)

    @once
    def names_failure(self) -> bool:
        """Does the Subject tell of a report?"""
        return mail_system.names_failure(self.subject)

    @property
    def returns_message(self) -> bool:
        """Does it hold (the header of) a returned message, or fields?"""
        if self.message.report_type == "delivery-status" or self.message.returned:
            return True
        return bool(self.divided_text[1].strip())

    @property
    def is_borne_out(self) -> bool:
        """Does more than the Subject speak for a report: a returned message, or a text that tells its readers of their
        own mail? Newsletters, tickets and people talk about failures too."""
        return self.returns_message or mail_system.addresses_sender(self.own_text)

    @property
    def is_notice_to_recipient(self) -> bool:
        """Does it tell the recipient of a message that they do not get it? Such a notice does not give it back."""
        return not self.divided_text[1] and mail_system.addresses_recipient(self.own_text)

    @property
    def is_passed_on(self) -> bool:
        """Does a person answer, or pass on what a mail system wrote?"""
        return not self.is_from_mail_system and mail_system.is_answer(self.fields)

    @property
    def mail_system_speaks(self) -> bool:
        """Does a mail system speak of its own, neither a person in its name nor a newsletter of such a name?"""
        fields = self.fields
        if not self.is_from_mail_system or ("in-reply-to" in fields and mail_system.is_re(fields.get("subject"))):
            return False
        if mail_system.is_list_mail(fields) and not self.is_borne_out:
            return False
        return not self.is_notice_to_recipient

    @once
    def may_be_report(self) -> bool:
        """Do sender or Subject, and what bears them out, look as if a mail system wrote the message?"""
        fields = self.fields
        if self.is_from_mail_system:
            return not self.is_summary
        if mail_system.is_answer(fields) and not self.is_marked_report:
            return False
        has_null_sender = fields.get("return-path") == "<>"
        if has_null_sender and not mail_system.is_list_mail(fields) and self._returns_or_refuses:
            return True  # a null sender alone is also that of receipts and of answers by program (RFC 3834 section 3.3)
        if mail_system.names_goods(self.subject) and not self.returns_message:
            return False
        if not self.names_failure or not self.is_borne_out:
            return False
        return has_null_sender or mail_system.begins_as_report(self.own_text)

    @once
    def is_marked_report(self) -> bool:
        """Is it a report although it calls itself an answer by program and names a person as its author? It names the
        failed recipients in a field, or tells what became of a message and brings it back, or wants no answer."""
        fields = self.fields
        if "x-failed-recipients" in fields:
            return True
        if not mail_system.is_auto_reply(fields) or mail_system.is_list_mail(fields):
            return False
        if mail_system.is_handed_on(fields) or mail_system.is_re(self.subject) or not self.names_failure:
            return False
        is_borne_out = self.is_borne_out if fields.get("return-path") == "<>" else self.returns_message
        return is_borne_out and mail_system.begins_as_report(self.own_text)

    @property
    def is_summary(self) -> bool:
        """Are these statistics, a log or a digest? A report's Subject may repeat that of such a message."""
        return not self.returns_message and mail_system.names_summary(self.subject) and not self.is_borne_out

    @property
    def _returns_or_refuses(self) -> bool:
        return self.returns_message or mail_system.quotes_refusal(self.text)

    @property
    def surely_returns_message(self) -> bool:
        """Is it beyond doubt that a mail system gives a message back?"""
        return self.is_surely_report and (self.message.returned is not None or mail_system.holds_returned(self.text))

    @once
    def is_surely_report(self) -> bool:
        """Is it beyond doubt that a mail system reports, neither a person in its name nor a list, a digest, a shop, an
        answer by program?"""
        subject = self.subject
        if not self.mail_system_speaks or not self.names_failure:
            return False
        if mail_system.is_answer(self.fields) or mail_system.is_re(subject):
            return False
        if mail_system.names_summary(subject) or mail_system.names_goods(subject):
            return False
        return mail_system.is_machine(self.fields, self.message.returned is not None)
