"""Exim on the recipe `postfix-examples/exim`: stamped, refused and taken back without any milter."""

import json
import smtplib
import socket
from contextlib import ExitStack, suppress

import pytest

from lab.destination import Destination, RefuseOnce
from lab.exim import PrivateExim
from lab.process import Child, workspace
from lab.site import DOMAIN, HERE, OUTSIDER, RETOUR, retour
from lab.swaks import swaks
from lab.wait import wait_until

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
suppressed = "refuse"

[[stream]]
name = "shop"
match = { sender = ["shop@example.com"] }
envelope_from = "b-%@bounces.example.com"
suppressed = "drop"
"""


class Host:
    """Exim, milter service, LMTP daemon, and a destination."""

    def __init__(self, folder):
        self.home = folder / "retour"
        self.config = self.home / "retour.toml"
        self.destination = Destination()
        self.services = {}
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self):
        self._stack.enter_context(self.destination)
        sockets = self.home / "sockets"
        assert retour("init", "--dir", self.home, "--domain", DOMAIN).returncode == 0
        text = self.config.read_text().partition("\n[[stream]]\n")[0]
        text = text.replace('stamper = ""', f'stamper = "unix:{sockets}/stamper.sock"')
        text = text.replace('trusted = ["127.0.0.0/8", "::1"]', 'trusted = ["127.0.0.1/32"]')
        lines = [f'group = "{"Debian-exim"}"' if line.startswith("group = ") else line for line in text.splitlines()]
        self.config.write_text("\n".join(lines) + STREAMS)
        for path in (self.home, sockets):
            path.chmod(0o755)
        for name in ("milter", "lmtpd"):
            self.start(name)
        self.exim = self._stack.enter_context(
            PrivateExim(self._folder / "exim", sockets, int(self.destination.hop.rpartition(":")[2]))
        )
        self.destination.return_port = self.exim.smtp_port
        return self

    def __exit__(self, *error):
        if error[0] is not None:
            print(self.exim.log())
        self._stack.__exit__(*error)

    def start(self, name):
        child = Child([*RETOUR, name, "--config", self.config], folder=self._folder, name=name)
        self._stack.enter_context(child)
        child.wait_ready()
        self.services[name] = child

    def retour(self, *words):
        return retour(*words, config=self.config)

    def send(self, sender, to, interface=HERE):
        return swaks(server=self.exim.smtp_server, from_=sender, to=to, local_interface=interface)

    def bounces(self, address):
        found = self.retour("events", "--address", address, "--kind", "bounce", "--json")
        return found.stdout.splitlines()


def heard(client):
    try:
        return client.recv(1_000)
    except ConnectionResetError:
        return b""


@pytest.fixture(scope="module")
def host():
    with workspace() as folder, Host(folder) as host:
        yield host


def test_each_recipient_gets_a_sender_of_their_own(host):
    """Exim sends one by one, so nobody shares a token; the demanded sender is a VERP address that Retour knows."""
    to = ["ok+anna@example.net", "ok+bert@example.net"]
    assert host.send("news@example.com", to).accepted
    senders = {host.destination.wait_to(one).sender for one in to}
    assert len(senders) == 2
    assert all(one.startswith("b-") and one.endswith(f"@{DOMAIN}") for one in senders)


def test_a_refusal_by_the_next_server_comes_back_and_counts(host):
    """Exim makes the report itself, asks the lookup, and hands it over by LMTP."""
    assert host.send("news@example.com", "gone@example.net").accepted
    wait_until(lambda: host.bounces("gone@example.net"), what="the bounce", seen=host.exim.log)
    assert '"proof": "signed"' in host.bounces("gone@example.net")[0]


def test_a_report_from_outside_comes_back_and_a_forged_one_is_refused(host):
    """At RCPT, before Exim has queued anything."""
    assert host.send("news@example.com", "later@example.net").accepted
    wait_until(lambda: host.bounces("later@example.net"), what="the bounce", seen=host.exim.log)
    forged = host.send("<>", f"b-{'a' * 30}@{DOMAIN}", interface=OUTSIDER)
    assert forged.reply_to("RCPT TO").code == 550


def test_what_is_tried_again_is_one_send_that_arrived(host):
    """Exim asks anew at each try; a try that was put off is not taken for mail that arrived."""
    host.destination.script["busy"] = RefuseOnce("451 4.2.0 greylisted")
    assert host.send("news@example.com", "busy@example.net").accepted
    host.destination.wait_to("busy@example.net")
    traced = [json.loads(line) for line in host.retour("trace", "busy@example.net", "--json").stdout.splitlines()]
    latest, *earlier = [one["recipients"][0]["apart"] for one in traced]
    assert latest is None and earlier and all(earlier)


@pytest.mark.parametrize("way", ["smtp", "sendmail"])
def test_who_is_suppressed_gets_nothing(host, way):
    """The client hears it at RCPT; sendmail(1)'s sender gets a report; a stream that drops says nothing."""
    host.retour("suppressions", "add", "ok+away@example.net")
    if way == "smtp":
        reply = host.send("news@example.com", "ok+away@example.net").reply_to("RCPT TO")
        assert (reply.code, "is suppressed" in reply.text) == (550, True)
        assert host.send("shop@example.com", ["ok+away@example.net", "ok+here@example.net"]).accepted
    else:
        both = ["ok+away@example.net", "ok+here@example.net"]
        host.exim.sendmail(b"Subject: x\n\nx\n", to=both, from_="shop@example.com")
    host.destination.wait_to("ok+here@example.net")
    wait_until(lambda: not host.exim.queue(), what="an empty queue", seen=host.exim.log)
    assert not [one for one in host.destination.arrived if "ok+away@example.net" in one.recipients]


def test_mail_from_outside_and_of_no_stream_keeps_its_sender(host):
    """Somebody outside who claims the stream's sender is not stamped, nor told who is suppressed."""
    assert host.send("person@example.com", "ok+plain@example.net").accepted
    assert host.destination.wait_to("ok+plain@example.net").sender == "person@example.com"
    refused = host.send("news@example.com", "ok+away@example.net", interface=OUTSIDER).reply_to("RCPT TO")
    assert (refused.code, "suppressed" in refused.text) == (550, False)


def test_mail_waits_while_the_milter_service_is_away(host):
    """Nothing leaves without a stamp: clients hear 451, sendmail(1)'s mail stays in the queue and goes out later."""
    host.services["milter"].stop()
    assert host.send("news@example.com", "ok+wait@example.net").reply_to("RCPT TO").code == 451
    host.exim.sendmail(b"Subject: x\n\nx\n", to=["ok+wait@example.net"], from_="news@example.com")
    wait_until(lambda: "ok+wait@example.net" in host.exim.log(), what="a try", seen=host.exim.log)
    assert not [one for one in host.destination.arrived if "ok+wait@example.net" in one.recipients]
    host.start("milter")
    assert host.destination.wait_to("ok+wait@example.net").sender.startswith("b-")


def test_lines_that_make_no_sense_are_answered_and_harm_nobody(host):
    """Too long, without an end, of other words: an answer, or none, and the next client is served."""
    path = str(host.home / "sockets/stamper.sock")
    for line, answer in [
        (b"hello\n", b"500 5.5.2 check or stamp, then sender and recipient\n"),
        (b"stamp a b c d e f\n", b"500 5.5.2 check or stamp, then sender and recipient\n"),
        (b"check\tnews@example.com\t\xff\xfe\n", b"250 ok\n"),
        (b"check news@example.com" + b"x" * 9_000, b""),
        (b"check  \nstamp", b""),
    ]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(line)
            with suppress(OSError):  # it need not read such a line to its end
                client.shutdown(socket.SHUT_WR)
            assert heard(client) == answer, line
    with smtplib.SMTP("127.0.0.1", host.exim.smtp_port) as client:
        assert client.ehlo()[0] == 250
