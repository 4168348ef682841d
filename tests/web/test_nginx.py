"""Behind a real nginx, with the configuration of docs/web-server: one click over TLS, clients told apart, no tokens."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

from lab.nginx import Nginx
from lab.wait import PATIENCE
from lab.web import ONE_CLICK, URLENCODED, Answer, WebService


class _Named(http.client.HTTPSConnection):
    """A connection to 127.0.0.1 that expects the certificate of u.example.com."""

    def __init__(self, nginx: Nginx) -> None:
        super().__init__("u.example.com", timeout=PATIENCE)
        self._nginx = nginx

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self._nginx.port), PATIENCE)
        context = ssl.create_default_context(cafile=str(self._nginx.certificate))
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


def ask(nginx: Nginx, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = _Named(nginx)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)


def test_one_click_goes_through_nginx(folder: Path) -> None:
    """As a provider does it; the service's headers arrive; the client is the one that nginx sees, whatever they say."""
    with WebService(folder) as web, Nginx(folder, web.socket) as nginx:
        nginx.wait_answers(("127.0.0.1", nginx.port))
        token = web.token()
        page = ask(nginx, "GET", f"/u/{token}", Accept="text/html")
        assert page.status == 200 and page.headers["cache-control"] == "no-store"
        click = ask(nginx, "POST", f"/u/{token}", ONE_CLICK, **URLENCODED)
        assert (click.status, click.text) == (200, "Unsubscribed.\n")
        assert web.kinds() == ["unsubscribe"]
        assert ask(nginx, "POST", f"/u/{token}", b"a=" + b"x" * 70_000, **URLENCODED).status == 413
        assert ask(nginx, "GET", "/healthz").status == 404
        assert ask(nginx, "GET", "/u/nothing", **{"X-Forwarded-For": "198.51.100.1"}).status == 404
        web.child.wait_for_log("link refused: .* client=127.0.0.1")
        assert "198.51.100.1" not in web.child.log()
    for log in folder.glob("*.log"):
        assert token not in log.read_text(), log
