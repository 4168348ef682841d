"""Intake: `retour lmtpd` alone, to which feedback reports are delivered over LMTP, and what came of them."""

from __future__ import annotations

import json
import smtplib
from email.utils import formatdate
from pathlib import Path
from typing import Any

from lab.process import Child
from lab.site import DOMAIN, RETOUR, retour
from retour_cli.context import Context
from retour_policy.store import sends
from retour_policy.store.sends import NewSend
from retour_policy.tokens.token import draw_id

STREAMS = f"""
[[stream]]
name = "news"
match = {{ sender = ["news@example.com"] }}
envelope_from = "b-%@{DOMAIN}"

[[stream]]
name = "static"
match = {{ sender = ["static@example.com"] }}
envelope_from = "returns@{DOMAIN}"

[[hook]]
name = "app"
on = ["all"]
command = ["/bin/true"]
"""
RETURNS, ABUSE = f"returns@{DOMAIN}", f"abuse@{DOMAIN}"
FEEDBACK = """\
From: feedback@provider.example
To: {to}
Subject: FW: News
Date: {date}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b

This is a feedback report.
--b
Content-Type: message/feedback-report

{type}User-Agent: Provider/{number}
Version: 1
{named}
--b
Content-Type: message/rfc822

From: news@example.com
To: {recipient}
{returned}Subject: News

Hello
--b--
"""


class Intake:
    """`retour lmtpd` with a stream of each kind, and a hook that hears everything."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "r"
        self.config = self.home / "retour.toml"
        made = retour("init", "--dir", self.home, "--domain", DOMAIN, "--postmaster", "pm@example.com")
        assert made.returncode == 0, made.stderr
        text = self.config.read_text()
        self.config.write_text(text.partition("[[stream]]\n")[0] + STREAMS)
        self.service = Child([*RETOUR, "lmtpd", "--config", self.config], folder=folder, name="lmtpd")
        self._number = 0

    def made(self, to: str, stream: str = "news") -> str:
        """A VERP address, or of the static stream a Retour-Ref, with a send record behind it."""
        purpose = ["--purpose", "reference"] if stream == "static" else []
        done = retour("token", "make", "--stream", stream, "--to", to, *purpose, config=self.config)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[0]

    def sent(self, to: str, stream: str, message_id: str) -> None:
        """A message went out."""
        context = Context(self.config)
        with context.store.writing() as connection:
            new = NewSend(stream, "app@example.com", (to,), message_id=message_id)
            sends.record(connection, context.ring.address_secret, new, lambda: draw_id(context.clock()))
        context.store.close()

    def deliver(self, to: str, message: str) -> None:
        """Over LMTP, as Postfix does."""
        with smtplib.LMTP(str(self.home / "sockets/lmtp.sock"), local_hostname="mx.example.com") as client:
            assert client.sendmail("", [to], message.replace("\n", "\r\n").encode()) == {}

    def feedback(self, to: str, type_: str | None, recipient: str, *, named: bool = True, returned: str = "") -> None:
        """A feedback report comes."""
        self.deliver(to, self.compose(to, type_, recipient, named=named, returned=returned))

    def compose(self, to: str, type_: str | None, recipient: str, *, named: bool = True, returned: str = "") -> str:
        """A feedback report, which says in its User-Agent that it is not the one before."""
        self._number += 1
        values = {
            "type": f"Feedback-Type: {type_}\n" if type_ is not None else "",
            "named": f"Original-Rcpt-To: <{recipient}>\n" if named else "",
            "recipient": recipient if named else "undisclosed-recipients:;",
            "date": formatdate(),
            "number": self._number,
        }
        return FEEDBACK.format(to=to, returned=returned, **values)

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in retour(*words, "--json", config=self.config).stdout.splitlines()]

    def suppressed(self, to: str) -> list[tuple[str, str]]:
        """Where an address is suppressed, and why."""
        return [(one["scope"], one["cause"]) for one in self.json("suppressions", "list") if one["address"] == to]

    def told(self, to: str) -> list[str]:
        """The events about an address that wait for the hook."""
        context = Context(self.config)
        with context.store.reading() as connection:
            bodies = connection.exec_driver_sql("SELECT body FROM outbox WHERE kind = 'event' ORDER BY id").scalars()
            events = [json.loads(bytes(body)) for body in bodies]
        context.store.close()
        return [event["type"] for event in events if event["data"].get("address") == to]
