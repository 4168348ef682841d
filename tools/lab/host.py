"""Host: what one of several mail hosts does with the store that they share, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import random
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from lab.reports import failed
from lab.wait import PATIENCE
from lab.world import World
from retour_bounces import Report
from retour_policy.messages.outgoing import OutgoingMessage
from retour_policy.messages.returned import Outcome
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.sends import NewSend

Returned = tuple[int, str]
"""A send and its recipient, whose mail failed for good."""


def run_hosts(
    count: int, url: str, config: Mapping[str, Any], returned: Sequence[Returned], sent: Sequence[str]
) -> list[list[Outcome]]:
    """Hand all reports to each of so many hosts at once, and let each send to all `sent`; their outcomes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(count, context) as hosts, context.Manager() as manager:
        begin = manager.Barrier(count)
        work = [hosts.submit(_work, number, begin, url, config, returned, sent) for number in range(count)]
        return [one.result(PATIENCE * 3) for one in work]


def _work(
    number: int, begin: Any, url: str, config: Mapping[str, Any], returned: Sequence[Returned], sent: Sequence[str]
) -> list[Outcome]:
    """Each in an order of its own, and in groups, so that the groups of two hosts hold the same addresses."""
    chance = random.Random(number)
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), dict(config), url=url) as world:

        def report(one: Returned) -> Future[Any]:
            arrival = _arrival(world.now, *one)
            return world.writer.submit(lambda connection: world.recorder.record(connection, arrival))

        def send(to: str) -> Future[Any]:
            message = OutgoingMessage(NewSend("news", "app@example.com", (to,)), {}, track=True, watch=True)
            return world.writer.submit_to(world.outgoing.record_many, message)

        tasks: list[Any] = [(report, one) for one in returned] + [(send, to) for to in sent]
        chance.shuffle(tasks)
        begin.wait(PATIENCE)
        futures = [(task, task(what)) for task, what in tasks]
        results = [(task, future.result(PATIENCE * 3)) for task, future in futures]
        return [result for task, result in results if task is report]


def _arrival(now: int, send: int, to: str) -> ReturnedMessage:
    part = failed(to, "hard", original_recipient=to, status="5.1.1", reason="userunknown", blame="recipient")
    route, fingerprint = Route("verp", None, send), send.to_bytes(16, "big")
    return ReturnedMessage(now, route, "b@bounces.example.com", "", b"", fingerprint, Report("bounce", (part,)))
