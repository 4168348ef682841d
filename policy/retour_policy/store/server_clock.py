"""Server clock: how the clock of a database server, which all hosts share, differs from this host's."""

from __future__ import annotations

from sqlalchemy import Connection, extract, func, select


def ahead_ms(connection: Connection, now: int) -> int:
    """By how many milliseconds it is ahead of `now`; 0 where the database is a file on this host."""
    if connection.dialect.name == "sqlite":
        return 0
    seconds = connection.scalar(select(extract("epoch", func.clock_timestamp())))
    return int(float(seconds or 0) * 1000) - now
