"""Recipe: what is there stays in force, and Retour's lines are merged into it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lab.configurations import MASTER, STREAM, Made, configured
from retour_cli.postfix.recipe import plan
from retour_policy.config.model import Config

LOOKUP = "socketmap:unix:retour/lookup.sock:bounce"
INLINE = "inline:{ bounces.example.com=retour:unix:retour/lmtp.sock }"


def merged(config: Config, postfix: Made, main: Mapping[str, str], master: str = MASTER) -> dict[str, str]:
    """What the settings become."""
    return {edit.name: edit.after for edit in plan(config, postfix(main, master)).edits}


def test_a_bare_postfix_gets_what_the_recipe_has(config: Config, postfix: Made) -> None:
    """The same values as postfix-examples/basic, which the demo runs on."""
    assert merged(config, postfix, {}) == {
        "smtpd_milters": "unix:retour/milter.sock",
        "non_smtpd_milters": "unix:retour/milter.sock",
        "relay_domains": "bounces.example.com",
        "relay_recipient_maps": LOOKUP,
        "transport_maps": INLINE,
        "retour/unix": "retour unix - - y - - lmtp -o syslog_name=postfix/retour -o soft_bounce=yes",
    }


def test_what_is_set_up_needs_nothing(config: Config, postfix: Made) -> None:
    """A Postfix with the recipe's own lines."""
    assert plan(config, postfix(set_up=True)).edits == ()


@pytest.mark.parametrize(
    ("there", "becomes"),
    [
        ("unix:opendkim/opendkim.sock", "unix:retour/milter.sock, unix:opendkim/opendkim.sock"),
        ("inet:localhost:8891", "unix:retour/milter.sock, inet:localhost:8891"),
        ("unix:clamav/clamav.sock inet:127.0.0.1:11332",
         "unix:clamav/clamav.sock, unix:retour/milter.sock, inet:127.0.0.1:11332"),
        ("unix:/spamass/spamass.sock", "unix:/spamass/spamass.sock, unix:retour/milter.sock"),
        ("unix:who/knows.sock", "unix:retour/milter.sock, unix:who/knows.sock"),
        ("$signer", "unix:retour/milter.sock, $signer"),
        ("{ unix:opendkim/x.sock, default_action=accept }",
         "unix:retour/milter.sock, { unix:opendkim/x.sock, default_action=accept }"),
    ],
)  # fmt: skip
def test_the_milter_comes_behind_filters_and_before_signers(
    config: Config, postfix: Made, there: str, becomes: str
) -> None:
    """What is unknown may sign."""
    assert merged(config, postfix, {"signer": "unix:opendkim/s", "smtpd_milters": there})["smtpd_milters"] == becomes


def test_milters_that_may_be_missing_are_left_so_and_ours_is_not(config: Config, postfix: Made) -> None:
    """`milter_default_action = accept` was somebody's decision; it must not let mail go unstamped."""
    found = merged(config, postfix, {"milter_default_action": "accept"})
    assert found["smtpd_milters"] == "{ unix:retour/milter.sock, default_action=tempfail }"
    assert "milter_default_action" not in found


def test_a_service_with_a_list_of_its_own_gets_ours_too(config: Config, postfix: Made) -> None:
    """Else mail by submission would go unstamped; a service without any milters stays so."""
    master = MASTER.replace("submission inet n       -       y       -       -       smtpd\n",
                            "submission inet n - y - - smtpd -o smtpd_milters=unix:opendkim/s\n"
                            "smtps inet n - y - - smtpd -o smtpd_milters=\n")  # fmt: skip
    found = merged(config, postfix, {}, master)
    assert found["submission/inet/smtpd_milters"] == "unix:retour/milter.sock, unix:opendkim/s"
    assert "smtps/inet/smtpd_milters" not in found


def test_where_a_filter_hands_mail_back_it_is_not_stamped_twice(config: Config, postfix: Made) -> None:
    """Amavis and its like: that smtpd keeps what milters it had."""
    master = MASTER + "127.0.0.1:10025 inet n - y - - smtpd -o content_filter= -o mynetworks=127.0.0.0/8\n"
    main = {"content_filter": "amavis:[127.0.0.1]:10024", "smtpd_milters": "unix:opendkim/s"}
    assert merged(config, postfix, main, master)["127.0.0.1:10025/inet/smtpd_milters"] == "unix:opendkim/s"


def test_other_relay_domains_keep_their_recipients(config: Config, postfix: Made) -> None:
    """Without a table all of them were taken; the lookup alone would refuse them for good."""
    found = merged(config, postfix, {"relay_domains": "backup.example.org"})
    assert found["relay_domains"] == "backup.example.org, bounces.example.com"
    assert found["relay_recipient_maps"] == f"regexp:{{ {{ !/@(bounces[.]example[.]com)$$/ x }} }}, {LOOKUP}"
    there = {"relay_domains": "backup.example.org", "relay_recipient_maps": "inline:{ a@backup.example.org=x }"}
    assert merged(config, postfix, there)["relay_recipient_maps"] == f"inline:{{ a@backup.example.org=x }}, {LOOKUP}"


def test_a_transport_table_of_ones_own_stays(config: Config, postfix: Made) -> None:
    """Ours is asked first; where theirs answers for whole addresses, ours does too."""
    own = "inline:{ example.net=smtp:[192.0.2.1] }"
    assert merged(config, postfix, {"transport_maps": own})["transport_maps"] == f"{INLINE}, {own}"
    for_all = "regexp:{ { /./ smtp:[192.0.2.1] } }"
    ours = "regexp:{ { /(@bounces[.]example[.]com)$$/ retour:unix:retour/lmtp.sock } }"
    assert merged(config, postfix, {"transport_maps": for_all})["transport_maps"] == f"{ours}, {for_all}"


def test_a_domain_that_postfix_delivers_itself_is_refused(config: Config, postfix: Made) -> None:
    """By any of the classes, also by a table."""
    for name in ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains"):
        for value in ("bounces.example.com", "inline:{ bounces.example.com=x }"):
            (text,) = plan(config, postfix({name: value})).obstacles
            assert text.startswith(f"bounces.example.com is in {name},")


def test_sockets_that_the_chroot_hides_are_refused(postfix: Made) -> None:
    """Named by their settings."""
    elsewhere = STREAM + '[milter]\nsocket = "unix:/run/m"\n[lmtpd]\nlookup = "unix:/run/l"\n'
    said = plan(configured(elsewhere), postfix({})).obstacles
    assert [text.split()[0] for text in said] == ["milter.socket", "lmtpd.lookup"]
    assert plan(configured(elsewhere), postfix({}, MASTER.replace(" y ", " n "))).obstacles == ()


def test_tcp_sockets_are_named_as_postfix_names_them(postfix: Made) -> None:
    """Retour on another host."""
    remote = STREAM + '[milter]\nsocket = "inet:9@192.0.2.1"\n[lmtpd]\nlookup = "inet:8@192.0.2.1"\n'
    remote += 'listen = ["inet:7@192.0.2.1"]\nallow = ["192.0.2.2"]\n'
    found = merged(configured(remote), postfix, {})
    assert found["smtpd_milters"] == "inet:192.0.2.1:9"
    assert found["relay_recipient_maps"] == "socketmap:inet:192.0.2.1:8:bounce"
    assert found["transport_maps"] == "inline:{ bounces.example.com=retour:inet:192.0.2.1:7 }"


def test_sockets_from_systemd_lie_where_the_units_open_them(postfix: Made) -> None:
    """Each by its name."""
    handed = STREAM + '[milter]\nsocket = "fd:m"\n[lmtpd]\nlookup = "fd:l"\nlisten = ["fd:lmtp"]\n'
    found = merged(configured(handed), postfix, {})
    assert (found["smtpd_milters"], found["relay_recipient_maps"], found["transport_maps"]) == (
        "unix:retour/milter.sock",
        LOOKUP,
        INLINE,
    )


def test_a_pattern_beside_mailboxes(postfix: Made) -> None:
    """Only what has its form goes to Retour; the tables of recipients and restrictions that are there stay."""
    config = configured(STREAM.replace("b%@bounces.example.com", "news-%@example.com")
                        + '[lmtpd]\nmailbox_domains = ["example.com"]\n')  # fmt: skip
    main = {"mydestination": "example.com", "smtpd_recipient_restrictions": "reject_rbl_client bl.example"}
    found = merged(config, postfix, main)
    assert found["retour_form"] == "/^(news-[a-z2-7]{30}([+][^@]+)?@example[.]com)$$/"
    assert found["transport_maps"] == "regexp:{ { $retour_form retour:unix:retour/lmtp.sock } }"
    assert found["local_recipient_maps"] == "proxy:unix:passwd.byname $alias_maps, regexp:{ { $retour_form x } }"
    assert found["smtpd_recipient_restrictions"].endswith("retour_token } }, reject_rbl_client bl.example")
    assert "relay_domains" not in found
    again = postfix(main | {k: v for k, v in found.items() if "/" not in k}, MASTER + found["retour/unix"] + "\n")
    assert plan(config, again).edits == ()
