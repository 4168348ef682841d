"""swaks, the SMTP client for tests: one call sends one message and returns the dialogue."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.wait import PATIENCE

SENT = re.compile(r"^ [-~]> ?(.*)$")
HEARD = re.compile(r"^<[~*-][ *-] +(\d{3})([ -])(.*)$")


@dataclass(frozen=True)
class Reply:
    """One reply of the server, and the command that it answers (empty: the greeting)."""

    command: str
    code: int
    text: str


@dataclass(frozen=True)
class SwaksResult:
    """The result of a call of swaks; `returncode` is 0 when the message was accepted."""

    returncode: int
    transcript: str
    command: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the message was accepted for all that was asked of swaks."""
        return self.returncode == 0

    @property
    def replies(self) -> list[Reply]:
        """The server's replies in order (without pipelining, each after its command)."""
        return parse_transcript(self.transcript)

    @property
    def codes(self) -> list[int]:
        """The codes of the replies, in order."""
        return [reply.code for reply in self.replies]

    def reply_to(self, command: str) -> Reply:
        """The first reply to a command that starts with `command`, such as `RCPT TO:<a@b>`. Raises `LookupError`."""
        for reply in self.replies:
            if reply.command.upper().startswith(command.upper()):
                return reply
        raise LookupError(f"no reply to {command} in:\n{self.transcript}")


def swaks(
    *,
    server: str,
    to: str | Sequence[str],
    from_: str,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    data: str | None = None,
    local_interface: str | None = None,
    login: tuple[str, str] | None = None,
    protocol: str | None = None,
    extra: Sequence[str] = (),
) -> SwaksResult:
    """Send one message to `server` (`host:port`); a bad reply is a result, not an error.

    `from_` may be `<>`. `data` is a whole message instead of swaks' own. `local_interface` is the address to
    connect from, `login` a user and password (PLAIN), `protocol` such as LMTP, `extra` more swaks options.
    """
    recipients = to if isinstance(to, str) else ",".join(to)
    argv = ["swaks", "--server", server, "--to", recipients, "--from", from_, "--timeout", "30s"]
    argv += [word for name, value in (headers or {}).items() for word in ("--header", f"{name}: {value}")]
    argv += ["--body", body] if body is not None else []
    argv += ["--data", data] if data is not None else []
    argv += ["--local-interface", local_interface] if local_interface else []
    argv += ["--auth", "PLAIN", "--auth-user", login[0], "--auth-password", login[1]] if login else []
    argv += ["--protocol", protocol] if protocol else []
    return _run([*argv, *extra])


def parse_transcript(transcript: str) -> list[Reply]:
    """The replies in a transcript of swaks; the lines of one reply are joined by a newline."""
    replies: list[Reply] = []
    command, lines = "", list[str]()
    for line in transcript.splitlines():
        if heard := HEARD.match(line):
            lines.append(heard[3])
            if heard[2] == " ":
                replies.append(Reply(command, int(heard[1]), "\n".join(lines)))
                lines = []
        elif sent := SENT.match(line):
            command = sent[1]
    return replies


def _run(argv: Sequence[str]) -> SwaksResult:
    # An admin's own ~/.swaksrc or SWAKS_OPT_... must not change what a test does.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWAKS_")}
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env | {"HOME": "/nonexistent"},
        timeout=PATIENCE,
        check=False,
    )
    return SwaksResult(done.returncode, done.stdout.decode(errors="replace"), tuple(argv))
