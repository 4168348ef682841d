"""Configurations: Retour's as a value, and folders of Postfix's files that postconf reads and nothing runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lab.example import read_example
from retour_cli.postfix.instance import Instance
from retour_cli.postfix.postconf import Programs, read
from retour_policy.config.load import parse
from retour_policy.config.model import Config

STREAM = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b%@bounces.example.com"
"""
MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
submission inet n       -       y       -       -       smtpd
cleanup   unix  n       -       y       -       0       cleanup
lmtp      unix  -       -       y       -       -       lmtp
smtp      unix  -       -       y       -       -       smtp
"""
SET_UP = read_example("basic")
"""What postfix-examples/basic adds."""
Made = Callable[..., Instance]


def configured(text: str = STREAM) -> Config:
    """The configuration in `text`, at the system's places."""
    return parse(Path("/etc/retour/retour.toml"), text)


def write_postfix(
    config: Path, main: Mapping[str, str] | None = None, master: str = MASTER, *, set_up: bool = False
) -> Instance:
    """Write main.cf and master.cf, with the recipe's lines if `set_up`, and read them as postconf does."""
    config.mkdir(exist_ok=True)
    base = {"compatibility_level": "3.6", "myhostname": "mx.example.com", "mydestination": "localhost"}
    base |= {"queue_directory": "/var/spool/postfix"} | (SET_UP.main if set_up else {}) | dict(main or {})
    (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in base.items()))
    (config / "master.cf").write_text(master + (SET_UP.master if set_up else ""))
    return read(Programs(config))
