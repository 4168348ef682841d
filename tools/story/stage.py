"""Stage: where the story is played: a private Postfix, Retour and a destination, in a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lab.destination import Arrived
from lab.ports import free_port
from lab.receiver import SECRET, Receiver
from lab.site import RETOUR, Site
from lab.swaks import SwaksResult, swaks
from lab.wait import wait_until
from retour_cli.main import main as retour
from story.interrupts import Interrupts
from story.teller import Broken, Teller, command_line, fold
from story.terminal import run_on_terminal

STREAMS = """\
[[stream]]
name = "newsletter"
match = { sender = ["newsletter@example.com"] }
envelope_from = "b-%@bounces.example.com"       # a token takes the place of %
headers = { Feedback-ID = "{tag}:{stream}:mail:example" }

[[stream]]
name = "invoices"
match = { sender = ["billing@example.com"] }
envelope_from = "invoices@bounces.example.com"  # one for all

[[stream]]
name = "support"
match = { sender = ["support@example.com"] }    # the sender stays as it is
"""

RESENDING = """\
[[stream]]
name = "reminders"
match = { sender = ["reminder@example.com"] }
envelope_from = "b-%@bounces.example.com"
retry = { interval = "1s", count = 2 }          # four hours would be usual
"""

CLUB = """\
[web]
listen = ["inet:@PORT@@127.0.0.1"]
public_url = "http://127.0.0.1:@PORT@"
operator = "Garden club"
allow_http = true                               # for loopback it will do

[[stream]]
name = "club"
match = { sender = ["club@example.com"] }
envelope_from = "b-%@bounces.example.com"
list_id = "Garden club <club.example.com>"
unsubscribe = { https = "http://127.0.0.1:@PORT@", mailto = true, post = true }
"""

HOOKS = """\
[[hook]]
name = "archive"
on = ["suppressed"]
command = ["/usr/bin/tee", "-a", "@FOLDER@/told"]

[[hook]]
name = "shop"
on = ["bounce.soft", "resent"]
streams = ["reminders"]
webhook = "@URL@"
secret_file = "@FOLDER@/shop.secret"
allow_http = true                               # for loopback it will do
allow_private = ["127.0.0.1"]
"""

POLICY = """\
[policy]
hard = 1
"""
FRIEND = "anna@example.net"


class Stage:
    """Sends mail and runs commands, and shows both."""

    def __init__(self, site: Site, tell: Teller, receiver: Receiver, web_port: int) -> None:
        self.site = site
        self.tell = tell
        self.receiver = receiver
        self.web_port = web_port
        self.told = site.folder / "told"
        self.calls = 0

    def hide(self, text: str) -> str:
        """The text with this story's addresses and paths."""
        text = text.replace("@PORT@", str(self.web_port))
        return text.replace("@FOLDER@", str(self.site.folder)).replace("@URL@", self.receiver.url())

    def mail(self, sender: str, to: str | Sequence[str], *, dialogue: bool = False, **options: Any) -> SwaksResult:
        """Send a message by swaks, and show the command and the last reply, or (`dialogue`) the envelope's."""
        return self._shown(swaks(server=self.site.postfix.smtp_server, from_=sender, to=to, **options), dialogue)

    def mail_from_outside(self, sender: str, to: str, *, dialogue: bool = False, **options: Any) -> SwaksResult:
        """The same from a host that Postfix does not relay for."""
        return self._shown(self.site.send_from_outside(sender, to, **options), dialogue)

    def arrives(self, number: int, to: str = FRIEND) -> Arrived:
        """Wait for that message to `to`, counted from 1. Raises `Broken`."""
        destination = self.site.destination

        def to_them() -> list[Arrived]:
            return [message for message in destination.arrived if to in message.recipients]

        try:
            destination.wait_for(lambda _: len(to_them()) >= number)
        except TimeoutError:
            self.tell.fail(f"message {number} to {to} arrives", str(number), str(len(to_them())))
            raise Broken("arrived") from None
        return to_them()[number - 1]

    def type(self, *words: str) -> str:
        """Run `retour` on a terminal of 80 columns, show command and output, and return the output."""
        env = os.environ | {"RETOUR_CONFIG": str(self.site.config)}
        status, said = run_on_terminal([*RETOUR, *words], env=env)
        self.tell.typed(command_line(["retour", *words]), said)
        if status:
            self.tell.need(f"retour {words[0]} ends with exit status 0", status, 0)
        return said

    def json(self, *words: str) -> list[dict[str, Any]]:
        """What `retour ... --json` prints; called behind the scenes, so without a process of its own."""
        command = [*words, "--json", "--config", str(self.site.config)]
        return [json.loads(line) for line in CliRunner().invoke(retour, command).stdout.splitlines()]

    def wait_for_events(self, *wanted: tuple[str, str]) -> dict[str, dict[str, Any]]:
        """Wait until for each address an event of that kind is recorded; the latest event of each address.

        Raises `Broken`.
        """
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = self.json("events")
            return set(wanted) <= {(event.get("address"), event["kind"]) for event in found}

        try:
            wait_until(look, what="the events")
        except TimeoutError:
            came = ", ".join(f"{event['kind']} of {event.get('address')}" for event in found) or "nothing"
            self.tell.fail("it is recorded", ", ".join(f"{kind} of {address}" for address, kind in wanted), came)
            raise Broken("recorded") from None
        return {str(event.get("address")): event for event in found}

    def counts(self, address: str) -> dict[str, int]:
        """What is counted against an address."""
        counts: dict[str, dict[str, int]] = self.json("address", "show", address)[0]["counts"]
        return counts.get("*", {})

    def suppressed(self) -> set[str]:
        """The addresses that are suppressed."""
        return {one["address"] for one in self.json("suppressions", "list")}

    def _shown(self, result: SwaksResult, dialogue: bool) -> SwaksResult:
        self.calls += 1
        lines = _envelope(result.transcript) if dialogue else _last_reply(result.transcript)
        self.tell.typed(command_line(result.command), "\n".join(part for line in lines for part in fold(line)))
        return result


@contextmanager
def stage(tell: Teller, interrupts: Interrupts, *, keep: bool) -> Iterator[Stage]:
    """Set up, and take everything down again, whatever happens; `keep` leaves the folder."""
    folder = Path(tempfile.mkdtemp(prefix="retour-", dir=_base()))
    folder.chmod(0o755)
    (folder / "shop.secret").touch(0o600)
    (folder / "shop.secret").write_text(SECRET)
    stack = ExitStack()
    if not keep:
        stack.callback(shutil.rmtree, folder)
    try:
        with interrupts.held():
            receiver = stack.enter_context(Receiver())
            hooks = HOOKS.replace("@FOLDER@", str(folder)).replace("@URL@", receiver.url())
            settings, web_port = {"hard": POLICY.split()[-1]}, free_port()
            club = CLUB.replace("@PORT@", str(web_port))
            site = stack.enter_context(Site(folder, STREAMS + RESENDING + club + hooks, settings=settings))
        yield Stage(site, tell, receiver, web_port)
    finally:
        with interrupts.held():
            stack.close()


def logs(folder: Path, most: int = 15) -> str:
    """The last lines of Postfix's log and of Retour's, to find out why a line does not hold."""
    found = []
    for name in ("postfix/mail.log", "serve.log"):
        path = folder / name
        lines = path.read_text(errors="replace").splitlines() if path.exists() else ["(there is none)"]
        found.append("\n".join([f"--- the end of {name}", *lines[-most:]]))
    return "\n".join(found)


def left_behind(folder: Path) -> list[str]:
    """The processes, as `pid name`, that work in `folder` or were started with it in their words or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            known = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
            if str(folder).encode() in known + bytes(process.joinpath("cwd").readlink()):
                found.append(f"{process.name} {process.joinpath('comm').read_text().strip()}")
    return found


def _base() -> str:
    """Where temporary files go, if the user postfix may enter it; where each user has a folder, it may not."""
    usual = Path(tempfile.gettempdir())
    passable = all(folder.stat().st_mode & 0o001 for folder in (usual, *usual.parents))
    return str(usual) if passable else "/tmp"


def _last_reply(transcript: str) -> list[str]:
    """The server's last word before QUIT."""
    heard = [line for line in transcript.partition(" -> QUIT")[0].splitlines() if line.startswith("<")]
    return heard[-1:]


def _envelope(transcript: str) -> list[str]:
    """The commands MAIL and RCPT and the final dot, each with its replies."""
    shown, wanted = [], False
    for line in transcript.splitlines():
        if line.startswith((" -> ", " ~> ")):
            wanted = line[4:].startswith(("MAIL ", "RCPT ")) or line[4:] == "."
            shown += [line] if wanted else []
        elif line.startswith("<") and wanted:
            shown.append(line)
    return shown
