"""The recipe `postfix-examples/main-domain`: a VERP pattern in the domain where the mailboxes are."""

import pytest

from lab.example import read_example
from lab.process import workspace
from lab.site import Site
from lab.wait import wait_until

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "newsletter-%@example.com"
"""


RUN = ("milter", "lmtpd", "courier")


@pytest.fixture(scope="module")
def site():
    """Postfix with the recipe; in example.com there are the mailboxes ceo@ and postmaster@."""
    recipe = read_example("main-domain").main
    ours = recipe["local_recipient_maps"].replace("proxy:unix:passwd.byname", "inline:{ceo=x,postmaster=x}")
    main = {"mydestination": "example.com", "local_recipient_maps": ours}
    with workspace() as folder:
        main["transport_maps"] = f"{recipe['transport_maps']}, texthash:{folder}/postfix/etc/destinations"
        settings = {"mailbox_domains": '["example.com"]'}
        domains = ("example.net", "example.com")
        with Site(
            folder, STREAMS, settings=settings, example="main-domain", main=main, domains=domains, services=RUN
        ) as site:
            yield site


def test_a_report_goes_to_retour_and_other_mail_to_its_mailbox(site):
    """A bounce of stamped mail is recorded; mail to a person of the domain arrives there."""
    site.send("news@example.com", "later@example.net")
    wait_until(lambda: site.events("--address", "later@example.net", "--kind", "bounce"), what="the bounce")
    assert site.send_from_outside("bob@example.net", "ceo@example.com").accepted
    assert site.destination.wait_to("ceo@example.com").sender == "bob@example.net"


@pytest.mark.parametrize("local", ["newsletter-" + 30 * "a", "newsletter-" + 29 * "a", "nobody", "newsletter-"])
def test_what_is_made_up_is_refused_before_it_is_queued(site, local):
    """With a token's form or without: 550 at RCPT, so there is no backscatter."""
    answer = site.send_from_outside("bob@example.net", f"{local}@example.com").reply_to("RCPT TO")
    assert (answer.code, "User unknown" in answer.text) == (550, True)


def test_while_the_lookup_is_away_people_get_their_mail(site):
    """Only what has the form of a token waits for the lookup."""
    site.services["lmtpd"].stop()
    assert site.send_from_outside("bob@example.net", "ceo@example.com").accepted
    for local, code in (("nobody", 550), ("newsletter-" + 30 * "a", 451)):
        assert site.send_from_outside("bob@example.net", f"{local}@example.com").reply_to("RCPT TO").code == code
