"""What the recipe's comments say about reports: none is thrown away, and what waited comes on request."""

from __future__ import annotations

import smtplib
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.postfix import PrivatePostfix

ADDRESS = "b-x@bounces.example.com"
WITHOUT_RETOUR = {"smtpd_milters": "", "non_smtpd_milters": "", "relay_recipient_maps": ""}


class Lmtp(socketserver.StreamRequestHandler):
    """An LMTP server without extensions that answers every message with `server.verdict`."""

    def handle(self) -> None:
        self.say("220 lab LMTP")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"QUIT":
                return
            if verb == b"DATA":
                self.say("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
            self.say(self.server.verdict if verb == b"DATA" else "250 ok")  # type: ignore[attr-defined]

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def lmtp_server(path: Path, verdict: str) -> Iterator[None]:
    with socketserver.ThreadingUnixStreamServer(str(path), Lmtp) as server:
        server.verdict = verdict  # type: ignore[attr-defined]
        path.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


def test_a_report_that_is_answered_with_550_stays_in_the_queue(folder: Path) -> None:
    """soft_bounce turns a permanent refusal into a wait; when the answer is 250 again it is delivered."""
    with PrivatePostfix(folder / "postfix", main=WITHOUT_RETOUR) as postfix:
        with lmtp_server(postfix.sockets / "lmtp.sock", "550 5.0.0 never"):
            postfix.sendmail(b"Subject: report\n\nx\n", to=[ADDRESS], from_="")
            postfix.wait_for_log(rf"retour/lmtp.*to=<{ADDRESS}>.*status=SOFTBOUNCE")
        postfix.wait_deferred(1)
        with lmtp_server(postfix.sockets / "lmtp.sock", "250 2.0.0 recorded"):
            postfix.flush()
            postfix.wait_for_log(rf"to=<{ADDRESS}>.*status=sent")
        postfix.wait_queue_empty()


def test_what_waited_for_retour_is_delivered_at_once_on_request(folder: Path) -> None:
    """After Retour was away, `postqueue -s` of the bounce domain delivers what has waited."""
    with PrivatePostfix(folder / "postfix", main=WITHOUT_RETOUR) as postfix:
        postfix.sendmail(b"Subject: report\n\nx\n", to=[ADDRESS], from_="")
        postfix.wait_deferred(1)
        with lmtp_server(postfix.sockets / "lmtp.sock", "250 2.0.0 recorded"):
            postfix.run("postqueue", "-s", "bounces.example.com")
            postfix.wait_for_log(rf"to=<{ADDRESS}>.*status=sent")


def test_a_report_that_postfix_thinks_we_cannot_take_stays_in_the_queue(folder: Path) -> None:
    """A report that needs SMTPUTF8 is not thrown away even if the daemon should not offer it."""
    report = "From: Zoë <zoë@example.org>\r\nSubject: Zurück\r\n\r\nx\r\n".encode()
    with PrivatePostfix(folder / "postfix", main=WITHOUT_RETOUR) as postfix:
        with (
            lmtp_server(postfix.sockets / "lmtp.sock", "250 2.0.0 recorded"),
            smtplib.SMTP("127.0.0.1", postfix.smtp_port) as client,
        ):
            client.sendmail("", [ADDRESS], report, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
            postfix.wait_for_log(rf"to=<{ADDRESS}>.*SMTPUTF8")
        postfix.wait_deferred(1)


def test_without_the_recipe_such_a_report_would_be_gone(folder: Path) -> None:
    """The two tests above can fail: over Postfix's plain lmtp transport a refused report is deleted."""
    route = {"transport_maps": "inline:{ bounces.example.com=lmtp:unix:retour/lmtp.sock }"}
    with (
        PrivatePostfix(folder / "postfix", main=WITHOUT_RETOUR | route) as postfix,
        lmtp_server(postfix.sockets / "lmtp.sock", "550 5.0.0 never"),
    ):
        postfix.sendmail(b"Subject: report\n\nx\n", to=[ADDRESS], from_="")
        postfix.wait_for_log(rf"to=<{ADDRESS}>.*status=bounced")
        postfix.wait_queue_empty()
