"""A stand-in for Dovecot's auth service: checks PLAIN logins for Postfix against a dictionary.

Speaks the part of Dovecot's authentication protocol (version 1) that Postfix uses.
"""

from __future__ import annotations

import base64
import binascii
import socketserver
import threading
from collections.abc import Mapping
from pathlib import Path

GREETING = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"


class AuthService:
    """Listens on a unix socket while the context lasts; `logins` maps user names to passwords."""

    def __init__(self, path: Path, logins: Mapping[str, str]) -> None:
        self._path = path
        self._server = _Server(str(path), _Session)
        self._server.logins = dict(logins)
        path.chmod(0o666)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> AuthService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    logins: dict[str, str]


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.wfile.write(GREETING.encode())
        for line in self.rfile:
            words = line.decode().rstrip("\n").split("\t")
            if words[0] == "AUTH":
                response = next((word[5:] for word in words if word.startswith("resp=")), None)
                self._answer(words[1], response)
            elif words[0] == "CONT":
                self._answer(words[1], words[2])

    def _answer(self, request: str, response: str | None) -> None:
        if response is None:
            self.wfile.write(f"CONT\t{request}\t\n".encode())
        elif user := self._user(response):
            self.wfile.write(f"OK\t{request}\tuser={user}\n".encode())
        else:
            self.wfile.write(f"FAIL\t{request}\treason=wrong user or password\n".encode())

    def _user(self, response: str) -> str | None:
        try:
            _, user, password = base64.b64decode(response).decode().split("\0")
        except (binascii.Error, ValueError):
            return None
        return user if self.server.logins.get(user) == password else None
