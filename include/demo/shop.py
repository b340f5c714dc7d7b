"""
A small shop, and tills that change it all the time: what the demo and the tests of CDC follow.

Run as ``python -m include.demo.shop DSN SEED PAUSE`` it is one till, which works until its input ends,
with a pause of so many seconds after each transaction, and then prints how many rows it has changed.
"""

from __future__ import annotations

import random
import sys
import threading
import uuid
from collections import Counter
from typing import Any

import psycopg
from psycopg import sql

#: Types that a stream could get wrong; long notes, which an UPDATE leaves untouched; a key of two columns.
SCHEMA = """
    CREATE SCHEMA IF NOT EXISTS shop;
    DO $$ BEGIN
        CREATE TYPE shop.status AS ENUM ('open', 'paid', 'cancelled');
    EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    CREATE TABLE IF NOT EXISTS shop.customers (
        id bigint PRIMARY KEY, name text NOT NULL, email varchar(80), note text, attributes jsonb, tags text[],
        created_at timestamptz NOT NULL, points integer DEFAULT 10
    );
    CREATE TABLE IF NOT EXISTS shop.products (
        code text, region char(2), price numeric(12, 2), weight double precision, picture bytea, active boolean,
        PRIMARY KEY (code, region)
    );
    CREATE TABLE IF NOT EXISTS shop.orders (
        id uuid PRIMARY KEY, customer_id bigint, placed_at timestamp, due date, at_time time, total numeric,
        status shop.status
    );
    CREATE INDEX IF NOT EXISTS orders_of_customer ON shop.orders (customer_id);
    CREATE TABLE IF NOT EXISTS shop.carts (id integer PRIMARY KEY, content text, waited interval);
"""
TABLES = ("shop.customers", "shop.products", "shop.orders", "shop.carts")
_REGIONS = ("KL", "PG", "JB")
_CARTS = 200


def fill(session: psycopg.Connection[Any], customers: int) -> None:
    """Make the shop, with customers and five times as many orders."""
    session.execute(SCHEMA)
    session.execute(
        "INSERT INTO shop.customers SELECT i, 'Customer ' || i, 'c' || i || '@example.com', repeat(md5(i::text), 90),"
        " jsonb_build_object('n', i), ARRAY['a', NULL, 'b,\"' || i], now() - i * interval '1 minute', NULL"
        " FROM generate_series(1, %s) i",
        (customers,),
    )
    session.execute(
        "INSERT INTO shop.orders SELECT gen_random_uuid(), i %% %s + 1, now()::timestamp - i * interval '1 second',"
        " current_date, '10:11:12.123456', i / 7.0, 'open' FROM generate_series(1, %s) i",
        (customers, 5 * customers),
    )
    session.execute(
        "INSERT INTO shop.products SELECT 'P' || i, r, i * 1.25, i / 3.0, decode(md5(i::text), 'hex'), i %% 2 = 0"
        " FROM generate_series(1, %s) i, unnest(%s::text[]) r",
        (max(customers // 20, 1), list(_REGIONS)),
    )
    session.execute(
        "INSERT INTO shop.carts SELECT i, 'cart ' || i, i * interval '1 hour' FROM generate_series(1, %s) i", (_CARTS,)
    )
    for table in TABLES:
        session.execute(f"ANALYZE {table}".encode())


def rows_of(session: psycopg.Connection[Any], schema: str, name: str) -> Counter[bytes]:
    """Return how often each row of a table is there, as the server writes it."""
    query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, name))
    with session.cursor().copy(query) as rows:
        return Counter(bytes(row) for row in rows)


class Till:
    """Somebody who changes the shop, in transactions of one to twenty rows; repeatable by its seed."""

    def __init__(self, session: psycopg.Connection[Any], seed: int) -> None:
        self._session, self._seed = session, seed
        self._random = random.Random(seed)
        self._next = 1_000_000 * seed
        self.changed = 0

    def work(self) -> None:
        """Commit one transaction."""
        with self._session.transaction():
            for _ in range(self._random.randint(1, 20)):
                self.changed += self._change()

    def _change(self) -> int:
        dice = self._random.random()
        change = (
            self._insert_customer
            if dice < 0.15
            else self._insert_order
            if dice < 0.4
            else self._pay
            if dice < 0.6
            else self._touch_customer
            if dice < 0.75
            else self._delete
            if dice < 0.85
            else self._move_key
            if dice < 0.92
            else self._reprice
            if dice < 0.995
            else self._clear_carts
        )
        return change()

    def _run(self, query: str, *values: Any) -> int:
        return self._session.execute(query.encode(), values).rowcount

    def _own(self) -> int:
        """Return a customer of this till: no two tills wait for each other."""
        return self._random.randint(1_000_000 * self._seed, max(self._next - 1, 1_000_000 * self._seed))

    def _insert_customer(self) -> int:
        self._next += 1
        note = "".join(self._random.choices("abcdefghij", k=3000)) if self._random.random() < 0.3 else None
        return self._run(
            "INSERT INTO shop.customers VALUES (%s, %s, %s, %s, %s, %s, now()) ON CONFLICT DO NOTHING",
            self._next - 1,
            f"Näme {self._next}",
            None,
            note,
            '{"a": [1, null, "x"]}',
            ["t", ""],
        )

    def _insert_order(self) -> int:
        values = (
            str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            self._own(),
            self._random.random() * 1e6,
        )
        return self._run("INSERT INTO shop.orders VALUES (%s, %s, now(), NULL, NULL, %s::numeric, 'open')", *values)

    def _pay(self) -> int:
        return self._run(
            "UPDATE shop.orders SET status = 'paid', total = total * 1.06 WHERE customer_id = %s", self._own()
        )

    def _touch_customer(self) -> int:
        return self._run("UPDATE shop.customers SET points = coalesce(points, 0) + 1 WHERE id = %s", self._own())

    def _delete(self) -> int:
        return self._run("DELETE FROM shop.customers WHERE id = %s", self._own())

    def _move_key(self) -> int:
        self._next += 1
        return self._run("UPDATE shop.customers SET id = %s WHERE id = %s", self._next - 1, self._own())

    def _reprice(self) -> int:
        code, region = f"Q{self._seed}-{self._random.randint(1, 50)}", self._random.choice(_REGIONS)
        return self._run(
            "INSERT INTO shop.products VALUES (%s, %s, %s::numeric, %s, '\\x00ff', true)"
            " ON CONFLICT (code, region) DO UPDATE SET price = excluded.price, weight = NULL",
            code,
            region,
            self._random.randint(1, 99999) / 100,
            self._random.random(),
        )

    def _clear_carts(self) -> int:
        if self._seed % 3 == 1:
            self._run("TRUNCATE shop.carts")
        cart = self._random.randint(1, 10) * 10 + self._seed
        return self._run(
            "INSERT INTO shop.carts VALUES (%s, %s, '1 day 2:03') ON CONFLICT (id) DO UPDATE SET content = NULL",
            cart,
            f"cart of {self._seed}",
        )


def _await_end(closing: threading.Event) -> None:
    sys.stdin.read()
    closing.set()


def main() -> None:
    """Work until the input ends."""
    dsn, seed, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    closing = threading.Event()
    threading.Thread(target=_await_end, args=(closing,), daemon=True).start()
    with psycopg.connect(dsn, autocommit=True) as session:
        till = Till(session, seed)
        while not closing.wait(pause):
            till.work()
    sys.stdout.write(f"{till.changed}\n")


if __name__ == "__main__":
    main()
