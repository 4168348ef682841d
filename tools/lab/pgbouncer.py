"""PgBouncer: a private one before a private PostgreSQL, in transaction mode."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from lab.cluster import Cluster, as_user
from lab.process import Child

POOL_SIZE = 3


class PgBouncer:
    """As a context manager. Its socket is in `folder`."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        users = folder / "users"
        users.write_text('"retour" ""\n')
        self._config = folder / "pgbouncer.ini"
        self._config.write_text(
            f"[databases]\n* = host={cluster.folder}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\n"
            f"listen_port = 5432\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
            f"default_pool_size = {POOL_SIZE}\nignore_startup_parameters = extra_float_digits\nquery_wait_timeout = 2\n"
        )
        folder.chmod(0o777)
        self._child = Child(
            [*as_user(), "pgbouncer", "-q", str(self._config)], folder=folder, name="pgbouncer", umask=0o022
        )

    def __enter__(self) -> PgBouncer:
        self._child.__enter__()
        self._child.wait_answers(self.folder / ".s.PGSQL.5432")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)

    def url(self, database: str) -> str:
        """The URL of a database behind it."""
        return f"postgresql+psycopg://retour@/{database}?host={self.folder}"
