"""Logo: the operator's picture for the pages of the web service, read and looked at."""

from __future__ import annotations

from pathlib import Path

from retour_policy import files
from retour_policy.config.model import Config
from retour_policy.errors import ConfigError, Problem

MAX_LOGO_OCTETS = 100_000  # it is part of each page
_PNG = bytes.fromhex("89504e470d0a1a0a")
_MAX_SVG_START_OCTETS = 2_000  # within which an SVG's first element begins, after comments


def load_logo(path: Path, config: Config) -> bytes | None:
    """The picture that the configuration in `path` names, if it names one: PNG or SVG. Raises `ConfigError`."""
    logo = config.web.logo if config.web else None
    if logo is None:
        return None
    try:
        octets = files.read_regular(logo, MAX_LOGO_OCTETS)
    except OSError as error:
        raise ConfigError(Problem(str(path), "web.logo", f"{logo}: {error.strerror}")) from error
    if not octets.startswith(_PNG) and b"<svg" not in octets[:_MAX_SVG_START_OCTETS]:
        raise ConfigError(Problem(str(path), "web.logo", f"{logo}: is neither a PNG nor an SVG"))
    return octets
