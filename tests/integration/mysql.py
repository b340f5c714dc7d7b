"""What the tests of a MySQL source share: the server that ``RETAIL_SYNC_TEST_MYSQL`` names, and databases on it."""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest

from include.connections import Connection, parse

VARIABLE = "RETAIL_SYNC_TEST_MYSQL"
needs_mysql = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"no MySQL: set {VARIABLE} to mysql://user:password@host:port"
)

CUSTOMERS = """
    CREATE TABLE customers (id int PRIMARY KEY AUTO_INCREMENT, name varchar(40) NOT NULL, note text, at datetime(6))
"""
ORDERS = """
    CREATE TABLE orders (
        shop int, number bigint unsigned, total decimal(12,2), state enum('new','paid') DEFAULT 'new',
        PRIMARY KEY (shop, number)
    )
"""
#: What a till does: {row} is one that may be there, {number} any number, {seed} the till's own.
CHANGES = (
    "INSERT INTO customers (name, note, at) VALUES ('w{number}', repeat('x', {number} % 300), now(6))",
    "UPDATE customers SET note = 'u{number}', at = now(6) WHERE id = {row}",
    "DELETE FROM customers WHERE id = {row}",
    "UPDATE orders SET total = total + 1, state = 'paid' WHERE number BETWEEN {row} AND {row} + 20",
    "UPDATE IGNORE orders SET number = number + {seed}000000 WHERE shop = {seed} AND number = {row}",
    "REPLACE INTO orders VALUES ({seed}, {number}, {row}.5, 'new')",
)


def connection() -> Connection:
    return parse("source", os.environ[VARIABLE])


def connect(database: str = "") -> Any:
    parts = urlsplit(os.environ[VARIABLE])
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=database or None,
        autocommit=True,
    )


@contextmanager
def fresh_shop(rows: int) -> Iterator[str]:
    """Make a database with customers and orders; it goes at the end."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    with closing(connect()) as session:
        session.query(f"CREATE DATABASE {name}")
        session.select_db(name)
        for table in (CUSTOMERS, ORDERS):
            session.query(table)
        with session.cursor() as cursor:
            some = [(f"c{number}", "é😀" * (number % 4)) for number in range(rows)]
            cursor.executemany("INSERT INTO customers (name, note, at) VALUES (%s, %s, now(6))", some)
            orders = [(number % 5, number, number * 1.25) for number in range(rows)]
            cursor.executemany("INSERT INTO orders (shop, number, total) VALUES (%s, %s, %s)", orders)
        try:
            yield name
        finally:
            session.query(f"DROP DATABASE {name}")


def run(database: str, *statements: str) -> None:
    with closing(connect(database)) as session:
        for statement in statements:
            session.query(statement)


class Writers:
    """Threads that change a shop until they are closed."""

    def __init__(self, database: str, rows: int, pause: float) -> None:
        self.changed = 0
        self._over = threading.Event()
        threads = [threading.Thread(target=self._work, args=(database, rows, seed, pause)) for seed in (1, 2, 3)]
        self._threads = threads
        for thread in threads:
            thread.start()

    def close(self) -> int:
        """End them; returns how many transactions they made."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        return self.changed

    def _work(self, database: str, rows: int, seed: int, pause: float) -> None:
        chance = random.Random(seed)
        with closing(connect(database)) as session:
            while not self._over.wait(pause):
                row, number = chance.randint(1, rows), chance.randint(0, 10**6)
                statement = chance.choice(CHANGES).format(row=row, number=number, seed=seed)
                try:
                    session.query(statement)
                except pymysql.err.OperationalError as error:
                    # a deadlock's victim
                    if error.args[0] != 1213:
                        raise
                self.changed += 1


@contextmanager
def writing(database: str, rows: int, pause: float = 0.0) -> Iterator[Writers]:
    writers = Writers(database, rows, pause)
    try:
        yield writers
    finally:
        writers.close()
