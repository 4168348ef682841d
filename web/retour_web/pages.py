"""Pages: the HTML that people see. Whole in one file: nothing is loaded, and there is no script."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Literal

from retour_web.backend import Subscription
from retour_web.languages import Language

Message = Literal["unknown", "gone", "later", "limited", "misunderstood"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What all pages share: the language, and whose they are."""

    language: Language
    operator: str
    logo: bytes | None = None

    def message(self, name: Message) -> str:
        """A page that says what went wrong, and what to do."""
        return self._page(f"{name}_title", self._paragraph(name))

    def subscription(self, found: Subscription, *, came_back: bool = False) -> str:
        """The page for who gets a stream, or has left it; `came_back`: they have just undone that."""
        if found.state == "subscribed":
            return self._subscribed(found, came_back)
        done, everything = ("everything_done", "") if found.state == "everything" else ("unsubscribed", "everything")
        content = self._paragraph(done, found)
        if everything:
            content += self._form("everything", "everything", self._paragraph("everything"))
        content += self._form("undo", "undo", self._paragraph("undo"))
        return self._page(f"{found.state}_title", content)

    def _subscribed(self, found: Subscription, came_back: bool) -> str:
        if came_back:
            return self._page("subscribed_title", self._paragraph("subscribed", found))
        button = self._form("unsubscribe", "unsubscribe", first=True)
        return self._page("unsubscribe_title", self._paragraph("unsubscribe", found) + button)

    def _page(self, title: str, content: str) -> str:
        return _template("page.html").substitute(
            language=escape(self.language.code),
            title=escape(self.language.texts[title]),
            operator=escape(self.operator),
            style=style(),
            logo=_picture(self.logo) if self.logo else "",
            content=content,
        )

    def _paragraph(self, text: str, found: Subscription | None = None) -> str:
        values = {"operator": self._value(self.operator)}
        if found:
            values |= {"address": self._value(found.masked), "list": self._value(found.list_name)}
        return f"<p>{escape(self.language.texts[text]).format(**values)}</p>\n"

    def _value(self, text: str) -> str:
        """Text of others', which keeps its direction of writing to itself."""
        return f"<strong><bdi>{escape(text)}</bdi></strong>"

    def _form(self, action: str, button: str, before: str = "", *, first: bool = False) -> str:
        """A form of one button; without `action=` it is posted to where the page came from."""
        label = escape(self.language.texts[f"{button}_button"])
        form, kind = ("<form", "") if first else ('<form class="after"', ' class="second"')
        return f'{form} method="post">{before}<button{kind} name="action" value="{action}">{label}</button></form>\n'


@cache
def style() -> str:
    """The style sheet."""
    return _data("style.css")


@cache
def style_hash() -> str:
    """The source expression by which a Content-Security-Policy allows the style sheet (CSP level 3, section 2.3.1)."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(style().encode()).digest()).decode("ascii") + "'"


@cache
def _template(name: str) -> Template:
    return Template(_data(name))


def _data(name: str) -> str:
    return (resources.files("retour_web") / "data" / name).read_text("utf-8")


def _picture(logo: bytes) -> str:
    """As `img`, in which a script of an SVG does not run. The name beside it says what it shows."""
    kind = "png" if logo[1:4] == b"PNG" else "svg+xml"
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(logo).decode("ascii")}">'
