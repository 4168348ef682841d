"""PostgreSQL: its connections, what they promise, and how it says that it is away or cannot be used.

Nothing here needs a session of its own: no setting outlasts a transaction, so a pooler such as PgBouncer may stand
between, in transaction mode too.
"""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, Row, Table, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from retour_policy.errors import StoreRefused
from retour_policy.store import schema

DRIVERS = ("postgresql", "postgresql+psycopg")
MIN_SERVER_VERSION = 13
READ_CONNECTIONS = 8  # that are kept
MORE_READ_CONNECTIONS = 10  # while they are needed
POOL_TIMEOUT_S = 5  # that a reader waits for one of them
IDLE_IN_TRANSACTION_MS = 60_000  # after which the server undoes what a host that has died was writing
ENCODING = "UTF8"
UPGRADE_LOCK = int.from_bytes(b"retour")  # of all advisory locks of this database
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

# libpq's own, unless the URL says otherwise: a host that is gone without a word is noticed within 20 seconds.
DEFAULTS: Mapping[str, object] = {
    "application_name": "retour",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}
READ_ONLY_STATE = "25006"  # read_only_sql_transaction: a replica, or a server that is told to take no writes
DEADLOCK_STATES = ("40P01", "40001")  # deadlock_detected, serialization_failure
# Data exception, integrity constraint violation, cardinality violation, program limit exceeded.
ITEM_CLASSES = ("22", "23", "21", "54")
# Invalid authorization, no such database or schema, insufficient privilege, undefined table.
REFUSAL_STATES = ("28000", "28P01", "3D000", "3F000", "42501", "42P01")
# The same before there is a connection: libpq tells no SQLSTATE then. Another language than English is temporary.
REFUSAL_WORDS = (
    " does not exist",
    "authentication failed",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied for",
    "is not permitted to log in",
    "definition of service",
    "service file",
    "invalid connection option",
    "SSL was required",
    "certificate verify failed",
    "no such database",
)
# As durable as the server would have it, but never less than on its own disk.
_BEGIN = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :idle, true),"
    " set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
    " ELSE current_setting('synchronous_commit') END, true),"
    " current_setting('transaction_read_only') = 'on' AS read_only"
).bindparams(idle=str(IDLE_IN_TRANSACTION_MS))
_LACKING = text(
    "SELECT c.relname FROM pg_catalog.pg_class c"
    " WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())"
    " AND c.relkind = 'r' AND c.relname = ANY(:tables)"
    " AND EXISTS (SELECT 1 FROM unnest(CAST(:rights AS text[])) AS r WHERE NOT has_table_privilege(c.oid, r))"
    " ORDER BY c.relname"
)


class TakesNoWrites(OSError):
    """The server answers, and is a replica or read-only."""


def engines(url: URL) -> tuple[Engine, Engine]:
    """For reading: each transaction sees one state and cannot write. For writing: one connection.

    Connects when first used. Raises `ImportError` where psycopg is not installed.
    """
    reader = _engine(url, READ_CONNECTIONS, MORE_READ_CONNECTIONS)
    return (
        reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        _engine(url, 1, 0).execution_options(isolation_level="READ COMMITTED"),
    )


def for_one_query(reader: Engine) -> Engine:
    """The same connections, for a single query at a time: it sees one state by itself, and needs no transaction."""
    return reader.execution_options(isolation_level="AUTOCOMMIT")


def begin_writing(connection: Connection) -> None:
    """Make a transaction that has just begun durable, and one that the server ends if this host dies.

    Raises `TakesNoWrites`, and connects anew the next time.
    """
    if connection.execute(_BEGIN).one().read_only:
        connection.invalidate()
        raise TakesNoWrites("the server takes no writes: it is a replica, or read-only")


def require_server(connection: Connection, name: str) -> None:
    """Raise `StoreRefused` unless the server is new enough and the database can hold any text. Asks it nothing."""
    info = _info(connection)
    if info.server_version < MIN_SERVER_VERSION * 10_000:
        raise StoreRefused(
            f"{name}: PostgreSQL {info.server_version // 10_000} is too old; Retour needs {MIN_SERVER_VERSION} or newer"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != ENCODING:
        raise StoreRefused(
            f"{name}: the database's encoding is {encoding}, and mail needs {ENCODING}; make one with: "
            "CREATE DATABASE retour ENCODING 'UTF8' TEMPLATE template0"
        )


def require_rights(connection: Connection, name: str) -> None:
    """Raise `StoreRefused` unless this role may read and write every table."""
    wanted = {"tables": sorted(schema.metadata.tables), "rights": list(RIGHTS)}
    lacking = connection.scalars(_LACKING, wanted).all()
    if lacking:
        tables = ", ".join(lacking[:3])
        raise StoreRefused(f"{name}: this role may not read and write {tables}; make it the owner of Retour's tables")


def lock_for_upgrade(connection: Connection) -> None:
    """Let one host at a time change the tables, until the transaction ends. SQLite's file has a lock of its own."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})


def copy_rows(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> None:
    """Write rows in bulk, by COPY. Raises `DBAPIError`."""
    dialect = connection.dialect
    bind = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]
    quoted = dialect.identifier_preparer
    names = ", ".join(quoted.format_column(column) for column in table.columns)
    statement = f"COPY {quoted.format_table(table)} ({names}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([each(value) if each else value for each, value in zip(bind, row, strict=True)])
    except dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(statement, None, error, dialect.loaded_dbapi.Error) from error


def sqlstate(error: BaseException | None) -> str:
    """The SQLSTATE that a server told, of SQLAlchemy's error or the driver's; empty for another error."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def is_refusal(error: BaseException | None) -> bool:
    """Whether a server says that it will not work with this configuration: no later try can succeed."""
    state = sqlstate(error)
    return state in REFUSAL_STATES if state else any(words in str(error) for words in REFUSAL_WORDS)


def one_line(error: str) -> str:
    """What the driver says, in a line and without libpq's question to whoever reads it."""
    lines = map(str.strip, error.splitlines())
    return " ".join(line for line in lines if not line.startswith("Is the server running"))


def _engine(url: URL, connections: int, more: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=more,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={name: value for name, value in DEFAULTS.items() if name not in url.query},
        use_native_hstore=False,
    )
    event.listen(engine, "connect", _tune)
    event.listen(engine, "checkout", _must_be_quiet)
    event.listen(engine, "handle_error", _note_read_only)
    return engine


def _tune(connection: Any, _: ConnectionPoolEntry) -> None:
    """Prepare no statement on a server that the next transaction may not meet again.

    A pooler hides which process serves: the number that it told at the connection is not that of the server.
    """
    connection.autocommit = True
    (served_by,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    if served_by != connection.info.backend_pid:
        connection.prepare_threshold = None


def _must_be_quiet(connection: Any, *_: object) -> None:
    """Between transactions a server says nothing, but that it closes the connection. This costs no round trip."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("the server has closed the connection")


def _note_read_only(context: ExceptionContext) -> None:
    """A server that became read-only may not be the right one any more: connect anew the next time."""
    if sqlstate(context.original_exception) == READ_ONLY_STATE:
        context.is_disconnect = True


def _info(connection: Connection) -> Any:
    return connection.connection.dbapi_connection.info  # type: ignore[union-attr]
