"""The code table: 49 codes, each with type and blame, and an answer for any code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retour_bounces.classify.status_codes import codes, find

SEED = Path(__file__).resolve().parents[3] / "shared" / "seeds" / "sitefinity-email-settings.txt"


def test_the_table_has_49_codes() -> None:
    """48 enhanced status codes and 9.1.1."""
    assert len(codes()) == 49
    assert codes()["9.1.1"].type == "hard"


@pytest.mark.skipif(not SEED.exists(), reason="the documentation of the codes is not here")
def test_the_types_are_those_of_the_documentation() -> None:
    """Type by type as the Sitefinity page gives them."""
    page = dict(re.findall(r"(?m)^(\d\.\d\.\d)\n\|\n(Hard|Soft)\n", SEED.read_text(encoding="utf-8")))
    assert {code: row.type for code, row in codes().items()} == {code: kind.lower() for code, kind in page.items()}


@pytest.mark.parametrize(
    ("status", "kind", "blame"),
    [
        ("5.1.1", "hard", "recipient"),
        ("5.2.2", "soft", "recipient"),
        ("4.1.1", "soft", "recipient"),
        ("5.7.1", "hard", "sender"),
        ("5.7.26", "hard", "sender"),
        ("5.4.312", "hard", "network"),
        ("5.2.121", "soft", "sender"),
        ("5.2.99", "soft", "nobody"),
        ("5.6.0", "hard", "content"),
        ("5.0.0", "hard", "nobody"),
        (None, "hard", "nobody"),
        ("rubbish", "hard", "nobody"),
    ],
)
def test_any_code_has_type_and_blame(status: str | None, kind: str, blame: str) -> None:
    """Codes outside the table take the type of their subject, class 4 is soft, no code is 9.1.1."""
    row = find(status)
    assert (row.type, row.blame) == (kind, blame)
