"""Inside: what is wrong with Retour's own files and its store, seen as the services' user, as values for another user.

Everything that a service opens when it starts is opened, in the same order; the first error of each kind is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

from retour_cli.commands.check import RELOAD, behind
from retour_cli.context import Context
from retour_cli.doctor import access
from retour_cli.doctor.finding import Finding, Urgency, critical, hint, warning
from retour_cli.services.run_record import find_running
from retour_policy.clock import DAY, SECOND, day_text
from retour_policy.config.secrets import load_secrets
from retour_policy.errors import ConfigError, RetourError, StoreDamaged, StoreRefused
from retour_policy.store import ahead, integrity, server_clock
from retour_policy.tokens.keyring import KeyRing

MAX_KEY_AGE_DAYS = 400
MAX_CLOCK_DIFFERENCE_MS = 30 * SECOND
Plain = dict[str, object]


def find(context: Context, user: str | None, *, deep: bool) -> list[Plain]:
    """All findings, as JSON values. Becomes the services' user for good."""
    context.become_services_user(user)
    return [asdict(one) for one in _all(context, deep)]


def restored(values: list[Plain]) -> list[Finding]:
    """The findings of such values."""
    return [
        Finding(Urgency(int(str(one["urgency"]))), str(one["name"]), str(one["text"]),
                tuple(map(str, one["mend"])), str(one["key"]))  # type: ignore[call-overload]
        for one in values
    ]  # fmt: skip


def _all(context: Context, deep: bool) -> Iterator[Finding]:
    denied = access.find_files(context.path, context.config, ring_is_handed_over=context.ring_is_handed_over)
    yield from access.find_sockets(context.config)
    yield from denied
    if any(one.urgency is Urgency.CRITICAL for one in denied):
        return  # whatever opens these would only say the same in other words
    for record in find_running(context.path, context.config):
        yield from (warning("service-behind", text, RELOAD) for text in behind(record))
    yield from _attempt(lambda: context.ring)
    yield from _attempt(lambda: context.rules)
    yield from _attempt(lambda: load_secrets(context.path, context.config))
    opened = list(_attempt(lambda: context.store))
    yield from opened
    if not opened:
        found: list[Finding] = []
        yield from _attempt(lambda: found.extend(_store(context, deep)))
        yield from found
        yield from _age(context.ring.ring, context.clock())


def _attempt(work: Callable[[], object]) -> Iterator[Finding]:
    try:
        work()
    except ConfigError as error:
        for problem in error.problems:
            yield critical("configuration", f"{problem.file}: {problem.text}", key=problem.key)
    except StoreDamaged as error:
        yield critical("database-damaged", str(error), "retour db check")
    except StoreRefused as error:
        mend = ("retour db upgrade",) if "retour db upgrade" in str(error) else ()
        yield critical("store-refused", str(error), *mend)
    except RetourError as error:
        yield critical("store-unreachable", str(error))


def _store(context: Context, deep: bool) -> Iterator[Finding]:
    """Raises `RetourError`, as on a damaged file that could still be opened."""
    try:
        with context.store.reading() as connection:
            faults = integrity.faults(connection, deep=deep)
            figures = ahead.count(connection, context.clock())
            differs = server_clock.ahead_ms(connection, context.clock())
    finally:
        context.store.close()
    if faults:
        text = f"{context.store.name}: the database is damaged: {'; '.join(faults)}"
        yield critical("database-damaged", text, "retour db check", 'docs/keeping.md, "A damaged database"')
    if abs(differs) > MAX_CLOCK_DIFFERENCE_MS:
        how = "behind" if differs > 0 else "ahead of"
        text = (
            f"the clock of this host is {abs(differs) // SECOND} s {how} that of the database server: what several "
            "hosts record gets out of order"
        )
        yield warning("clock-differs", text, "timedatectl set-ntp true")
    if any(asdict(figures).values()):
        found = ", ".join(f"{number} {name}" for name, number in asdict(figures).items() if number)
        text = f"dated in the future: {found}; the clock of this host, or of another one, was ahead"
        yield warning("dated-in-the-future", text, 'docs/keeping.md, "A clock that was ahead"')


def _age(ring: KeyRing, now: int) -> Iterator[Finding]:
    """Days are compared as text: 2026-01-31."""
    created = next(key.created for key in ring.keys if key.state == "signing")
    if created < day_text(now - MAX_KEY_AGE_DAYS * DAY):
        text = f"the key that signs tokens is of {created}; with a new one, bounces of older mail are still believed"
        yield hint("key-old", text, "retour keys rotate")
