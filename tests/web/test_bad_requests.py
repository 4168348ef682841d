"""Bad requests: a clear status for each, nothing revealed, nothing changed, no token in the log."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import workspace
from lab.site import retour
from lab.wait import PATIENCE, wait_until
from lab.web import ANNA, HTML, ONE_CLICK, URLENCODED, Answer, WebService, words
from retour_policy.clock import DAY, system_clock
from retour_web.unsubscribe import MAX_BAD_TOKENS_A_MINUTE

MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
FIELD = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n'
BAD_BODIES = {
    "nothing": (b"", URLENCODED, 400),
    "another field": (b"a=b", URLENCODED, 400),
    "another value": (b"List-Unsubscribe=Yes", URLENCODED, 400),
    "another button": (b"action=delete", URLENCODED, 400),
    "octets": (b"\xff\x00" + ONE_CLICK, URLENCODED, 400),
    "a thousand fields": (b"a=b&" * 1_000 + ONE_CLICK, URLENCODED, 400),
    "half a form": (FIELD, MULTIPART, 400),
    "no boundary": (FIELD + b"--b--", {"Content-Type": "multipart/form-data"}, 400),
    "another boundary": (FIELD + b"--b--", {"Content-Type": "multipart/form-data; boundary=c"}, 400),
    "a thousand parts": (b"--b\r\n\r\n\r\n" * 1_000 + FIELD + b"--b--", MULTIPART, 400),
    "text": (ONE_CLICK, {"Content-Type": "text/plain"}, 415),
    "JSON": (b'{"List-Unsubscribe": "One-Click"}', {"Content-Type": "application/json"}, 415),
    "compressed": (ONE_CLICK, URLENCODED | {"Content-Encoding": "gzip"}, 415),
    "too large": (b"a=" + b"x" * 65_535, URLENCODED, 413),
    "much too large": (b"x" * 5_000_000, MULTIPART, 413),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_is_no_form_of_ours_is_refused(web: WebService, name: str) -> None:
    """By the status that names the fault, in problem details (RFC 9457); nobody is unsubscribed."""
    body, headers, status = BAD_BODIES[name]
    recipient = f"{name.replace(' ', '-')}@example.net"
    try:
        answer = web.ask("POST", f"/u/{web.token(recipient)}", body, headers)
    except (BrokenPipeError, ConnectionResetError):  # the service does not read on
        assert status == 413
    else:
        assert answer.status == json.loads(answer.text)["status"] == status
        assert answer.headers["content-type"].startswith("application/problem+json")
    assert not [event for event in web.events() if event.get("address") == recipient]


def test_a_body_of_the_size_that_is_allowed_is_read(web: WebService) -> None:
    """64 kB, as one piece and in chunks; one octet more is too many."""
    full = ONE_CLICK + b"&a=" + b"x" * (65_536 - len(ONE_CLICK) - 3)
    for body, status in ((full, 200), (full + b"x", 413)):
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE)
        path = f"/u/{web.token('large@example.net')}"
        connection.request("POST", path, iter([body[:30_000], body[30_000:]]), URLENCODED, encode_chunked=True)
        assert connection.getresponse().status == status
        connection.close()


def assert_reveals_nothing(answer: Answer) -> None:
    assert "example.net" not in answer.text and "Example news" not in answer.text


@pytest.fixture(scope="module")
def old() -> Iterator[WebService]:
    """One whose messages went out long ago."""
    with workspace() as folder, WebService(folder, clock=lambda: system_clock() - 402 * DAY) as service:
        yield service


def test_a_token_that_is_too_old_is_gone(old: WebService) -> None:
    """410, and a page that says what to do; who kept a copy of the message learns nothing of the person."""
    token = old.token()
    page, click = old.page(token), old.click(token)
    assert page.status == click.status == 410
    assert "This link is too old" in words(page)
    assert_reveals_nothing(page)
    assert_reveals_nothing(click)
    assert old.kinds() == []
    old.child.wait_for_log('link refused: reason="older than 400 days"')
    assert token not in old.child.log()


def test_what_is_no_token_of_ours_is_not_found(web: WebService, old: WebService) -> None:
    """Half of one, damaged, of another installation, of another purpose: 404, the same for all of them."""
    token = web.token()
    verp = retour("token", "make", "--stream", "news", "--to", ANNA, config=web.config).stdout.split("@")[0]
    damaged = token[:-2] + ("a" if token[-2] != "a" else "b") + token[-1]
    bad = [token[:20], token + "a", damaged, old.token(), verp.removeprefix("b-"), "x", "%00", "..%2f..%2fetc", "%ff"]
    pages = [web.page(one) for one in bad]
    assert {page.status for page in pages} == {404}
    assert len({page.text for page in pages}) == 1 and "This link does not work" in words(pages[0])
    assert {web.click(one).status for one in bad} == {404}
    for page in pages:
        assert_reveals_nothing(page)
    web.child.wait_for_log("link refused")
    for text in (damaged, damaged[:20], old.token(), verp.removeprefix("b-")):
        assert text not in web.child.log()
    assert web.ask("GET", "/", headers=HTML).status == web.ask("GET", "/elsewhere").status == 404


def test_who_guesses_is_turned_away_and_who_has_a_token_is_not(web: WebService) -> None:
    """Per client, as the web server names them; a provider's proxy that asks for many people goes on being served."""

    tokens = map("a{:039}".format, itertools.count())

    def guess(client: str) -> Answer:
        path, forwarded = f"/u/{next(tokens)}", f"203.0.113.9, {client}"
        return web.ask_locally("GET", path, headers={"X-Forwarded-For": forwarded})

    answers = [guess("192.0.2.1") for _ in range(MAX_BAD_TOKENS_A_MINUTE + 1)]
    assert [answer.status for answer in answers] == [404] * MAX_BAD_TOKENS_A_MINUTE + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert guess("2001:db8::1").status == 404
    path = f"/u/{web.token('served@example.net')}"
    served = web.ask_locally("POST", path, ONE_CLICK, URLENCODED | {"X-Forwarded-For": "192.0.2.1"})
    assert served.status == 200
    count = MAX_BAD_TOKENS_A_MINUTE  # and no more lines than that
    wait_until(lambda: web.child.log().count("client=192.0.2.1") == count, what="a line for each", seen=web.child.log)


def test_a_peer_that_is_not_trusted_speaks_for_nobody_but_itself(web: WebService) -> None:
    """X-Forwarded-For of a client that came by itself: it would choose another address for each guess."""
    token = "b" * 40
    answers = [web.ask("GET", f"/u/{token}", headers={"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(3)]
    assert {answer.status for answer in answers} <= {404, 429}
    assert "198.51.100." not in web.child.log()


def test_one_token_is_not_used_without_end(web: WebService) -> None:
    """Each use costs the store something; more than one a second of one person's is no person's doing."""
    token = web.token("busy@example.net")
    statuses = [web.page(token).status for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    assert "Please wait a minute" in words(web.page(token.upper()))


def test_what_is_not_http_is_told_nothing(web: WebService) -> None:
    """Half requests, overlong lines: refused without words from the inside, without the token in the log."""
    token = web.token("half@example.net")
    for path in (f"/u/{token}?" + "x" * 20_000, f"/u/{token}"):
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE)
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Content-Length", "1" if "?" in path else "-1")
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 400 and b"Traceback" not in answer.read()
        connection.close()
    assert token not in web.child.log()


def test_each_answer_keeps_to_itself(web: WebService, tmp_path: Path) -> None:
    """No referrer, no copy, no script, nothing from elsewhere: on pages, problems, and answers to programs."""
    token = web.token("headers@example.net")
    answers = [web.page(token), web.click(token), web.page("x"), web.ask("PUT", "/"), web.ask("GET", "/healthz")]
    answers += [web.ask("HEAD", f"/u/{token}"), web.ask("OPTIONS", f"/u/{token}"), web.ask("GET", "/openapi.json")]
    for answer in answers:
        headers = answer.headers
        assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none';") and "script" not in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "aiohttp" not in headers.get("server", "") and "Python" not in headers.get("server", "")
        assert "set-cookie" not in headers
