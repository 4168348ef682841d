"""A receiver of webhooks, and a courier that looks often."""

from collections.abc import Iterator

import pytest

from lab.receiver import Receiver


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty outbox is looked at again after 20 ms, so that a test waits for its promise and not for a look."""
    monkeypatch.setattr("retour_courier.channel.POLL_INTERVAL_S", 0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A web server that takes webhooks."""
    with Receiver() as receiver:
        yield receiver
