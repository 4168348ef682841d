"""Live: a real message through the whole path, a forged and a real bounce of it; what each step came to.

swaks(1) sends the message as an application would. While it is in the queue, postcat(1) shows what was stamped, and
whether the signature holds. What the real bounce counted against the address is taken back.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from typing import Any

import dkim

from retour_cli.aside import aside
from retour_cli.commands.token import swaks_line
from retour_cli.context import Context
from retour_cli.doctor.finding import Finding, critical, hint, warning
from retour_cli.doctor.names import Names
from retour_cli.doctor.signing import needed
from retour_cli.output import print_json, say, wrapped
from retour_cli.postfix.postconf import PostfixError, Programs
from retour_policy.address import is_address
from retour_policy.config.model import Stream
from retour_policy.errors import InputError
from retour_policy.maintenance.undo import Window, failures, undo
from retour_policy.messages.signer import Signer
from retour_policy.store import trace
from retour_policy.tokens import token

PATIENCE_S = 60.0
PAUSE_S = 0.2
SWAKS_TIMEOUT_S = 120.0
SUBJECT = "Retour: a message to see the whole path"
_QUEUED = re.compile(r"queued as (\w+)")
_REPLY = re.compile(r"^<[~*-][ *-] +(\d{3}[ -].*)$", re.MULTILINE)
Steps = Iterator[tuple[str, str] | Finding]
"""What a step is called and what came of it, or what is wrong: then it was the last."""


@dataclass
class Live:
    """One message, sent to `address` through `server`."""

    context: Context
    programs: Programs
    address: str
    server: str
    names: Names | None
    user: str | None

    def run(self, as_json: bool) -> list[Finding]:
        """Take all steps, and print what each came to; what is wrong. Raises `InputError` if none can be taken."""
        if not is_address(self.address):
            raise InputError(f"{self.address!r} is not an e-mail address")
        if not shutil.which("swaks"):
            raise InputError("swaks is not installed, which sends the message: apt install swaks")
        found = []
        for step in self._steps(_stream(self.context)):
            _print(step, as_json)
            found += [step] if isinstance(step, Finding) else []
        return found

    def _steps(self, stream: Stream) -> Steps:
        began = self.context.clock()
        sent = self._send(stream)
        if sent.queue_id is None:
            yield critical("live-refused", f"Postfix did not take the message: {sent.last_reply}")
            return
        yield "accepted", f"Postfix took the message: {sent.last_reply}"
        number = self._wait_for(lambda: aside(lambda: self._find_send(sent.queue_id or "")))
        if number is None:
            text = f"the message {sent.queue_id} was not stamped: no send of it is on record"
            yield critical("live-unstamped", text, "retour doctor", f"retour trace {sent.queue_id}")
            return
        sender = aside(lambda: self._sender(stream, number))
        yield "stamped", f"it is send {number} of stream {stream.name}, from {sender}"
        yield from self._signature(sent.content)
        yield from self._delivery(sent.queue_id)
        yield from self._forged(sender, stream)
        yield from self._bounced(sender, number, began)

    def _send(self, stream: Stream) -> _Sent:
        """Read the queue file as soon as Postfix names it: it may be gone in a moment."""
        sender = next((one for one in stream.match.sender), "").replace("*", "retour").replace("?", "x")
        sender = sender or self.context.config.lmtpd.postmaster
        argv = ["swaks", "--server", self.server, "--from", sender, "--to", self.address]
        argv += ["--header", f"Subject: {SUBJECT}", "--body", "This message was sent by: retour doctor --live"]
        for name, values in stream.match.header.items():
            argv += ["--header", f"{name}: {values[0].replace('*', '').replace('?', 'x')}"]
        said, queue_id, content = "", None, b""
        with subprocess.Popen(argv, **_SWAKS) as swaks:
            for line in swaks.stdout or ():
                said += line
                if queue_id is None and (found := _QUEUED.search(line)):
                    queue_id = found[1]
                    content = self._content(queue_id)
        return _Sent(queue_id, content, said)

    def _content(self, queue_id: str) -> bytes:
        try:
            return self.programs.run("postcat", "-q", "-bh", queue_id).encode(errors="surrogateescape")
        except PostfixError:
            return b""

    def _find_send(self, queue_id: str) -> int | None:
        self.context.become_services_user(self.user)
        with self.context.store.reading() as connection:
            found = trace.find_by_queue_id(connection, queue_id, 1)
        return found[0] if found else None

    def _sender(self, stream: Stream, number: int) -> str:
        self.context.become_services_user(self.user)
        return Signer(self.context.ring, self.context.clock).envelope_sender(stream, number)

    def _signature(self, content: bytes) -> Steps:
        if not content:
            yield "signed", "not seen: the message left the queue before it could be read"
            return
        fields = message_from_bytes(content).get_all("DKIM-Signature", [])
        if not fields:
            yield warning("live-unsigned", "the message left without a DKIM signature, which large receivers demand")
            return
        covered = {name.strip().lower() for field in fields for name in _tags(str(field)).get("h", "").split(":")}
        missing = [name for name in needed(self.context.config) if name not in covered]
        if missing:
            text = f"its DKIM signature does not cover what Retour stamps: {', '.join(missing)}"
            yield warning("live-not-covered", text, "retour doctor")
        if self.names is None:
            yield "signed", "the signature was not verified, because that takes the DNS"
        elif self._verifies(content):
            yield "signed", f"its DKIM signature by {_tags(str(fields[0])).get('d', '')} holds"
        else:
            yield warning("live-signature-broken", "its DKIM signature does not hold: is the key in the DNS?")

    def _verifies(self, content: bytes) -> bool:
        wire = re.sub(rb"\r?\n", b"\r\n", content)

        def text_of(name: bytes, timeout: int = 5) -> bytes | None:
            found = self.names.ask(name.decode().rstrip("."), "TXT").records if self.names else ()
            return found[0].encode() if found else None

        try:
            return bool(dkim.verify(wire, dnsfunc=text_of))
        except dkim.DKIMException:
            return False

    def _delivery(self, queue_id: str) -> Steps:
        reason = self._wait_for(lambda: self._in_queue(queue_id) or "gone")
        if reason == "gone":
            yield "delivered", f"it left the queue for {self.address}"
        else:
            yield hint("live-deferred", f"it waits in the queue: {reason}", f"postqueue -i {queue_id}")

    def _in_queue(self, queue_id: str) -> str:
        """Why it waits; a blank while it is under way; empty when it is not there any more."""
        for line in self.programs.run("postqueue", "-j").splitlines():
            entry = json.loads(line)
            if entry.get("queue_id") == queue_id:
                reasons = (one.get("delay_reason", "") for one in entry.get("recipients", ()))
                return next(filter(None, reasons), " ")
        return ""

    def _forged(self, sender: str, stream: Stream) -> Steps:
        end = len(stream.pattern.prefix if stream.pattern else "") + token.LENGTH - 1
        forged = sender[:end] + ("a" if sender[end] != "a" else "b") + sender[end + 1 :]
        argv = ["swaks", "--server", self.server, "--from", "<>", "--to", forged, "--quit-after", "RCPT"]
        reply = _last_reply(_run_swaks(argv))
        if reply.startswith("5"):
            yield "forged refused", reply
        else:
            yield warning("live-forged-taken", f"Postfix takes a bounce to a forged address: {reply}", "retour doctor")

    def _bounced(self, sender: str, number: int, began: int) -> Steps:
        said = _run_swaks(shlex.split(swaks_line(self.server, sender, self.address)))
        if not _QUEUED.search(said):
            yield critical(
                "live-bounce-refused", f"Postfix did not take a bounce: {_last_reply(said)}", "retour doctor"
            )
            return
        counted = self._wait_for(lambda: aside(lambda: self._facts(number)))
        if not counted:
            text = f"a bounce of send {number} was taken by Postfix, and did not come to Retour in {PATIENCE_S:.0f} s"
            yield critical("live-bounce-lost", text, "postqueue -p", "retour doctor")
            return
        yield "bounce counted", f"a hard bounce of send {number} is on record"
        back = aside(lambda: self._take_back(set(counted), began))
        yield "taken back", f"{back} failure of {self.address} does not count any more" if back else "nothing counted"

    def _facts(self, number: int) -> list[int]:
        self.context.become_services_user(self.user)
        with self.context.store.reading() as connection:
            found = trace.find(connection, number)
        return [fact.id for fact in found.facts if fact.what.kind == "bounce"] if found else []

    def _take_back(self, counted: set[int], began: int) -> int:
        self.context.become_services_user(self.user)
        now = self.context.clock()
        found = [
            one for one in failures(self.context.store, Window(began, now + 1, frozenset())) if one.fact in counted
        ]
        for _ in undo(self.context.store, self.context.ledger, found, now, "retour doctor --live"):
            pass
        return len(found)

    def _wait_for(self, look: Callable[[], Any]) -> Any:
        """The first answer that is neither None, nor empty or blank; None when patience ends."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = look()
            if found and not (isinstance(found, str) and not found.strip()):
                return found
            if time.monotonic() > end:
                return found if isinstance(found, str) else None
            time.sleep(PAUSE_S)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What Postfix said, and the message as it lay in the queue, if it still did."""

    queue_id: str | None
    content: bytes
    said: str

    @property
    def last_reply(self) -> str:
        return next((reply for reply in _REPLY.findall(self.said) if "queued as" in reply), _last_reply(self.said))


_SWAKS: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "text": True,
    "errors": "replace",
    "env": {name: value for name, value in os.environ.items() if not name.startswith("SWAKS_")},
}


def _run_swaks(argv: list[str]) -> str:
    try:
        return str(subprocess.run(argv, timeout=SWAKS_TIMEOUT_S, check=False, **_SWAKS).stdout)
    except subprocess.TimeoutExpired:
        return ""


def _last_reply(said: str) -> str:
    """The last reply that is not the one to QUIT."""
    replies = [reply for reply in _REPLY.findall(said) if not reply.startswith("221")]
    return replies[-1] if replies else (said.strip().splitlines() or ["no answer"])[-1]


def _tags(field: str) -> dict[str, str]:
    """The tags of a DKIM-Signature (RFC 6376 section 3.2)."""
    pairs = (part.partition("=") for part in field.split(";"))
    return {name.strip(): re.sub(r"\s", "", value) for name, _, value in pairs}


def _stream(context: Context) -> Stream:
    """The first stream with a pattern that a message over SMTP can be made to match."""
    for stream in context.config.stream:
        if stream.pattern and not stream.match.login and stream.suppressed != "refuse":
            return stream
    found = next((one for one in context.config.stream if one.pattern and not one.match.login), None)
    if found is None:
        raise InputError(f"{context.path}: no stream has a pattern and takes mail without a login: nothing to send")
    return found


def _print(step: tuple[str, str] | Finding, as_json: bool) -> None:
    if isinstance(step, Finding):
        values = {"step": step.name, "well": False, "text": step.text, "mend": list(step.mend)}
        lines = [
            *wrapped(f"{step.urgency.name.lower():<9}", f"{step.text} [{step.name}]"),
            *(f"           {one}" for one in step.mend),
        ]
    else:
        values = {"step": step[0], "well": True, "text": step[1]}
        lines = wrapped(f"ok       {step[0]}: ", step[1])
    if as_json:
        print_json(values)
    else:
        say(*lines)
