"""Each type of MySQL with its odd values: copied by a query, streamed by Debezium, read again where in doubt."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest

from include.cdc.sources.mysql_types import doubtful, fits_key, implicit_default, target_type, text_of
from include.cdc.values import is_supported, text
from include.demo.postgres import EmbeddedPostgres
from include.settings import PROJECT_ROOT
from tests.integration.conftest import drop_database, fresh_database

VARIABLE = "RETAIL_SYNC_TEST_MYSQL"
pytestmark = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"no MySQL: set {VARIABLE} to mysql://user:password@host:port"
)

#: Prints the events of a database until a row of table ``ping`` says that it is over.
LISTENER = """
import json, os, sys, tempfile
from pathlib import Path
from include.cdc.embedded.engine import Engine, start_java
from include.cdc.embedded.settings import VALUES
told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
def on_batch(events, offset_of):
    for event in events:
        told.write(json.dumps([event.key, event.value]) + "\\n")
        told.flush()
        row = json.loads(event.value)
        if row["source"]["table"] == "ping" and row["after"]["id"] == -1:
            engine.stop()
    return len(events)
more = {"offset.storage.file.filename": str(folder / "offsets")}
more["schema.history.internal.file.filename"] = str(folder / "history")
start_java(folder, 256)
engine = Engine({**VALUES, **json.loads(sys.stdin.readline()), **more}, on_batch)
engine.run()
told.flush()
os._exit(0)
"""
SETTINGS = {
    "name": "types",
    "topic.prefix": "types",
    "connector.class": "io.debezium.connector.mysql.MySqlConnector",
    "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
    "snapshot.mode": "no_data",
    "snapshot.locking.mode": "none",
    "include.schema.changes": "false",
    "poll.interval.ms": "50",
    "time.precision.mode": "microseconds",
    "enable.time.adjuster": "false",
    "bigint.unsigned.handling.mode": "precise",
    "key.converter.decimal.format": "NUMERIC",
    "value.converter.decimal.format": "NUMERIC",
    "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
}
DATES = ["0000-00-00", "0001-01-01", "9999-12-31", "2020-00-00", "2020-02-00", "2020-02-30", "0000-01-01"]
DATES += ["1582-10-10", "1500-02-28", "0099-05-05", "1969-12-31", "1970-01-01", "2024-02-29", "2001-01-01"]
TIMES = ["-838:59:59", "838:59:59", "838:59:58.999999", "-00:00:00.5", "-00:00:01", "00:00:00", "24:00:00"]
TIMES += ["12:34:56.123456", "23:59:59.999999", "-12:30:15.5", "100:00:00.000001"]
MOMENTS = [*DATES, "0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"]
MOMENTS += ["2020-00-00 01:02:03", "2024-02-29 23:59:59.5", "0099-01-01 01:02:03.4", "2001-01-01 00:00:00.25"]
STAMPS = ["0000-00-00 00:00:00", "1970-01-01 00:00:01", "2038-01-19 03:14:07.999999", "2024-10-27 01:30:00.5"]
STAMPS += ["2001-01-01 00:00:00"]
JSONS = ['{"a": 1.0, "b":1e100,   "c":"xé😀", "d":[1,[2,{"e":null}]], "":true}', "18446744073709551615", "1e100"]
JSONS += [
    "-9223372036854775808",
    "-0.0",
    "123456789012345678901234567890",
    '"plain text"',
    '"test"',
    "null",
    "[]",
    "{}",
]
JSONS += [
    "[1e17,1e22,1e-7,1.5e-10,100.0,0.1,0.00048828125,5e-324]",
    '{"b":1,"a":2,"b":3}',
    '"\\\\"\\\\n\\\\u0001"',
    "true",
]
OPAQUE = ["cast(date'2020-01-02' as json)", "cast(time'-838:59:59' as json)", "json_array(b'101', x'', x'00ff')"]
OPAQUE += [
    "json_object('at', cast('2020-01-02 03:04:05.678' as datetime(3)))",
    "json_array(cast(1.50 as decimal(9,2)))",
]
OPAQUE += ["json_object('y', cast('2001' as year), 'f', cast(0.1 as float), 'd', 123456789012345678e0)"]
FLOATS = ["0.1", "16777217", "3.4028234e38", "-0e0", "1.17549435e-38", "1.401298464324817e-45", "1234567.9", "-1e-7"]
DOUBLES = ["0.1", "1e300", "-0e0", "5e-324", "-2.2250738585072014e-308", "1.7976931348623157e308", "9007199254740993"]


def quoted(values: list[str]) -> list[str]:
    return [f"'{value}'" for value in values]


#: Values by types, as SQL.
CASES: dict[str, list[str]] = {
    "tinyint": ["-128", "127"],
    "tinyint(1)": ["-128", "0", "1", "2"],
    "tinyint unsigned": ["255"],
    "smallint": ["-32768"],
    "smallint unsigned": ["65535"],
    "mediumint": ["-8388608"],
    "mediumint unsigned": ["16777215"],
    "int": ["-2147483648"],
    "int unsigned": ["4294967295"],
    "int(8) zerofill": ["42"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "bigint unsigned": ["18446744073709551615", "0", "9007199254740993"],
    "decimal(65,30)": ["'-12345678901234567890123456789012345.123456789012345678901234567890'", "0", "-1e-30"],
    "decimal(65,0)": ["'99999999999999999999999999999999999999999999999999999999999999999'"],
    "decimal(10,2) zerofill": ["1.5"],
    "decimal(10,2)": ["-0.00", "-1.5"],
    "float": FLOATS,
    "float(7,3)": ["1234.5678", "-0e0"],
    "double": DOUBLES,
    "double(10,2)": ["1.005", "12345678.9"],
    "date": quoted(DATES),
    "date not null": quoted(DATES),
    "date not null default '2001-01-01'": quoted(DATES),
    **{f"time({digits})": quoted(TIMES) for digits in (0, 3, 6)},
    "time(1) not null": quoted(TIMES),
    **{f"datetime({digits})": quoted(MOMENTS) for digits in (0, 1, 3, 4, 6)},
    "datetime not null": quoted(MOMENTS),
    "datetime(3) not null default '2001-01-01 00:00:00.25'": quoted(MOMENTS),
    "datetime(3) not null default current_timestamp(3)": quoted(MOMENTS),
    **{f"timestamp({digits}) null": quoted(STAMPS) for digits in (0, 3, 6)},
    "timestamp(2) not null": quoted(STAMPS),
    "timestamp(6) not null default '2001-01-01'": quoted(STAMPS),
    "timestamp(3) not null default current_timestamp(3)": quoted(STAMPS),
    "year": ["0", "1901", "2155", "'00'"],
    "char(5)": ["'ab  '", "'  ab'", "''", "'😀'"],
    "char(0)": ["''"],
    "varchar(10)": ["'ab  '", "''", "'😀é'"],
    "longtext": ["repeat('é', 70000)", "''"],
    "binary(5)": ["x'0100'", "x''", "x'2020'", "x'ff00ff0000'"],
    "varbinary(5)": ["x'0100'", "x''"],
    "longblob": ["x''", "x'00'", "x'ff00'"],
    "varchar(10) character set binary": ["x'e90000'"],
    "bit(1)": ["0", "1"],
    "bit(10)": ["b'1000000001'", "0"],
    "bit(64)": ["0xffffffffffffffff", "1"],
    "enum('x','é','a,b','it''s','','b\\\\s')": ["'x'", "'é'", "'a,b'", "'it''s'", "'zzz'", "''", "6"],
    "set('a','b','é','it''s')": ["'b,a'", "''", "'é'", "'zzz'", "'it''s'"],
    "json": [*quoted(JSONS), *OPAQUE],
    "varchar(20) character set latin1": ["'é€'", "x'81'"],
    "char(10) character set utf16": ["'é😀  '"],
    "text character set utf32": ["'é😀'"],
    "varchar(20) character set sjis": ["'日本'", "x'815c815f'", "'ab'"],
    "varchar(20) character set gb18030": ["'日本😀'"],
    "varchar(20) character set hp8": ["'é'", "'e'"],
    "varchar(20) character set swe7": ["'é'", "'e'"],
    "enum('x','č') character set keybcs2": ["'č'"],
    "geometry": ["st_geomfromtext('POINT(1 2)', 4326)", "st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 1))')"],
    "point": ["st_geomfromtext('POINT(1.5 -2)')"],
    "vector(3)": ["to_vector('[1,2.5,-0.1]')", "x'000000809976967e07000000'"],
    "int generated always as (id + 1) virtual": ["default"],
    "int generated always as (id + 1) stored": ["default"],
    "int invisible default 7": ["default", "3"],
}
#: What some of them are on the target.
FACTS = {
    "date": [None, "0001-01-01", "9999-12-31", None, None, None, None, "1582-10-10", "1500-02-28", "0099-05-05"],
    "time(6)": ["-838:59:59", "838:59:59", "838:59:58.999999", "-00:00:00.5", "-00:00:01", "00:00:00", "24:00:00"],
    "timestamp(2) not null": [None, "1970-01-01 00:00:01+00", None, "2024-10-27 01:30:00.5+00"],
    "year": ["0", "1901", "2155", "2000"],
    "float": ["0.1", "1.6777216e+07", "3.4028235e+38", "-0", "1.1754944e-38", "1e-45", "1.2345679e+06", "-1e-07"],
    "bit(64)": ["18446744073709551615", "1"],
    "bigint unsigned": ["18446744073709551615", "0", "9007199254740993"],
    "char(5)": ["ab", "  ab", "", "😀"],
    "binary(5)": ["\\x0100000000", "\\x0000000000", "\\x2020000000", "\\xff00ff0000"],
    "vector(3)": ["{1,2.5,-0.1}", "{-0,1e+38,1e-44}"],
}
#: Values of keys, each arrives as one and goes as one.
KEYS = [
    "bigint unsigned",
    "decimal(65,30)",
    "datetime(6)",
    "time(6)",
    "timestamp(6) null",
    "binary(5)",
    "char(5)",
    "bit(1)",
]
ADDED = [
    *(
        f"{type_} not null"
        for type_ in CASES
        if not any(word in type_ for word in ("null", "gener", "vect", "geom", "point"))
    ),
    *("int", "json", "blob", "timestamp null", "int default -5", "int(5) zerofill default 7", "float default 0.1"),
    *("double default 1e300", "decimal(10,2) zerofill default 1.5", "bit(1) default b'1'", "bit(10) default 513"),
    *("date default '0000-00-00'", "date not null default '2020-02-29'", "time(3) default '-12:30:00.5'"),
    *("datetime(3) default '2020-01-01 01:02:03.4'", "timestamp(6) default '2020-01-01 01:02:03.123456'"),
    *("year default 0", "varchar(20) default ''", "varchar(20) default 'it''s é'", "varbinary(5) default ''"),
    *("enum('x','y') default 'y'", "set('a','b') default 'b,a'", "int invisible default 7"),
]
UNTOLD = ["timestamp(3) default current_timestamp(3)", "json default (json_array())", "binary(3) default 'ab'"]
UNTOLD += ["varchar(20) default '😀'", "vector(2) not null", "int generated always as (id + 1) stored"]
UNTOLD += ["int not null auto_increment unique"]

Session = pymysql.connections.Connection


@pytest.fixture
def mysql() -> Iterator[Session]:
    """A session as that of a copy, in a database of the test's own."""
    parts = urlsplit(os.environ[VARIABLE])
    assert parts.hostname is not None
    with closing(
        pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password or "",
            autocommit=True,
            charset="utf8mb4",
            init_command="SET SESSION sql_mode = '', time_zone = '+00:00'",
        )
    ) as session:
        name = f"lab_types_{uuid.uuid4().hex[:8]}"
        asked(session, f"CREATE DATABASE {name}")
        session.select_db(name)
        yield session
        asked(session, f"DROP DATABASE {name}")


@pytest.fixture
def target(server: EmbeddedPostgres) -> Iterator[psycopg.Connection[Any]]:
    name = fresh_database(server, "mysql_types")
    with closing(psycopg.connect(server.dsn(name), autocommit=True, options="-c timezone=UTC")) as session:
        yield session
    drop_database(server, name)


def asked(session: Session, statement: str) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def described(session: Session, table: str, column: str = "v") -> tuple[str, str, str | None, str | None, str, bool]:
    """Return a column: its type on the target, then its type, character set, default, extra, whether it has NULLs."""
    (row,) = asked(
        session,
        "SELECT data_type, column_type, character_set_name, column_default, extra, is_nullable = 'YES'"
        f" FROM information_schema.columns WHERE table_schema = database() AND table_name = '{table}'"
        f" AND column_name = '{column}'",
    )
    type_ = target_type(*row[:2])
    assert type_ is not None
    assert is_supported(type_)
    return type_, *row[1:]


def written(target: psycopg.Connection[Any], type_: str, texts: list[str | None]) -> list[str | None]:
    """Return texts as a column of the target gives them back."""
    target.execute("DROP TABLE IF EXISTS t")
    target.execute(f"CREATE TABLE t (n serial, v {type_})".encode())
    with target.cursor() as cursor, cursor.copy("COPY t (v) FROM STDIN") as copy:
        for value in texts:
            copy.write_row([value])
    return [value for (value,) in target.execute("SELECT v::text FROM t ORDER BY n").fetchall()]


def streamed(session: Session, folder: Path, statements: list[str]) -> list[tuple[Any, Any]]:
    """Run statements while Debezium listens; return keys and events."""
    asked(session, "CREATE TABLE ping (id int PRIMARY KEY)")
    parts, ((database,),) = urlsplit(os.environ[VARIABLE]), asked(session, "SELECT database()")
    settings = {**SETTINGS, "database.hostname": parts.hostname, "database.port": str(parts.port or 3306)}
    settings |= {
        "database.user": parts.username,
        "database.password": parts.password,
        "database.include.list": database,
    }
    settings |= {"database.server.id": str(uuid.uuid4().int % 2**31)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTENER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=PROJECT_ROOT,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    try:
        number = 0
        while not select.select([process.stdout], [], [], 0.2)[0]:
            number += 1
            asked(session, f"INSERT INTO ping VALUES ({number})")
            assert number < 200
        for statement in statements:
            asked(session, statement)
        asked(session, "INSERT INTO ping VALUES (-1)")
        lines = [json.loads(line) for line in process.stdout]
        assert process.wait(20) == 0, (folder / "log").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()
    events = [(json.loads(key), json.loads(event)) for key, event in lines]
    return [event for event in events if event[1]["source"]["table"] != "ping"]


def test_a_value_that_is_copied_is_the_one_that_is_streamed(
    mysql: Session, target: psycopg.Connection[Any], tmp_path: Path
) -> None:
    tables = {f"t{number}": (type_, values) for number, (type_, values) in enumerate(CASES.items())}
    keys = {f"k{number}": type_ for number, type_ in enumerate(KEYS)}
    statements = []
    for table, (type_, values) in tables.items():
        asked(mysql, f"CREATE TABLE {table} (id int PRIMARY KEY, n int DEFAULT 0, v {type_})")
        filled = ", ".join(f"({number}, {value})" for number, value in enumerate(values))
        statements += [f"INSERT INTO {table} (id, v) VALUES {filled}", f"UPDATE {table} SET n = 1 WHERE id % 2 = 1"]
        if "not null" not in type_ and "generated" not in type_:
            statements.append(f"INSERT INTO {table} (id, v) VALUES (99, NULL)")
    for table, type_ in keys.items():
        asked(mysql, f"CREATE TABLE {table} (v {type_.removesuffix(' null')} PRIMARY KEY)")
        statements += [f"INSERT INTO {table} VALUES ({CASES[type_][1]})", f"DELETE FROM {table}"]
    last: dict[tuple[str, int], Any] = {}
    gone: dict[str, list[Any]] = {}
    for key, event in streamed(mysql, tmp_path, statements):
        table = event["source"]["table"]
        if table in tables:
            last[table, event["after"]["id"]] = event["after"]["v"]
        else:
            gone.setdefault(table, []).append(key["v"])
    for table, (type_, _) in tables.items():
        kind, column_type, character_set, default, _, _ = described(mysql, table)
        tells = doubtful(column_type, character_set, default) or (lambda value: False)
        copied = dict(asked(mysql, f"SELECT id, {text_of('`v`', column_type)} FROM {table} ORDER BY id"))
        sent = [last[table, number] for number in copied]
        read = [
            copied[number] if tells(value) else text(value, kind) for number, value in zip(copied, sent, strict=True)
        ]
        there = written(target, kind, list(copied.values()))
        assert (type_, written(target, kind, read)) == (type_, there)
        assert there[: len(FACTS.get(type_, []))] == FACTS.get(type_, [])
    for table, type_ in keys.items():
        kind, column_type, character_set, *_ = described(mysql, table)
        assert fits_key(column_type, character_set)
        asked(mysql, f"INSERT INTO {table} VALUES ({CASES[type_][1]})")
        ((copied_key,),) = asked(mysql, f"SELECT {text_of('`v`', column_type)} FROM {table}")
        inserted, deleted = written(target, kind, [text(value, kind) for value in gone[table]])
        assert (type_, inserted, deleted) == (type_, *written(target, kind, [copied_key]) * 2)


@pytest.mark.parametrize(
    ("column_type", "character_set", "fits"),
    [
        ("bit(8)", None, False),
        ("point", None, False),
        ("varchar(9)", "utf8mb4", True),
        ("varchar(9)", "sjis", False),
        ("enum('a','b')", "utf8mb4", True),
        ("enum('a,b')", "utf8mb4", False),
        ("varbinary(9)", None, True),
    ],
)
def test_a_key_needs_values_that_arrive_as_they_are(column_type: str, character_set: str | None, fits: bool) -> None:
    assert fits_key(column_type, character_set) == fits


def test_rows_from_before_a_column_have_its_default(mysql: Session, target: psycopg.Connection[Any]) -> None:
    asked(mysql, "CREATE TABLE d (id int PRIMARY KEY)")
    asked(mysql, "INSERT INTO d VALUES (1)")
    for number, definition in enumerate([*ADDED, *UNTOLD]):
        asked(mysql, f"ALTER TABLE d ADD c{number} {definition}")
        kind, column_type, _, default, extra, nullable = described(mysql, "d", f"c{number}")
        constant, is_untold = implicit_default(column_type, default, extra, nullable)
        assert (definition, is_untold) == (definition, definition in UNTOLD)
        if not is_untold:
            ((there,),) = asked(mysql, f"SELECT {text_of(f'`c{number}`', column_type)} FROM d")
            assert (definition, written(target, kind, [constant])) == (definition, written(target, kind, [there]))
