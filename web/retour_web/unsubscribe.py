"""Unsubscribe: what a link does that is looked at, posted to by a person's browser, or by their mail program.

Only a POST changes anything: scanners fetch every link of a message, and submit no forms.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from retour_web import forms, responses
from retour_web.backend import Backend, Extent, Refused
from retour_web.clients import client_of, group_of
from retour_web.limiter import Limiter

MAX_BAD_TOKENS_A_MINUTE = 60
"""Of one client. A valid token is never turned away for it: a provider's proxies serve many people."""
MAX_USES_A_MINUTE = 60
"""Of one token, by all clients."""
_EXTENTS: dict[str, Extent] = {"unsubscribe": "stream", "everything": "everything"}
"""How much is left by the value of a button."""

Work = Callable[[web.Request, str], Awaitable[web.Response]]
log = structlog.get_logger()


class UnsubscribeHandler:
    """Answers for the links `.../u/TOKEN`."""

    METHODS = "GET, HEAD, OPTIONS, POST"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._bad_tokens = Limiter(MAX_BAD_TOKENS_A_MINUTE)
        self._uses = Limiter(MAX_USES_A_MINUTE)

    async def show(self, request: web.Request) -> web.Response:
        """GET and HEAD: the page with the button. Changes nothing."""
        return await self._answer(request, self._show)

    async def submit(self, request: web.Request) -> web.Response:
        """POST: one click, or a button of the page."""
        return await self._answer(request, self._submit)

    async def options(self, request: web.Request) -> web.Response:
        """OPTIONS: what there is. Changes nothing, and allows no other site anything."""
        return web.Response(status=204, headers={"Allow": self.METHODS})

    async def _show(self, request: web.Request, token: str) -> web.Response:
        return responses.page(self._backend, request, await self._backend.find(token))

    async def _submit(self, request: web.Request, token: str) -> web.Response:
        form = await forms.read_form(request)
        action = form.get("action", "")
        if forms.is_one_click(form):
            await self._backend.unsubscribe(token, "one-click")
            return web.Response(text="Unsubscribed.\n")
        if action == "undo":
            return responses.page(self._backend, request, await self._backend.undo(token), came_back=True)
        if action in _EXTENTS:
            found = await self._backend.unsubscribe(token, "page", _EXTENTS[action])
            return responses.page(self._backend, request, found)
        raise web.HTTPBadRequest

    async def _answer(self, request: web.Request, work: Work) -> web.Response:
        token = request.match_info["token"]
        wait_s = self._uses.take(token.lower())
        if wait_s:
            return self._limited(request, wait_s)
        try:
            return await work(request, token)
        except Refused as refused:
            return self._refused(request, refused)

    def _refused(self, request: web.Request, refused: Refused) -> web.Response:
        if refused.kind == "later":
            return responses.later(self._backend, request)
        client = self._client(request)
        wait_s = self._bad_tokens.take(group_of(client)) if refused.kind == "unknown" else 0.0
        if wait_s:
            return self._limited(request, wait_s)
        log.warning("link refused", reason=refused.reason, client=client)
        return responses.problem(self._backend, request, 404 if refused.kind == "unknown" else 410)

    def _limited(self, request: web.Request, wait_s: float) -> web.Response:
        return responses.problem(self._backend, request, 429, retry_after_s=math.ceil(wait_s))

    def _client(self, request: web.Request) -> str:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        address = str(peer[0]) if isinstance(peer, tuple) else None  # a Unix socket's peer has none
        forwarded = request.headers.getall("X-Forwarded-For", ())
        return client_of(address, forwarded, self._backend.web.trusted_proxies)
