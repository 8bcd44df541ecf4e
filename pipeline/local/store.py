"""The account's state: JSON documents in SQLite, one transaction a change, and an outbox.

WAL lets readers go on while one process writes; a process killed at any moment leaves either the
state before or the state after its transaction. Each thread has a connection of its own.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.local.errors import LocalAccountError

BUSY_TIMEOUT_S = 30
BATCH_ROWS = 128
# The n-th brings a home of schema n to n + 1; a new home goes through all of them.
MIGRATIONS = (
    """
CREATE TABLE IF NOT EXISTS resource (
    kind TEXT NOT NULL, name TEXT NOT NULL, parent TEXT NOT NULL DEFAULT '',
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL, UNIQUE (kind, name));
CREATE INDEX IF NOT EXISTS resource_parent ON resource (kind, parent, sequence);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, function TEXT NOT NULL, event TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending');
CREATE INDEX IF NOT EXISTS outbox_state ON outbox (state, id)
""",
    # Results were kept under keys that are no longer asked for.
    "DELETE FROM resource WHERE kind='cache'",
    # An object's tags and a pipeline's cached results survived what they belong to.
    """
UPDATE resource SET document=json_set(document, '$.Tags', json((
    SELECT json_extract(tags.document, '$.Tags') FROM resource AS tags
    WHERE tags.kind='tags' AND tags.name='arn:aws:s3:::' || resource.name)))
WHERE kind='object' AND EXISTS (
    SELECT 1 FROM resource AS tags
    WHERE tags.kind='tags' AND tags.name='arn:aws:s3:::' || resource.name);
DELETE FROM resource WHERE kind='tags' AND name LIKE 'arn:aws:s3:::%';
UPDATE resource SET parent=substr(name, 1, instr(name, '/') - 1) WHERE kind='cache'
""",
)
SCHEMA_VERSION = len(MIGRATIONS)

Document = dict[str, Any]
# Called with the place after which to go on (None: from the end) and whether newest first.
Rows = Callable[[int | None, bool], Iterator[tuple[int, Document]]]


def encode(value: Any) -> str:
    """JSON text of a request or document; datetimes become epoch seconds."""

    def default(item: Any) -> Any:
        if isinstance(item, dt.datetime):
            return item.timestamp()
        raise TypeError(f"{type(item).__name__} cannot be kept in the account")

    return json.dumps(value, default=default)


class _Connection(sqlite3.Connection):
    """Closed when its thread or store is gone; nobody else can know when that is."""

    def __del__(self) -> None:
        self.close()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As sqlite3's; what the disk refuses is a LocalAccountError that says so in one line."""
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            raise LocalAccountError(f"the account's database cannot be used: {error}") from error


class Store:
    """Documents by (kind, name), listed by kind and optional parent in order of creation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connection()
        if self._version(connection) != SCHEMA_VERSION:
            with self.transaction():
                self._migrate(connection, self._version(connection))

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _migrate(self, connection: sqlite3.Connection, version: int) -> None:
        """Bring the schema from an older version to this one; all of it or nothing.

        Raises LocalAccountError for a home of a newer version, which is left as it is.
        """
        if version > SCHEMA_VERSION:
            raise LocalAccountError(
                f"{self.path.parent} was made by a newer version of this program (schema {version},"
                f" this one reads {SCHEMA_VERSION}): update the program or use another home"
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                connection = sqlite3.connect(
                    self.path,
                    isolation_level=None,
                    timeout=BUSY_TIMEOUT_S,
                    check_same_thread=False,
                    factory=_Connection,
                )
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
            except sqlite3.Error as error:
                raise LocalAccountError(f"cannot open the account in {self.path}: {error}") from (
                    error
                )
            self._local.connection = connection
            self._local.depth = 0
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside are kept together or not at all; transactions nest."""
        connection = self._connection()
        if self._local.depth == 0:
            connection.execute("BEGIN IMMEDIATE")
        self._local.depth += 1
        try:
            yield
        except BaseException:
            self._local.depth -= 1
            if self._local.depth == 0 and connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._local.depth -= 1
        if self._local.depth == 0:
            try:
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:  # the disk is full: nothing of it is kept
                    connection.execute("ROLLBACK")

    def get(self, kind: str, name: str) -> Document | None:
        """The document, or None."""
        row = (
            self._connection()
            .execute("SELECT document FROM resource WHERE kind=? AND name=?", (kind, name))
            .fetchone()
        )
        return json.loads(row[0]) if row else None

    def put(self, kind: str, name: str, document: Document, parent: str = "") -> None:
        """Create or replace; a replaced document keeps its place and parent."""
        self._connection().execute(
            "INSERT INTO resource (kind, name, parent, document) VALUES (?,?,?,?) "
            "ON CONFLICT (kind, name) DO UPDATE SET document=excluded.document",
            (kind, name, parent, encode(document)),
        )

    def change(
        self, kind: str, name: str, change: Callable[[Document], Document | None]
    ) -> Document | None:
        """Read, change and write as one transaction; None from `change` leaves it as it is.

        Returns the document as it stands afterwards, None when there is none.
        """
        with self.transaction():
            document = self.get(kind, name)
            if document is None:
                return None
            changed = change(dict(document))
            if changed is None:
                return document
            self.put(kind, name, changed)
            return changed

    def delete(self, kind: str, name: str) -> bool:
        """Whether there was something to delete."""
        cursor = self._connection().execute(
            "DELETE FROM resource WHERE kind=? AND name=?", (kind, name)
        )
        return cursor.rowcount > 0

    def delete_below(self, kind: str, parent: str) -> None:
        """Delete every document of a kind below a parent."""
        self._connection().execute("DELETE FROM resource WHERE kind=? AND parent=?", (kind, parent))

    def every(self, kind: str, parent: str | None = None) -> list[Document]:
        """Every document of a kind (below a parent), oldest first."""
        query = "SELECT document FROM resource WHERE kind=?"
        arguments: tuple[str, ...] = (kind,)
        if parent is not None:
            query, arguments = query + " AND parent=?", (kind, parent)
        rows = self._connection().execute(query + " ORDER BY sequence", arguments)
        return [json.loads(document) for (document,) in rows]

    def rows(self, kind: str, parent: str | None = None) -> Rows:
        """Documents of a kind (below a parent) with their places, read as they are asked for."""
        where, arguments = "kind=?", [kind]
        if parent is not None:
            where, arguments = f"{where} AND parent=?", [kind, parent]

        def read(after: int | None, descending: bool) -> Iterator[tuple[int, Document]]:
            sign, order = ("<", "DESC") if descending else (">", "ASC")
            while True:
                bound = "" if after is None else f" AND sequence{sign}{after:d}"
                query = (
                    f"SELECT sequence, document FROM resource WHERE {where}{bound} "  # noqa: S608
                    f"ORDER BY sequence {order} LIMIT {BATCH_ROWS}"
                )
                # Whole batches: who reads may write between two rows, which an open read forbids.
                batch = self._connection().execute(query, arguments).fetchall()
                for after, document in batch:
                    yield after, json.loads(document)
                if len(batch) < BATCH_ROWS:
                    return

        return read

    def enqueue(self, function: str, event: Document) -> None:
        """Put an event into the outbox; it is delivered after the transaction is committed."""
        self._connection().execute(
            "INSERT INTO outbox (function, event) VALUES (?,?)", (function, encode(event))
        )

    def due(self) -> tuple[int, str, Document, int] | None:
        """The oldest pending event that may be delivered now: id, function, event, attempts."""
        row = (
            self._connection()
            .execute(
                "SELECT id, function, event, attempts FROM outbox "
                "WHERE state='pending' AND not_before<=? ORDER BY id LIMIT 1",
                (time.time(),),
            )
            .fetchone()
        )
        return (row[0], row[1], json.loads(row[2]), row[3]) if row else None

    def pending(self) -> int:
        """How many events wait in the outbox, due or not."""
        (count,) = (
            self._connection()
            .execute("SELECT count(*) FROM outbox WHERE state='pending'")
            .fetchone()
        )
        return int(count)

    def settle(self, event_id: int, state: str, *, attempts: int, delay_s: float = 0) -> None:
        """Record a delivery: `delivered`, `dead`, or `pending` again after a delay."""
        self._connection().execute(
            "UPDATE outbox SET state=?, attempts=?, not_before=? WHERE id=?",
            (state, attempts, time.time() + delay_s, event_id),
        )

    def revive(self) -> None:
        """Have what no attempt could deliver, and what is due again, delivered once more."""
        self._connection().execute(
            "UPDATE outbox SET state='pending' WHERE state='dead' AND not_before<=?",
            (time.time(),),
        )

    def dead_letters(self) -> list[Document]:
        """Events that no attempt could deliver so far."""
        rows = self._connection().execute(
            "SELECT function, event, attempts FROM outbox WHERE state='dead' ORDER BY id"
        )
        return [
            {"Function": name, "Event": json.loads(event), "Attempts": attempts}
            for name, event, attempts in rows
        ]
