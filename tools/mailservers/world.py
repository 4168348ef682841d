"""World: the name server and the mail servers of others that the fixtures' servers talk to, all on
addresses of the loopback device."""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import threading
from pathlib import Path

NO_SUCH_NAME, SERVER_FAILURE = 3, 2
HOSTS = {
    "mx.remote.example": "192.0.2.2",
    "mx.origin.example": "192.0.2.3",
    "mx.refused.example": "192.0.2.4",
    "mx.silent.example": "192.0.2.5",
    "mx.blocked.example": "192.0.2.6",
    "mail.home.example": "127.0.0.1",
}
MAIL = {
    "remote.example": "mx.remote.example",
    "origin.example": "mx.origin.example",
    "refused.example": "mx.refused.example",
    "silent.example": "mx.silent.example",
    "blocked.example": "mx.blocked.example",
    "home.example": "mail.home.example",
    "nullmx.example": "",
}
RCPT = {
    "unknown": "550 5.1.1 <{0}>: Recipient address rejected: User unknown in virtual mailbox table",
    "ünknown": "550 5.1.1 <{0}>: Recipient address rejected: User unknown",
    "nobody": "550 No such user here",
    "full": "552 5.2.2 <{0}>: Mailbox full",
    "quota": "452 4.2.2 Mailbox over quota, try again later",
    "relay": "550 5.7.1 Unable to relay for {0}",
    "disabled": "550 5.2.1 This mailbox is disabled",
    "moved": "551 5.1.6 User has moved to new@elsewhere.example",
    "grey": "450 4.2.0 <{0}>: Greylisted, please try again later",
    "later": "451 4.3.0 Temporary lookup failure",
    "long": "550-5.1.1 The account that\r\n550-5.1.1 you want is not here.\r\n550 5.1.1 User unknown",
}
DATA = {
    "spam": "554 5.7.1 Message rejected as spam by content filter",
    "virus": "554 5.7.1 Virus found in message: Eicar-Test-Signature",
    "big": "552 5.3.4 Message size exceeds fixed limit",
    "dmarc": "550 5.7.26 Unauthenticated mail from origin.example is not accepted due to its DMARC policy",
    "slow": "451 4.7.1 Please try again later",
}


class Names(socketserver.BaseRequestHandler):
    """Answers A and MX questions about the hosts above; all else does not exist."""

    def handle(self) -> None:
        data, sock = self.request
        name, end = _question(data)
        (kind,) = struct.unpack("!H", data[end : end + 2])
        answers, code = _answers(name.lower(), kind)
        flags = 0x8580 | code
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
        sock.sendto(head + data[12 : end + 4] + b"".join(answers), self.client_address)


def _question(data: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += data[at] + 1
    return ".".join(labels), at + 1


def _answers(name: str, kind: int) -> tuple[list[bytes], int]:
    record = b"\xc0\x0c" + struct.pack("!HHI", kind, 1, 5)
    if name in HOSTS:
        address = socket.inet_aton(HOSTS[name])
        return ([record + struct.pack("!H", 4) + address] if kind == 1 else []), 0
    if name in MAIL:
        target = b"".join(bytes([len(one)]) + one.encode() for one in MAIL[name].split(".") if one) + b"\0"
        return (
            [record + struct.pack("!HH", len(target) + 2, 10 if MAIL[name] else 0) + target] if kind == 15 else []
        ), 0
    return [], SERVER_FAILURE if name.startswith("broken.") else 0 if name.endswith(".arpa") else NO_SUCH_NAME


class Mail(socketserver.StreamRequestHandler):
    """An SMTP server that refuses by the recipient's local part, as the tables above say, and keeps what it
    takes."""

    timeout = 60
    folder: Path
    lock = threading.Lock()

    def handle(self) -> None:
        mine = self.connection.getsockname()[0]
        if mine == "192.0.2.5":
            self.rfile.read(1)
            return
        if mine == "192.0.2.6":
            self.say("554 5.7.1 Your address is listed by a blocklist, see https://blocklist.example/192.0.2.1")
            self.rfile.readline()
            return
        self.say("220 mx.remote.example ESMTP")
        self.recipients: list[str] = []
        self.sender = ""
        while line := self.rfile.readline(10_000):
            if not self.command(line.decode("utf-8", "replace").strip()):
                return

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def command(self, line: str) -> bool:
        verb = line[:4].upper()
        if verb == "EHLO":
            self.say("250-mx.remote.example\r\n250-SMTPUTF8\r\n250 8BITMIME")
        elif verb == "RCPT":
            self.rcpt(line)
        elif verb == "DATA":
            self.data()
        elif verb == "QUIT":
            self.say("221 2.0.0 Bye")
            return False
        else:
            if verb in ("MAIL", "RSET"):
                self.recipients = []
            self.say("250 2.0.0 Ok")
        return True

    def rcpt(self, line: str) -> None:
        name = re.sub(r"^.*?<|>.*$", "", line)
        said = None if name.lower().endswith("@origin.example") else RCPT.get(name.partition("@")[0].lower())
        if said:
            self.say(said.format(name))
        else:
            self.recipients.append(name)
            self.say("250 2.1.5 Ok")

    def data(self) -> None:
        self.say("354 Go ahead")
        lines = []
        while (line := self.rfile.readline(100_000)) not in (b".\r\n", b".\n", b""):
            lines.append(line[1:] if line.startswith(b"..") else line)
        words = [name.partition("@")[0].lower() for name in self.recipients if "@origin" not in name]
        said = next((DATA[word] for word in words if word in DATA), "")
        if not said:
            self.keep(b"".join(lines).replace(b"\r\n", b"\n"))
        self.say(said or "250 2.0.0 Ok: queued")
        self.recipients = []

    def keep(self, message: bytes) -> None:
        for name in self.recipients:
            if name.lower().endswith("@origin.example"):
                with self.lock:
                    stem = name.partition("@")[0]
                    number = len(list(self.folder.glob(f"{stem}.*"))) + 1
                    self.folder.joinpath(f"{stem}.{number}").write_bytes(message)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def start(folder: Path) -> None:
    """Starts the name server and all mail servers; reports to origin.example are written to `folder`."""
    Mail.folder = folder
    servers: list[socketserver.BaseServer] = [socketserver.ThreadingUDPServer(("127.0.0.1", 53), Names)]
    servers += [Server((address, 25), Mail) for address in ("192.0.2.2", "192.0.2.3", "192.0.2.5", "192.0.2.6")]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
