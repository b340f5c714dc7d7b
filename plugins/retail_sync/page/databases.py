"""The two databases that the page reads, and how many of Airflow's threads may wait for them."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
import psycopg
import sqlalchemy as sa
from anyio.to_thread import run_sync

from include.connections import Connection
from include.errors import NotConfigured
from include.settings import Settings
from retail_sync.page.engines import SESSIONS, Down, Name, down, pooled_engine, read_connection

#: How long a request queues for a thread.
QUEUE_SECONDS = 5.0
#: How old what is known of a connection may be.
REREAD_SECONDS = 30.0

Result = TypeVar("Result")


class Database:
    """A database of the project as the page reads it, one of each in a process; safe for threads."""

    def __init__(self, name: Name) -> None:
        self.name: Name = name
        self._limiter = anyio.CapacityLimiter(SESSIONS)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._engine: sa.Engine | None = None
        self._read_at = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until few enough threads are busy with this database."""
        holder = object()
        try:
            with anyio.fail_after(QUEUE_SECONDS):
                await self._limiter.acquire_on_behalf_of(holder)
        except TimeoutError:
            raise Down(self.name, "is busy with other requests of this page") from None
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)

    def engine(self) -> sa.Engine:
        """
        Return the engine of the connection as Airflow has it now, give or take half a minute.

        :raises Down: if there is no such connection.
        """
        with self._lock:
            if self._engine is None or time.monotonic() - self._read_at > REREAD_SECONDS:
                self._engine = self._renewed()
            return self._engine

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a session as psycopg has it; whatever is left open in it is rolled back."""
        with self.engine().connect() as session:
            try:
                yield session.connection.driver_connection  # type: ignore[misc]
            except psycopg.Error as error:
                raise down(self.name, error) from None

    def forget(self) -> None:
        """Close the sessions and read the connection anew next time."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = self._connection = None

    def _renewed(self) -> sa.Engine:
        settings = Settings()
        named = settings.warehouse_connection if self.name == "warehouse" else settings.control_connection
        try:
            connection = read_connection(named)
        except NotConfigured as error:
            raise down(self.name, error) from None
        self._read_at = time.monotonic()
        if self._engine is not None and connection == self._connection:
            return self._engine
        if self._engine is not None:
            self._engine.dispose()
        self._connection = connection
        return pooled_engine(self.name, connection)


WAREHOUSE, CONTROL = Database("warehouse"), Database("control")


async def in_thread(work: Callable[[], Result], *databases: Database) -> Result:
    """Run blocking work that reads the databases in a thread, when its turn has come."""
    async with AsyncExitStack() as slots:
        for database in databases:
            await slots.enter_async_context(database.slot())
        return await run_sync(work)
