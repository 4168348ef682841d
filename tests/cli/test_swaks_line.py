"""The line that `retour token make` prints: pasted into a shell, it sends a bounce the whole way."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from lab.site import Site
from lab.wait import PATIENCE, wait_until

STREAM = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
"""


def test_the_swaks_line_works_as_it_is_printed(folder: Path) -> None:
    """Run by a shell against a real Postfix: the report is accepted and recorded, and the send counts once."""
    with Site(folder, STREAM, settings={"hard": "1"}) as site:
        server = site.postfix.smtp_server
        made = site.retour("token", "make", "--stream", "news", "--to", "o'hara+x@example.net", "--server", server)
        assert made.returncode == 0, made.stderr
        address, line = made.stdout.splitlines()
        assert re.fullmatch(r"b-[a-z2-7]{30}@bounces\.example\.com", address)
        for _ in range(2):  # the second is another message about the same send
            done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 0, done.stdout + done.stderr
        site.postfix.wait_queue_empty()
        event, _ = wait_until(
            lambda: found if len(found := site.events("--kind", "bounce")) == 2 else None,
            what="two bounces",
        )
        assert (event["address"], event["type"], event["status"]) == ("o'hara+x@example.net", "hard", "5.1.1")
        story = site.json("address", "show", "o'hara+x@example.net")[0]
        assert story["counts"]["*"]["hard"] == 1 and story["suppressions"][0]["cause"] == "hard"
        assert "hard bounces (5.1.1" in site.retour("suppressions", "list").stdout
