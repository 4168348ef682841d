"""Relays: real mail servers on loopback that want a login, TLS, or say no."""

from __future__ import annotations

import asyncio
import ssl
import subprocess

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from lab.destination import Destination, Refuse, RefuseData
from lab.ports import free_port
from retour_courier.errors import DeliveryError
from retour_courier.relay import Relay
from retour_policy.config.courier import RelaySection

MESSAGE = b"Subject: x\r\n\r\n.\r\n..dots\r\nGr\xc3\xbc\xc3\x9fe\r\n"


@pytest.fixture
def server():
    script = {"never": Refuse("550 5.1.1 no"), "later": Refuse("450 4.2.0 wait"), "big": RefuseData("552 5.3.4 big")}
    script["login"] = Refuse("530 5.7.0 log in")
    with Destination(script=script) as server:
        yield server


def send(relay, *recipients, sender="", message=MESSAGE):
    async def work():
        try:
            for recipient in recipients:
                await relay.send(sender, recipient, message)
        finally:
            await relay.close()

    asyncio.run(work())


def relay(port, password=None, sleep=asyncio.sleep, **values):
    return Relay(RelaySection(port=port, **values), password, sleep)


def test_messages_arrive_as_they_are_over_one_connection(server):
    """Dots, eight bits, the null sender; the connection is used again."""
    send(relay(server.port), "a@example.net", "b@example.net")
    assert [message.recipients for message in server.arrived] == [("a@example.net",), ("b@example.net",)]
    assert {message.content for message in server.arrived} == {MESSAGE}
    assert {message.sender for message in server.arrived} == {""}


@pytest.mark.parametrize(
    ("recipient", "temporary", "words"),
    [
        ("never@example.net", False, "550 5.1.1 no"),
        ("later@example.net", True, "450 4.2.0 wait"),
        ("big@example.net", False, "552 5.3.4 big"),
        ("login@example.net", True, "530 5.7.0 log in"),
        ("a@example.net\r\nDATA", False, "not an address that SMTP can carry"),
        ("\udc80@example.net", False, "not an address that SMTP can carry"),
    ],
)
def test_a_5xx_is_for_good_and_anything_else_for_now(server, recipient, temporary, words):
    """At RCPT and after DATA; but not where we are refused, and not the message. No address can smuggle a command."""
    with pytest.raises(DeliveryError, match=words) as found:
        send(relay(server.port), recipient)
    assert found.value.temporary is temporary


def test_after_each_batch_there_is_a_pause(server):
    """Five messages in batches of two: two pauses."""
    slept = []

    async def sleep(seconds):
        slept.append((seconds, len(server.arrived)))

    send(relay(server.port, sleep=sleep, batch={"size": 2, "pause": "10s"}), *["a@example.net"] * 5)
    assert slept == [(10, 2), (10, 4)]


def test_where_nobody_listens_it_is_for_now():
    """Connection refused."""
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1") as found:
        send(relay(free_port()), "a@example.net")
    assert found.value.temporary


@pytest.mark.parametrize(
    ("tls", "said", "words"),
    [
        ("none", [], "(?i)time"),
        ("none", [b"220 hello"], "(?i)time"),
        ("none", [b"220 hello", b"250-hello\r\n250 AUTH PLAIN"], "(?i)time"),
        ("none", [b"421 too busy"], "too busy"),
        ("none", [b"554 not you"], "not you"),
        ("none", [b"220 hello", None], "EOF"),
        ("starttls", [b"220 hello", b"250 hello"], "STARTTLS"),
        ("starttls", [b"220 hello", b"250-hello\r\n250 STARTTLS", b"454 not now"], "not now"),
    ],
)
def test_whatever_a_relay_does_to_us_is_for_now(tls, said, words):
    """It hangs, hangs up, wants no one, or has no TLS where TLS is demanded: then nothing is said in the clear."""
    heard = []

    async def talk(reader, writer):
        for line in said:
            if line is None:
                break
            writer.write(line + b"\r\n")
            heard.append(await reader.readline())
        else:
            heard.append(await reader.read())
        writer.close()

    async def work():
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            one = relay(server.sockets[0].getsockname()[1], "secret", user="retour", tls=tls, timeout="1s")
            await one.send("", "a@example.net", MESSAGE)

    with pytest.raises(DeliveryError, match=words) as found:
        asyncio.run(work())
    assert found.value.temporary
    if tls == "starttls":
        assert not any(b"AUTH" in line or b"MAIL" in line for line in heard)


@pytest.fixture
def guarded(tmp_path):
    """A server that takes mail only after STARTTLS and a login; its port and certificate."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    def authenticator(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"retour", b"secret"), handled=False)

    class Handler:
        taken = 0

        async def handle_DATA(self, server, session, envelope):
            assert session.ssl and session.authenticated
            Handler.taken += 1
            return "250 ok"

    controller = Controller(
        Handler(),
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticator,
    )
    controller.start()
    yield controller.port, cert, Handler
    controller.stop()


def test_starttls_and_login(guarded, monkeypatch):
    """With a certificate that can be trusted and the right password the message goes."""
    port, cert, handler = guarded
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    send(relay(port, "secret", user="retour", tls="starttls"), "a@example.net")
    assert handler.taken == 1
    with pytest.raises(DeliveryError, match="Authentication") as found:
        send(relay(port, "wrong", user="retour", tls="starttls"), "a@example.net")
    assert found.value.temporary


def test_a_certificate_that_nobody_signed_is_refused(guarded):
    """The password is not sent to a stranger; the item waits."""
    port, _, handler = guarded
    with pytest.raises(DeliveryError, match=r"(?i)certificate") as found:
        send(relay(port, "secret", user="retour", tls="starttls"), "a@example.net")
    assert found.value.temporary
    assert handler.taken == 0
