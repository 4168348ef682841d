"""One click as RFC 8058 has it: a POST, and nothing but a POST, unsubscribes; 200 only after the commit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.site import retour
from lab.wait import PATIENCE
from lab.web import HTML, ONE_CLICK, URLENCODED, WebService, words
from retour_policy.config.load import load
from retour_policy.store.database import open_store

MULTIPART = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
BODIES = {
    "urlencoded": (ONE_CLICK, "application/x-www-form-urlencoded"),
    "with a charset": (ONE_CLICK, "application/x-www-form-urlencoded; charset=UTF-8"),
    "in capitals": (ONE_CLICK, "Application/X-WWW-Form-URLEncoded"),
    "multipart": (MULTIPART, "multipart/form-data; boundary=b"),
    "quoted boundary": (MULTIPART, 'multipart/form-data; boundary="b"'),
    "with a preamble": (b"Preamble\r\n" + MULTIPART + b"end", "multipart/form-data; boundary=b"),
    "with other fields": (b"a=1&" + ONE_CLICK + b"&b=2", "application/x-www-form-urlencoded"),
    "without a type": (ONE_CLICK, None),
}


def facts_about(web: WebService, recipient: str) -> list[str]:
    """The kinds of facts about an address."""
    return [event["kind"] for event in web.events() if event.get("address") == recipient]


@pytest.mark.parametrize("name", BODIES)
def test_a_post_unsubscribes_in_each_form(web: WebService, name: str) -> None:
    """200 without a cookie and without a redirect; done again it is 200 again, and changes nothing."""
    body, kind = BODIES[name]
    recipient = name.replace(" ", "-") + "@example.net"
    path = f"/u/{web.token(recipient)}"
    for _ in range(2):
        answer = web.ask("POST", path, body, {"Content-Type": kind} if kind else {})
        assert (answer.status, answer.text) == (200, "Unsubscribed.\n")
        assert not {"location", "set-cookie", "refresh"} & set(answer.headers)
    assert facts_about(web, recipient) == ["unsubscribe"]


def test_who_unsubscribed_is_suppressed_in_that_stream(web: WebService) -> None:
    """The suppression is there as soon as the answer is; the fact says its way."""
    web.click(web.token("carl@example.net"))
    shown = retour("suppressions", "list", config=web.config).stdout
    assert [line for line in shown.splitlines() if "carl@example.net" in line and "news" in line]
    event = next(event for event in web.events() if event.get("address") == "carl@example.net")
    assert (event["stream"], event["way"]) == ("news", "one-click")


def test_nothing_but_a_post_changes_anything(web: WebService) -> None:
    """Scanners and browsers that look ahead: GET, HEAD, OPTIONS, prefetch; and methods that there are not."""
    path = f"/u/{web.token('scanned@example.net')}"
    assert web.ask("GET", path, headers=HTML).status == 200
    assert web.ask("GET", path, headers={"Sec-Purpose": "prefetch", "Purpose": "prefetch"}).status == 200
    assert web.ask("GET", f"{path}?List-Unsubscribe=One-Click&action=unsubscribe").status == 200
    assert web.ask("GET", path, ONE_CLICK, URLENCODED).status == 200
    head = web.ask("HEAD", path)
    assert (head.status, head.text) == (200, "") and int(head.headers["content-length"]) > 100
    options = web.ask("OPTIONS", path, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"})
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not [name for name in options.headers if name.startswith("access-control")]
    for method in ("PUT", "PATCH", "DELETE", "PROPFIND"):
        refused = web.ask(method, path, ONE_CLICK, URLENCODED)
        assert (refused.status, "POST" in refused.headers["allow"]) == (405, True)
    assert facts_about(web, "scanned@example.net") == []


def test_no_answer_before_the_commit(web: WebService) -> None:
    """While another process holds the store, a POST waits, and people can still look; then it is 200."""
    token, reader = web.tokens(["early@example.net", "reader@example.net"])
    store = open_store(load(web.config).store.url)
    with ThreadPoolExecutor(1) as pool:
        with store.writing():
            answer = pool.submit(web.click, token)
            for _ in range(20):
                assert "no more mail" in words(web.page(reader))
                assert not answer.done()
        assert answer.result(PATIENCE).status == 200
    store.close()
    assert facts_about(web, "early@example.net") == ["unsubscribe"]


def test_while_the_store_is_away_everybody_is_asked_to_try_again(folder: Path) -> None:
    """503 with Retry-After, and nothing of the inside; when the store is back, all works without a restart."""
    with WebService(folder) as web:
        token, database, away = web.token(), web.home / "retour.db", web.home / "away"
        assert web.ask("GET", "/healthz").status == 200
        database.rename(away)
        click, page = web.click(token), web.page(token)
        for answer in (click, page):
            assert (answer.status, answer.headers["retry-after"]) == (503, "60")
            assert "retour.db" not in answer.text and "sqlite" not in answer.text.lower()
        assert click.headers["content-type"].startswith("application/problem+json")
        assert "Please try again" in words(page)
        away.rename(database)
        assert web.click(token).status == 200
        assert web.kinds() == ["unsubscribe"]
