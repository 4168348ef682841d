"""Signing: which of the fields that Retour stamps the DKIM signer covers, by the signer's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from retour_cli.doctor.finding import Finding, warning
from retour_policy.config.model import Config, Stream

OPENDKIM = Path("/etc/opendkim.conf")
RSPAMD = (Path("/etc/rspamd/local.d/dkim_signing.conf"), Path("/etc/rspamd/override.d/dkim_signing.conf"))
NEEDED = {
    "list-unsubscribe": "RFC 8058",
    "list-unsubscribe-post": "RFC 8058",
    "cfbl-address": "RFC 9477",
    "cfbl-feedback-id": "RFC 9477",
    "feedback-id": "Gmail",
}
"""Fields that nobody believes without a signature over them, and who says so."""
BY_DEFAULT = frozenset(("from", "reply-to", "subject", "date", "to", "cc", "resent-date", "resent-from", "resent-to",
                        "resent-cc", "in-reply-to", "references", "list-id", "list-help", "list-unsubscribe",
                        "list-subscribe", "list-post", "list-owner", "list-archive"))  # fmt: skip
"""What RFC 6376 section 5.4.1 names, and OpenDKIM signs where it is told nothing."""


def find(config: Config, opendkim: Path = OPENDKIM, rspamd: tuple[Path, ...] = RSPAMD) -> Iterator[Finding]:
    """Stamped fields that the signer leaves out."""
    stamped = needed(config)
    for path, signed in (*_opendkim(opendkim), *_rspamd(rspamd)):
        missing = [name for name in stamped if name not in signed]
        if missing:
            why = ", ".join(f"{name} ({NEEDED[name]})" for name in missing)
            text = f"{path}: the signer leaves out what Retour stamps, and receivers do not believe it unsigned: {why}"
            yield warning("header-unsigned", text, _line(path, signed, missing))


def needed(config: Config) -> list[str]:
    """The fields that the streams stamp and that need a signature, in lower case."""
    stamped = {
        name.lower() for stream in config.stream for name, edit in (stream.headers or {}).items() if edit is not False
    }.union(*map(_made_by, config.stream))
    return [name for name in NEEDED if name in stamped]


def _made_by(stream: Stream) -> set[str]:
    """Those that settings of their own make."""
    found = {"feedback-id"} if stream.feedback_id else set()
    found |= {"cfbl-address", "cfbl-feedback-id"} if stream.cfbl else set()
    if stream.unsubscribe:
        found |= {"list-unsubscribe"} | ({"list-unsubscribe-post"} if stream.unsubscribe.post else set())
    return found


def _opendkim(path: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Its configuration, if it signs at all (opendkim.conf(5): Mode, SignHeaders, OmitHeaders)."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    settings = {words[0].lower(): words[1] for line in lines if len(words := line.split(None, 1)) == 2}
    if "s" not in settings.get("mode", "sv").lower() or "/" in settings.get("signheaders", ""):
        return  # it only verifies, or has the list in a file of its own
    yield path, _set(settings.get("signheaders", "*")) - _set(settings.get("omitheaders", ""))


def _set(text: str) -> frozenset[str]:
    """A list of fields, where `*` is the default, and + and - add to it and take from it."""
    found: set[str] = set()
    for element in re.split(r"[,:\s]+", text.split("#")[0].strip().lower()):
        if element == "*":
            found |= BY_DEFAULT
        elif element.startswith("-"):
            found.discard(element[1:])
        elif element:
            found.add(element.lstrip("+"))
    return frozenset(found)


def _rspamd(paths: tuple[Path, ...]) -> Iterator[tuple[Path, frozenset[str]]]:
    """Only where it names the fields itself; what it signs by default differs from version to version."""
    for path in paths:
        try:
            found = re.search(r'^\s*sign_headers\s*=\s*"([^"]*)"', path.read_text("utf-8", "replace"), re.MULTILINE)
        except OSError:
            continue
        if found:
            yield path, frozenset(re.sub(r"\([ox]\)", "", found[1].lower()).split(":"))


def _line(path: Path, signed: frozenset[str], missing: list[str]) -> str:
    if path.name.startswith("opendkim"):
        return f"SignHeaders *,{','.join(f'+{name}' for name in missing)}"
    return f'sign_headers = "{":".join(sorted(signed) + missing)}";'
