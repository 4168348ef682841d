"""Token: makes VERP addresses for tests, and decodes one."""

from __future__ import annotations

import shlex

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, say
from retour_policy.clock import iso_text
from retour_policy.errors import InputError
from retour_policy.messages.router import Router
from retour_policy.messages.signer import Signer
from retour_policy.store import sends
from retour_policy.store.sends import NewSend
from retour_policy.tokens import token as tokens
from retour_policy.tokens.token import Purpose, TokenError

_REPORT = (
    "From: MAILER-DAEMON@mx.example.net\\nTo: <{to}>\\nSubject: Undelivered mail\\nMIME-Version: 1.0\\n"
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\\n\\n"
    "--b\\n\\nNo such user.\\n--b\\nContent-Type: message/delivery-status\\n\\n"
    "Reporting-MTA: dns; mx.example.net\\n\\nFinal-Recipient: rfc822; {address}\\nAction: failed\\n"
    "Status: 5.1.1\\nDiagnostic-Code: smtp; 550 5.1.1 no such user\\n--b--\\n"
)


@click.group()
def token() -> None:
    """VERP addresses: make one to try things with, or read one."""


@token.command()
@options
@click.option("--stream", required=True, help="The stream whose pattern to use.")
@click.option("--to", "address", required=True, help="The recipient that the send record will name.")
@click.option(
    "--purpose",
    type=click.Choice(["bounce", "reference"]),
    default="bounce",
    show_default=True,
    help="bounce: a VERP address; reference: the value of a Retour-Ref field.",
)
@click.option("--server", default="127.0.0.1", show_default=True, help="The mail server in the swaks line.")
@json_option
def make(context: Context, stream: str, address: str, purpose: str, server: str, as_json: bool) -> None:
    """Record a send that never took place, and print its VERP address.

    Also prints a swaks line that sends a hard bounce to it from outside, all
    the way through the mail server. It counts against the address! See it with
    `retour address show`, take it back with `retour suppressions remove`.
    """
    context.key(address)
    found, signer = context.stream(stream), Signer(context.ring, context.clock)
    if purpose == Purpose.BOUNCE and not found.pattern:
        raise InputError(f"stream {stream} has no pattern with %; try --purpose reference")
    new = NewSend(found.name, "", (address,))
    secret = context.ring.address_secret
    number = context.write(lambda connection: sends.record(connection, secret, new, signer.draw))
    made = signer.reference(number) if purpose == Purpose.REFERENCE else signer.envelope_sender(found, number)
    line = swaks_line(server, made, address) if purpose == Purpose.BOUNCE else None
    if as_json:
        print_json({"id": number, "purpose": purpose, "token": made, "swaks": line})
    else:
        say(*(text for text in (made, line) if text))


def swaks_line(server: str, to: str, address: str) -> str:
    """A command that sends a hard bounce about `address` to the VERP address `to`."""
    words = ["swaks", "--server", server, "--from", "<>", "--to", to, "--data", _REPORT.format(to=to, address=address)]
    return shlex.join(words)


@token.command("read")
@click.argument("text", metavar="TOKEN-OR-ADDRESS")
@options
@json_option
def read_(context: Context, text: str, as_json: bool) -> None:
    """Show what a VERP address or a Retour-Ref says, and whether it is genuine.

    Exit status 1 if it is not.
    """
    router = Router(context.config, context.ring, context.clock)
    number, kind = _read(router, text.strip().strip("<>"))
    with context.store.reading() as connection:
        send = sends.find(connection, number)
    values = {
        "id": number,
        "kind": kind,
        "sent": iso_text(tokens.id_time(number)),
        "stream": send.stream if send else None,
        "recipients": len(send.recipients) if send else None,
        "tag": send.tag if send else None,
    }
    if as_json:
        print_json(values)
        return
    say(f"genuine {kind} token of send {number}, drawn {values['sent']}")
    if send:
        tag = f", tag {send.tag}" if send.tag else ""
        say(f"stream {send.stream}, {len(send.recipients)} recipient(s){tag}")
    else:
        say("the store has no record of that send")


def _read(router: Router, text: str) -> tuple[int, str]:
    if "@" not in text:
        number = router.reference(text)
        if number is None:
            raise InputError(f"{text}: not a reference of ours, or too old")
        return number, "reference"
    try:
        route = router.route(text)
    except TokenError as error:
        raise InputError(f"{text}: {error.reason}") from error
    except ValueError as error:
        raise InputError(f"{text}: not an address of ours") from error
    if route.send is None:
        raise InputError(f"{text}: ours, but it carries no token")
    return route.send, "bounce"
