"""Location: what `store.url` names, a file or a server's database, and what is wrong with it."""

from __future__ import annotations

import stat
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from retour_policy.store import postgresql, sqlite

EXAMPLE = 'for example "sqlite:////var/lib/retour/retour.db"'
WRONG = f"is not the URL of a database; {EXAMPLE}"
SECRETS = ("password", "sslpassword")
PASSWORD_FILE = "passfile"  # libpq's, in the form that the PostgreSQL manual describes as "The Password File"


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for a server, and for what names no file."""
    try:
        found = sqlite.sqlite_file(url)
    except ArgumentError:
        return None
    return found if found and found.name else None


def problem_of(url: str) -> str:
    """What is wrong with a URL, and what would be right; empty if nothing is."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return WRONG
    if parsed.get_backend_name() == "sqlite":
        return _problem_of_file(url, Path(parsed.database or ""))
    if parsed.drivername not in postgresql.DRIVERS:
        return WRONG
    return _problem_of_server(parsed)


def _problem_of_file(url: str, path: Path) -> str:
    if not path.name or path.name == ":memory:":
        return f"names no file; {EXAMPLE}"
    if not path.is_absolute() or "?" in url:
        return f"must be an absolute path and nothing more; {EXAMPLE}"
    return ""


def _problem_of_server(url: URL) -> str:
    if url.password is not None or any(name in url.query for name in SECRETS):
        return (
            "must not contain a password, as others may read the configuration; name a file with it: "
            "?passfile=/etc/retour/pgpass (docs/several-hosts.md)"
        )
    named = url.query.get(PASSWORD_FILE)
    return _problem_of_password_file(Path(named)) if isinstance(named, str) else ""


def _problem_of_password_file(path: Path) -> str:
    """libpq passes over a file that it cannot use, and then says only that the password is wrong."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"others can use {path} (mode {mode:04o}); run: chmod 0600 {path}" if mode & 0o077 else ""
