"""Restart: the settings that a running service keeps until it is started again."""

from __future__ import annotations

from retour_policy.config.model import Config


def kept_until_restart(running: Config, new: Config) -> list[str]:
    """The keys that differ in `new` and that a reload does not change: what was opened at the start stays open."""
    before, after = running.web, new.web
    pairs = {
        "store.url": (running.store.url, new.store.url),
        "tokens.keyring": (running.tokens.keyring, new.tokens.keyring),
        "sockets": (running.sockets, new.sockets),
        "milter.socket": (running.milter.socket, new.milter.socket),
        "milter.stamper": (running.milter.stamper, new.milter.stamper),
        "lmtpd.listen": (running.lmtpd.listen, new.lmtpd.listen),
        "lmtpd.workers": (running.lmtpd.workers, new.lmtpd.workers),
        "lmtpd.lookup": (running.lmtpd.lookup, new.lmtpd.lookup),
        "web.listen": (before and before.listen, after and after.listen),
        "web.group": (before and before.group, after and after.group),
    }
    return [key for key, (old, newer) in pairs.items() if old != newer]
