"""The pages in a real browser, Debian's Chromium: people, keyboards, phones, screen readers, scanners, bad names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from lab.process import workspace
from lab.wait import PATIENCE
from lab.web import WebService

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; Ubuntu has it as a snap only")
HOSTILE = """<img src=x onerror=document.title='broken'>"&'</title><script>document.title='broken'</script>"""
HOSTILE_STREAM = """
[[stream]]
name = "hostile"
match = { sender = ["hostile@example.com"] }
envelope_from = "b-%@bounces.example.com"
unsubscribe = { https = "http://localhost", post = true }
"""
INJECT = """() => {
    const made = document.createElement('script')
    made.text = 'window.ran = 1'
    document.body.append(made)
}"""
PHONE = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def web() -> Iterator[WebService]:
    """A service whose operator has a name that could do harm."""
    with workspace() as folder:
        service = WebService(folder)
        text = service.config.read_text().replace('\noperator = "Example Ltd"', f"\noperator = '''{HOSTILE[:99]}'''")
        service.config.write_text(text)
        with service:
            yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests, each of which has a profile of its own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


def opened(browser: Browser, web: WebService, token: str, **options: object) -> Page:
    """The page of a token, in a new profile."""
    context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(f"http://localhost:{web.port}/u/{token}")
    return page


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_a_person_unsubscribes_undoes_and_leaves_everything(browser: Browser, web: WebService) -> None:
    """Without any script, by the buttons alone; a reload shows what is."""
    page = opened(browser, web, web.token("anna@example.net"), java_script_enabled=False)
    assert heading(page) == "Unsubscribe?"
    page.get_by_role("button", name="Unsubscribe", exact=True).click()
    assert heading(page) == "You are unsubscribed"
    page.get_by_role("button", name="Subscribe again").click()
    assert heading(page) == "You are subscribed again"
    page.goto(page.url)
    page.get_by_role("button", name="Unsubscribe", exact=True).click()
    page.get_by_role("button", name="Unsubscribe from everything").click()
    assert heading(page) == "You are unsubscribed from everything"
    page.goto(page.url)
    assert heading(page) == "You are unsubscribed from everything"
    kinds = [event["kind"] for event in web.events() if event.get("address") == "anna@example.net"]
    assert kinds == ["unsubscribe", "undone", "unsubscribe", "unsubscribe"]
    page.context.close()


def test_the_keyboard_suffices(browser: Browser, web: WebService) -> None:
    """Tab reaches each button, the focus can be seen, and Enter or the space bar presses it."""
    page = opened(browser, web, web.token("keys@example.net"))
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Unsubscribe", exact=True)
    expect(button).to_be_focused()
    assert button.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are unsubscribed")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed again")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_and_a_screen_reader_can_read_it(browser: Browser, web: WebService, scheme: str) -> None:
    """At 320 pixels nothing is cut off or scrolls sideways, buttons are large, and axe finds nothing, in each state."""
    page = opened(browser, web, web.token(f"phone-{scheme}@example.net"), viewport=PHONE, color_scheme=scheme)
    for button in ("Unsubscribe", "Unsubscribe from everything", None):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for one in page.get_by_role("button").all():
            box = one.bounding_box()
            assert box and box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
        if button:
            page.get_by_role("button", name=button, exact=True).click()
    page.goto(f"http://localhost:{web.port}/u/nothing")
    assert Axe().run(page).violations_count == 0
    page.context.close()


def test_german_is_spoken_to_germans(browser: Browser, web: WebService) -> None:
    """As the browser's language says; the page says which language it is in."""
    page = opened(browser, web, web.token("lena@example.net"), locale="de-DE")
    assert page.locator("html").get_attribute("lang") == "de"
    page.get_by_role("button", name="Abbestellen").click()
    assert heading(page) == "Sie sind abgemeldet"
    page.context.close()


def test_a_scanner_that_opens_everything_changes_nothing(browser: Browser, web: WebService) -> None:
    """It renders the page, runs scripts, and fetches by GET and HEAD whatever the page names."""
    token = web.token("scanned@example.net")
    page = opened(browser, web, token)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    assert asked == [page.url]  # nothing is loaded but the page itself
    named = page.eval_on_selector_all(
        "[href], [src], [action], [formaction]",
        "all => all.flatMap(one => [one.href, one.src, one.action, one.formAction]).filter(text => text)",
    )
    for url in {page.url, *map(str, named)}:
        for method in ("GET", "HEAD"):
            assert page.request.fetch(url, method=method).status == 200
    assert [event for event in web.events() if event.get("address") == "scanned@example.net"] == []
    page.context.close()


def test_hostile_names_are_shown_and_do_nothing(browser: Browser, web: WebService) -> None:
    """Markup in the operator's name, the list's name and the address stays text; no script would run if it did not."""
    address = "<img/src=x/onerror=alert(1)>@example.net"
    page = opened(browser, web, web.token(f'"{address.partition("@")[0]}"@example.net'))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.reload()
    assert HOSTILE[:40] in page.locator("header").inner_text()
    assert "broken" not in page.title().partition(HOSTILE[:20])[0]
    assert page.locator("img, script, iframe").count() == 0
    assert complaints == []
    page.evaluate(INJECT)
    assert page.evaluate("window.ran") is None  # the policy of the page holds even where markup would get in
    page.context.close()
