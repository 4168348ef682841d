"""Webhook: posts an event to a web server, after Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import base64
import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from standardwebhooks import Webhook

from retour_courier.errors import DeliveryError
from retour_courier.leases import Batch
from retour_courier.outcomes import StoreWrite
from retour_policy.clock import HOUR, Clock
from retour_policy.config.courier import HookSection
from retour_policy.config.secrets import Secrets
from retour_policy.core.hook_formats import in_format
from retour_policy.sanitize import clean
from retour_policy.store.outbox import Item

MAX_RESPONSE_OCTETS = 65_536  # that are read
MAX_SHOWN_CHARACTERS = 200  # of a response, kept for the error
MAX_RETRY_AFTER_MS = 6 * HOUR  # that a receiver may ask for
_FIELDS = {"User-Agent": "Retour", "Content-Type": "application/json", "Accept-Encoding": "identity"}
HTTP_GONE = 410  # the receiver wants no more of it (Standard Webhooks)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # what IANA has allocated as globally reachable
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "3fff::/20")))  # older Pythons treat them as global

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PrivateAddress(OSError):
    """The name resolves to an address that is not public."""


@dataclass(frozen=True)
class Response:
    """What a receiver answered."""

    status: int
    body: bytes
    """The beginning of the body."""
    retry_after: str | None = None


class WebhookCarrier:
    """The webhook of one hook. Connections are reused; cookies, redirects and proxies are not followed."""

    def __init__(self, hook: HookSection, secrets: Secrets, clock: Clock) -> None:
        self._url = hook.webhook or ""
        self._format = hook.format
        self._signers = [Webhook(key) for key in secrets.hooks.get(hook.name, ())]
        self._clock = clock
        self.connections = hook.connections
        private = (urlsplit(self._url).hostname or "") in map(str.lower, hook.allow_private)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=hook.connections, socket_factory=_any_socket if private else _public_socket, ttl_dns_cache=60
            ),
            timeout=aiohttp.ClientTimeout(total=hook.timeout / 1000),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=_FIELDS | _login(hook, secrets),
        )

    async def carry(self, batch: Batch) -> StoreWrite | None:
        """Post the event. Raises `DeliveryError`."""
        (item,) = batch
        try:
            response = await self._post(item)
        except aiohttp.ClientConnectorError as error:
            raise DeliveryError(f"no connection: {error.os_error or error}") from error
        except TimeoutError as error:
            raise DeliveryError("no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DeliveryError(f"not a valid HTTP answer: {clean(_words(error), MAX_SHOWN_CHARACTERS)}") from error
        _judge(response, self._clock())
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _post(self, item: Item) -> Response:
        body = in_format(self._format, item.body)
        headers = self._headers(item.uid, body.decode())
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            answer = await _beginning(response)
            return Response(response.status, answer[: MAX_SHOWN_CHARACTERS * 4], response.headers.get("Retry-After"))

    def _headers(self, uid: str, text: str) -> dict[str, str]:
        """What proves that Retour sent it; without a secret only which event it is."""
        if not self._signers:
            return {"webhook-id": uid}
        now = datetime.now(UTC).replace(microsecond=0)  # of this try, by the host's clock: receivers refuse old ones
        signatures = " ".join(signer.sign(uid, now, text) for signer in self._signers)
        return {
            "webhook-id": uid,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signatures,
        }


def _login(hook: HookSection, secrets: Secrets) -> dict[str, str]:
    """The field for HTTP Basic authentication (RFC 7617), where the hook has a user."""
    if hook.user is None:
        return {}
    credentials = f"{hook.user}:{secrets.hook_passwords[hook.name]}".encode()
    return {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of the response. If there is more, the connection is closed instead of read to the end.

    The status has been said by then: where the rest does not come, it holds all the same.
    """
    body = b""
    try:
        while len(body) < MAX_RESPONSE_OCTETS:
            more = await response.content.read(MAX_RESPONSE_OCTETS - len(body))
            if not more:
                return body
            body += more
    except (aiohttp.ClientError, TimeoutError):
        pass
    response.close()
    return body


def _words(error: Exception) -> str:
    """Without the URL, which may contain a secret."""
    return error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)


def _judge(response: Response, now: int) -> None:
    """Only 2xx is success. A redirect must be fixed in the configuration; 410 Gone is permanent."""
    if 200 <= response.status < 300:
        return
    text = " ".join(clean(response.body.decode("utf-8", "replace"), MAX_SHOWN_CHARACTERS).split())
    words = f"{response.status} {text}".rstrip()
    if 300 <= response.status < 400:
        words = f"{response.status}: redirects are not followed"
    raise DeliveryError(words, temporary=response.status != HTTP_GONE, wait=_retry_after(response.retry_after, now))


def _retry_after(value: str | None, now: int) -> int:
    """Milliseconds of a Retry-After (RFC 9110 section 10.2.3); 0 for none or an unreadable one."""
    if not value:
        return 0
    if value.isascii() and value.isdecimal():
        return min(int(value[:9]) * 1000, MAX_RETRY_AFTER_MS)
    try:
        at = parsedate_to_datetime(value).timestamp() * 1000
    except (ValueError, OverflowError):
        return 0
    return int(min(max(at - now, 0), MAX_RETRY_AFTER_MS))


def _any_socket(info: Any) -> socket.socket:
    family, kind, protocol = info[:3]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


def _public_socket(info: Any) -> socket.socket:
    """A socket for the address that is really connected to; an earlier lookup of the name proves nothing."""
    address = ipaddress.ip_address(info[4][0].partition("%")[0])
    if not is_public(address):
        raise PrivateAddress(f"{address} is not a public address; allow_private can allow it")
    return _any_socket(info)


def is_public(address: Address) -> bool:
    """Whether the address, or the IPv4 address embedded in it, is public."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in one for one in _SPECIAL)
