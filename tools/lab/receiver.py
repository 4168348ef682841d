"""A web server on loopback that takes webhooks, and behaves by a script of paths; a real one, in a thread."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from lab.wait import PATIENCE, wait_until

SECRET = "whsec_" + "cmV0b3VyLXRlc3Qtc2VjcmV0LW9mLTMyLW9jdGV0cyEh"
KEY = b"retour-test-secret-of-32-octets!!"
LOGIN = ("retour", "pass wörd")
HUGE = 5_000_000  # octets


@dataclass(frozen=True)
class Called:
    """One webhook as it came."""

    path: str
    id: str
    event: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


@dataclass
class Receiver:
    """As a context manager. `/ok` accepts everything; the other paths are named after what they do.

    A signature that does not verify is a 401. `status` answers at `/status`, `at_once` holds the highest number
    of requests with one webhook-id that were open at the same time.
    """

    secret: str = SECRET
    status: int = 200
    slow: float = 0.0
    """Seconds that each answer takes."""
    called: list[Called] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    """Requests by path, including those that are not accepted."""
    at_once: int = 0
    sent: int = 0
    """Octets of a huge answer that the client read."""

    def __enter__(self) -> Receiver:
        self._open: Counter[str] = Counter()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    def url(self, path: str = "/ok", host: str = "127.0.0.1") -> str:
        """Where it answers."""
        return f"http://{host}:{self.port}{path}"

    @property
    def open(self) -> int:
        """Requests that are being answered."""
        return sum(self._open.values())

    def release(self) -> None:
        """Let hanging requests go."""
        self._loop.call_soon_threadsafe(self._released.set)

    def wait(self, count: int) -> list[Called]:
        """Wait until `count` were accepted. Raises `TimeoutError`."""
        wait_until(lambda: len(self.called) >= count, what=f"{count} webhooks", seen=lambda: self.called)
        return self.called

    async def _serve(self) -> None:
        self._loop, self._stop, self._released = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{name}", self._take)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.tried[request.path] += 1
        answer = getattr(self, "_" + request.match_info["name"], None)
        if answer is not None:
            return await answer(request)  # type: ignore[no-any-return]
        text = await request.text()
        try:
            event = Webhook(self.secret).verify(text, dict(request.headers))
        except Exception as error:
            return web.Response(status=401, text=str(error))
        name = request.headers["webhook-id"]
        self._open[name] += 1
        self.at_once = max(self.at_once, self._open[name])
        try:
            await asyncio.sleep(self.slow)
        finally:
            self._open[name] -= 1
        if self.status < 300:
            self.called.append(Called(request.path, name, event, dict(request.headers)))
        return web.Response(status=self.status, text=f"status {self.status}")

    async def _login(self, request: web.Request) -> web.Response:
        """Asks for a password and not for a signature, as applications do that take other services' webhooks."""
        wanted = "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()
        if request.headers.get("Authorization") != wanted or "webhook-signature" in request.headers:
            return web.Response(status=401)
        name = request.headers["webhook-id"]
        self.called.append(Called(request.path, name, await request.json(), dict(request.headers)))
        return web.Response(status=200)

    async def _gone(self, _: web.Request) -> web.Response:
        return web.Response(status=410)

    async def _broken(self, _: web.Request) -> web.Response:
        return web.Response(status=500, text="a fault\nof ours\0" + "x" * 10_000)

    async def _busy(self, _: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "3600"})

    async def _redirect(self, _: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": "/ok"})

    async def _hanging(self, _: web.Request) -> web.Response:
        await self._released.wait()
        return web.Response(status=503)

    async def _dripping(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=200, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        await self._released.wait()
        return response

    async def _garbage(self, request: web.Request) -> web.Response:
        assert request.transport
        request.transport.write(b"\0\1garbage\r\n\r\n" * 100)
        request.transport.close()
        return web.Response()

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=200)
        await response.prepare(request)
        for _ in range(HUGE // 10_000):
            await response.write(b"x" * 10_000)
            self.sent += 10_000
        return response
