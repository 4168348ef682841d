"""Recipients: which address a spelling means, and how the mail server is told to leave somebody out."""

import pytest

from retour_milter.recipients import NO_EDITS, Recipient, edits_of
from retour_policy.address import mailbox


def taken(spelling, resolved=None):
    return Recipient.of(spelling, resolved).address


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [
        ("<Anna@example.net>", "Anna@example.net"),
        ('<"Anna"@example.net>', "Anna@example.net"),
        ('<"An na"@example.net>', '"An na"@example.net'),
        ('<"a\\"b@c"@example.net>', '"a\\"b@c"@example.net'),
        ('<an."na".x@example.net>', "an.na.x@example.net"),
        ("<@a.example,@b.example:anna@example.net>", "anna@example.net"),
        ("<anna(one (two))@(three)example.net>", "anna@example.net"),
        (" < anna @ example.net > ", "anna@example.net"),
        ("<anna@example.net..>", "anna@example.net"),
        ("<example.net!anna>", "anna@example.net"),
        ("<a.example!example.net!anna>", "example.net!anna@a.example"),
        ("<anna%example.net>", "anna@example.net"),
        ("<anna%a.example@example.net>", "anna%a.example@example.net"),
        ("<anna@[IPv6:::1]>", "anna@[IPv6:::1]"),
        ("<Postmaster>", "Postmaster"),
        ('<"anna@example.net">', '"anna@example.net"'),
        ("", ""),
        ("<>", ""),
    ],
)
def test_a_path_is_read_as_a_mail_server_reads_it(spelling, meant):
    """Without source route, comments, needless quotes and white space (RFC 5321, Postfix)."""
    assert mailbox(spelling) == meant
    assert mailbox(meant) == meant or "!" in meant


def test_what_the_mail_server_makes_of_it_counts():
    """Where it tells; it puts all in lower case, so where only that differs the client's spelling is kept."""
    assert taken("<anna>", "anna@mx.example.com") == "anna@mx.example.com"
    assert taken("<Anna@Example.net>", "anna@example.net") == "Anna@Example.net"
    assert taken("<anna%example.net@mx.example.com>", "anna@example.net") == "anna@example.net"
    assert taken("<anna@example.net>", "anna") == "anna@example.net"  # Sendmail's name of a local mailbox
    assert taken("<anna@example.net>") == "anna@example.net"


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ((), None),
        (("NOTIFY=FAILURE",), None),
        (("notify=success,failure",), None),
        (("NOTIFY=NEVER",), "NOTIFY=FAILURE"),
        (("NOTIFY=never", "ORCPT=rfc822;a@b"), "NOTIFY=FAILURE ORCPT=rfc822;a@b"),
        (("NOTIFY=SUCCESS,DELAY",), "NOTIFY=SUCCESS,DELAY,FAILURE"),
        (("ORCPT=rfc822;a@b",), None),
    ],
)
def test_failures_are_asked_for_where_the_client_does_not(options, asked):
    """What else it asks for stays."""
    assert Recipient.of("<a@b>", None, options).reporting == asked


A, B = Recipient.of("<anna@example.net>", None), Recipient.of("<anna@example.org>", None)
ROUTED = Recipient.of("<@x:anna@example.net>", None)
COMPLETED = Recipient.of("anna@example.net", "anna@example.net")
ALIKE = Recipient.of("anna@example.org", "anna@example.org")


def test_a_recipient_is_removed_by_each_form_that_the_mail_server_may_have():
    """By what the client wrote and what it means; of sendmail(1) mail also by what Postfix may have completed."""
    assert edits_of([], [A], [], completed=True, can_add=True) == NO_EDITS
    assert edits_of([A], [B], [], completed=False, can_add=True).delete == ("<anna@example.net>",)
    assert edits_of([ROUTED], [], [], completed=False, can_add=True).delete == (
        "<@x:anna@example.net>",
        "anna@example.net",
    )
    found = edits_of([COMPLETED], [], [], completed=True, can_add=True)
    assert {"anna@example.net", "anna", "anna@example"} <= set(found.delete) and not found.add


def test_who_could_be_meant_as_well_is_added_again_or_nobody_is_removed_by_name():
    """A mail server that adds no recipients for us must not lose one."""
    found = edits_of([COMPLETED], [ALIKE], [], completed=True, can_add=True)
    assert {"anna", "anna@example.org"} <= set(found.delete)
    assert found.add == (("anna@example.org", "NOTIFY=FAILURE,DELAY"),)
    found = edits_of([COMPLETED], [ALIKE], [], completed=True, can_add=False)
    assert (found.delete, found.add) == (("anna@example.net",), ())
