"""Parts of the fuzz targets: a configuration and a key ring, and a backend that records nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from retour_policy.clock import Clock
from retour_policy.config.load import parse
from retour_policy.messages.router import Router
from retour_policy.messages.signer import Signer
from retour_policy.tokens import keyring

NOW = 1_800_000_000_000
CONFIG = """
[store]
url = "sqlite:///{folder}/retour.db"
[tokens]
keyring = "{folder}/keys.toml"
[milter]
socket = "unix:{folder}/milter.sock"
trusted = ["127.0.0.1/32"]
[lmtpd]
listen = ["unix:{folder}/lmtp.sock"]
lookup = "unix:{folder}/lookup.sock"
postmaster = "postmaster@example.com"
[[stream]]
name = "news"
match = {{ sender = ["news@example.com"] }}
envelope_from = "b-%@bounces.example.com"
headers = {{ X-To = "{{recipient}}", X-Tag = "{{tag}}" }}
[[stream]]
name = "static"
match = {{ header = {{ X-Kind = "static" }} }}
envelope_from = "Returns@bounces.example.com"
"""


def make() -> SimpleNamespace:
    """`config`, `ring`, `router`, `signer` and a valid bounce `address`."""
    folder = Path(tempfile.mkdtemp(prefix="retour-fuzz-"))
    clock: Clock = lambda: NOW  # noqa: E731
    keyring.save(folder / "keys.toml", keyring.create(NOW))
    config = parse(folder / "retour.toml", CONFIG.format(folder=folder))
    ring = keyring.KeyRingFile(folder / "keys.toml")
    signer = Signer(ring, clock)
    made: dict[str, Any] = {"config": config, "ring": ring, "router": Router(config, ring, clock), "signer": signer}
    return SimpleNamespace(**made, address=signer.envelope_sender(config.stream[0], signer.draw()))
