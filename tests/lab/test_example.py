"""The recipe in `postfix-examples/` is what the lab's Postfix runs on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from lab.example import EXAMPLES, Example, Sockets, read_example
from lab.postfix import PrivatePostfix

ELSEWHERE = Sockets(milter="/run/m.sock", lmtp="/run/l.sock", lookup="/run/k.sock")


def test_the_private_postfix_runs_on_the_recipe_as_it_stands(folder: Path) -> None:
    """Every setting and service of the example file is in force; only a second transport table is added."""
    recipe = read_example("basic")
    with PrivatePostfix(folder / "postfix") as server:
        for name, value in recipe.main.items():
            in_force = server.run("postconf", "-h", name).rstrip("\n")
            if name == "transport_maps":
                value += f", texthash:{server.config}/destinations"
            assert in_force == value, name
        assert server.run("postconf", "-M", "retour/unix").split()[-1].endswith("soft_bounce=yes")


def test_the_recipe_wires_all_three_sockets() -> None:
    """Milter for both ways in, LMTP for reports, the lookup for forged ones; the milter defers when down."""
    recipe = read_example("basic")
    assert recipe.main == {
        "smtpd_milters": "unix:retour/milter.sock",
        "non_smtpd_milters": "unix:retour/milter.sock",
        "milter_default_action": "tempfail",
        "relay_domains": "bounces.example.com",
        "relay_recipient_maps": "socketmap:unix:retour/lookup.sock:bounce",
        "transport_maps": "inline:{ bounces.example.com=retour:unix:retour/lmtp.sock }",
    }


def test_every_setting_of_the_recipe_has_its_reason_beside_it() -> None:
    """The comments are the manual: no setting stands without a comment right above it."""
    for file in sorted(EXAMPLES.glob("*/*.cf")):
        lines = file.read_text().splitlines()
        for above, line in pairwise(lines):
            if line and not line.startswith(("#", " ")):
                assert above.startswith("#"), line


def test_domains_and_sockets_can_be_put_in() -> None:
    """An adapted recipe names the given domains, each with its route, and the given sockets."""
    adapted = read_example("basic").adapted(["b.example.com", "b.example.org"], ELSEWHERE)
    assert adapted.main["relay_domains"] == "b.example.com, b.example.org"
    assert adapted.main["transport_maps"] == (
        "inline:{ b.example.com=retour:unix:/run/l.sock, b.example.org=retour:unix:/run/l.sock }"
    )
    assert adapted.main["relay_recipient_maps"] == "socketmap:unix:/run/k.sock:bounce"
    assert adapted.main["smtpd_milters"] == "unix:/run/m.sock"


def test_postfix_understands_an_adapted_recipe(folder: Path) -> None:
    """Postfix finds the route of each of several bounce domains."""
    domains = ["b.example.com", "b.example.org"]
    with PrivatePostfix(folder / "postfix", bounce_domains=domains, lmtp=Path("/run/l.sock")) as server:
        table = server.run("postconf", "-h", "transport_maps").strip()
        inline = table[: table.index("}") + 1]
        for domain in domains:
            assert server.run("postmap", "-q", domain, inline) == "retour:unix:/run/l.sock\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\n# no\nb =\n  2,\n  3\n", {"a": "1", "b": "2,\n  3"}),
        ("\n   # indented comment\nc = x = y\n", {"c": "x = y"}),
    ],
)
def test_main_cf_is_read_as_postfix_reads_it(
    text: str, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments are left out, continued lines joined, only the first `=` divides."""
    monkeypatch.setattr("lab.example.EXAMPLES", tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/main.cf").write_text(text)
    (tmp_path / "one/master.cf").write_text("")
    assert read_example("one") == Example(expected, "\n")
