"""Everything that is in the way of a replication is named at once, each with its remedy; what cannot be asked, too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlglot

from include.cdc import names, state
from include.cdc.models import Kind, Mode, Replication
from include.cdc.prerequisites import Problem, java, mssql, mysql, oracle
from include.cdc.prerequisites.kafka import KafkaParts
from include.cdc.prerequisites.rules import Rule, broken
from include.cdc.validate import assert_ready, validate
from include.connections import Connection, parse
from include.errors import ConnectionLost, NotReady
from tests.integration.cdc import CdcStage, replication
from tests.integration.conftest import fresh_database
from tests.integration.servers import started

SHOP = replication()
ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, price money)"
GOOD = replication(without={"public.orders": ["price"]})


def validated(stage: CdcStage, chosen: Replication, **others: Any) -> list[str]:
    given = {
        "source": stage.source_connection,
        "warehouse": stage.warehouse_connection,
        "control": stage.control_connection,
        **others,
    }
    return [str(problem) for problem in validate(chosen, **given)]


def nowhere(connection: Connection) -> Connection:
    return replace(connection, port=1)


@contextmanager
def login(stage: CdcStage, *rights: str) -> Iterator[str]:
    """Make a login without any right but these."""
    name = f"login_of_{stage.source_connection.database}"
    stage.at_source(f"CREATE ROLE {name} LOGIN", *(right.format(name) for right in rights))
    yield name
    stage.at_source(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_nothing_is_in_the_way_of_a_good_source(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(
        ORDERS,
        "CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')",
        "CREATE TABLE coded (code text NOT NULL UNIQUE, twice int GENERATED ALWAYS AS (2) STORED)",
        "ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_code_key",
        "CREATE VIEW some_orders AS SELECT * FROM orders",
    )
    assert validated(cdc_stage, GOOD) == []
    assert_ready(GOOD, cdc_stage.source_connection, cdc_stage.warehouse_connection, cdc_stage.control_connection)


def test_every_problem_of_the_tables_is_named_at_once(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(
        ORDERS,
        "CREATE SCHEMA till",
        "CREATE TABLE till.orders (id int PRIMARY KEY, _deleted_at date)",
        "CREATE TABLE keyless (id int)",
        "CREATE TABLE whole (id int)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "ALTER TABLE hidden REPLICA IDENTITY NOTHING",
        "CREATE TABLE lazy (id int PRIMARY KEY DEFERRABLE)",
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (9)",
        "ALTER TABLE parts_1 REPLICA IDENTITY NOTHING",
        f"CREATE TABLE {'n' * 62}ä (id int PRIMARY KEY)".replace("ä", ""),
        "CREATE UNLOGGED TABLE quick (id int PRIMARY KEY)",
        "CREATE VIEW some_orders AS SELECT * FROM orders",
        "CREATE MATERIALIZED VIEW kept AS SELECT 1 AS id",
        "CREATE TABLE plain (id int PRIMARY KEY, x int)",
    )
    named = [f"public.{name}" for name in ("quick", "some_orders", "kept", "parts_1", "gone")]
    chosen = replication(
        tables=["public.*", "till.*", "shop.*", *named],
        without={"public.orders": ["id", "prise"], "public.away": ["id"]},
        rename={f"public.{'n' * 62}": "ü" * 32, "public.plain": 'a"b'},
    )
    found = validated(cdc_stage, chosen)
    for start in (
        "public.quick is an unlogged table;",
        "public.some_orders is a view;",
        "public.kept is a materialized view;",
        "public.parts_1 is a partition, its root is followed;",
        "tables: public.gone is not at the source;",
        "tables: shop.* matches no table of the source;",
        "without: public.away is not at the source;",
        "without: public.orders has no column prise;",
        "public.orders: id is part of its key and is not copied;",
        "public.orders: column price is money, which the target cannot hold; name it under `without`",
        "public.orders, till.orders would all be shop.orders;",
        "till.orders: column _deleted_at has the name of the column of soft deletes;",
        f"public.{'n' * 62}: '{'ü' * 32}' is no name for a table in the warehouse;",
        "public.plain: 'a\"b' is no name for a table in the warehouse;",
        "public.keyless has no primary key: published, an UPDATE of it may fail at the source; add a primary key",
        "public.whole has no primary key:",
        "public.hidden: its replica identity,",
        "public.lazy: its replica identity,",
        "public.parts: its replica identity, or that of a partition,",
    ):
        assert len([text for text in found if text.startswith(start)]) == 1, (start, found)
    assert len(found) == 19
    with pytest.raises(NotReady) as refused:
        assert_ready(chosen, cdc_stage.source_connection, cdc_stage.warehouse_connection, cdc_stage.control_connection)
    assert str(refused.value).splitlines() == ["replication shop:", *found]


def test_a_table_that_is_called_not_identified_breaks_the_sources_updates(cdc_stage: CdcStage) -> None:
    """What is refused, is so for a reason; what is not, works."""
    cdc_stage.at_source(
        "CREATE TABLE lazy (id int PRIMARY KEY DEFERRABLE, n int)",
        "INSERT INTO lazy VALUES (1, 1)",
        "CREATE PUBLICATION lazily FOR TABLE lazy",
    )
    with pytest.raises(psycopg.Error, match="does not have a replica identity"):
        cdc_stage.at_source("UPDATE lazy SET n = 2")


def test_rights_that_a_login_lacks_are_named_with_what_grants_them(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(
        "CREATE TABLE orders (id bigint PRIMARY KEY)",
        "CREATE TABLE guarded (id int PRIMARY KEY)",
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
        "CREATE SCHEMA till",
        "CREATE TABLE till.sales (id int PRIMARY KEY)",
    )
    with login(cdc_stage, "GRANT SELECT ON guarded TO {}") as name:
        stranger = {
            "source": replace(cdc_stage.source_connection, login=name),
            "warehouse": replace(cdc_stage.warehouse_connection, login=name),
        }
        found = validated(cdc_stage, replication(tables=["public.*", "till.*"]), **stranger)
        warehouse = cdc_stage.warehouse_connection.database
        for start, remedy in (
            ("may not replicate", f'ALTER ROLE "{name}" REPLICATION'),
            ("may not make the publication", 'FOR TABLE "public"."guarded", "public"."orders", "till"."sales" WITH ('),
            ("public.guarded: row security may hide rows", "give the login BYPASSRLS"),
            ("public.orders: SELECT is missing", "grant it"),
            ("till.sales: USAGE on schema till is missing", "grant it"),
            ("may not create schemas in the warehouse", f"GRANT CREATE ON DATABASE {warehouse} TO {name}"),
            ("may not create tables in schema staging", f"GRANT USAGE, CREATE ON SCHEMA staging TO {name}"),
            ("the migrations of the warehouse cannot be checked", "permission denied"),
        ):
            assert [text for text in found if text.removeprefix(f"{name} ").startswith(start) and remedy in text], start
        assert len(found) == 8


def test_a_publication_that_somebody_else_made_will_do(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(
        "CREATE TABLE orders (id bigint PRIMARY KEY)",
        "CREATE PUBLICATION rs_shop FOR TABLE orders WITH (publish_via_partition_root = true)",
    )
    with login(cdc_stage, "GRANT SELECT ON orders TO {}", "ALTER ROLE {} REPLICATION") as name:
        stranger = replace(cdc_stage.source_connection, login=name)
        assert validated(cdc_stage, SHOP, source=stranger) == []
        cdc_stage.at_source("CREATE TABLE goods (id int PRIMARY KEY)", f"GRANT SELECT ON goods TO {name}")
        (found,) = validated(cdc_stage, SHOP, source=stranger)
        assert found.endswith('ALTER PUBLICATION "rs_shop" SET TABLE "public"."goods", "public"."orders"')


def test_a_publication_that_breaks_updates_or_leaves_changes_out_is_a_problem(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(
        "CREATE TABLE orders (id bigint PRIMARY KEY)",
        "CREATE TABLE logs (id int)",
        "CREATE TABLE more (id int PRIMARY KEY)",
        "CREATE PUBLICATION rs_shop FOR TABLE orders, logs, more WITH (publish_via_partition_root = true)",
    )
    chosen = replication(tables=["public.orders"])
    (found,) = validated(cdc_stage, chosen)
    assert found.startswith("publication rs_shop holds public.logs, of which an UPDATE fails at the source")
    assert found.endswith('ALTER PUBLICATION "rs_shop" DROP TABLE "public"."logs"')
    for others in ("FOR ALL TABLES", "FOR TABLE orders", "FOR TABLE orders WHERE (id > 5) WITH ({})"):
        options = "publish_via_partition_root = true"
        cdc_stage.at_source("DROP PUBLICATION rs_shop", f"CREATE PUBLICATION rs_shop {others.format(options)}")
        (found,) = validated(cdc_stage, chosen)
        assert found.startswith("publication rs_shop does not publish all changes of the followed tables")


def test_a_server_that_gives_out_no_log_is_told_what_to_set(cdc_stage: CdcStage) -> None:
    with started({"wal_level": "replica", "max_replication_slots": "0", "max_wal_senders": "0"}) as server:
        source = parse("source", server.uri(fresh_database(server, "closed")))
        found = validated(cdc_stage, replication(tables=["public.orders"]), source=source)
    assert [text.split(";")[0] for text in found[:3]] == [
        "wal_level is replica",
        "no replication slot is free",
        "no WAL sender is free",
    ]
    assert "restart the source" in found[0]
    assert found[3].startswith("the right to replicate cannot be checked: ")


def test_a_slot_of_its_own_is_as_good_as_a_free_one(cdc_stage: CdcStage) -> None:
    with started({"wal_level": "logical", "max_replication_slots": "1"}) as server:
        source = parse("source", server.uri(fresh_database(server, "one")))
        stage = replace(cdc_stage, server=server, source_connection=source)
        stage.at_source(ORDERS, "SELECT pg_create_logical_replication_slot('other', 'pgoutput')")
        assert [text.split(";")[0] for text in validated(stage, GOOD)] == ["no replication slot is free"]
        own = names.slot("shop", "20260101000000")
        stage.at_source(
            "SELECT pg_drop_replication_slot('other')",
            f"SELECT pg_create_logical_replication_slot('{own}', 'pgoutput')",
        )
        assert validated(stage, GOOD) == []


def test_rows_that_happen_to_be_at_the_target_do_not_count_as_copied(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(ORDERS)
    cdc_stage.at_warehouse("CREATE SCHEMA shop", "CREATE VIEW shop.orders AS SELECT 1 AS id")
    (found,) = validated(cdc_stage, GOOD)
    assert found.startswith("shop.orders is there and was not copied by this replication;")
    with cdc_stage.in_warehouse() as target:
        state.write(target.records, "shop", state=state.State.COPYING, next_epoch="1")
        values = {"target_table": "orders", "status": state.Status.PENDING}
        state.write_table(target.records, "shop", "1", "public.orders", **values)
        assert validated(cdc_stage, GOOD) == [found]
        state.write_table(target.records, "shop", "1", "public.orders", **{**values, "status": state.Status.LIVE})
        assert validated(cdc_stage, GOOD) == []


def test_databases_that_do_not_answer_are_all_named(cdc_stage: CdcStage) -> None:
    unreachable = {
        "source": nowhere(cdc_stage.source_connection),
        "warehouse": nowhere(cdc_stage.warehouse_connection),
        "control": nowhere(cdc_stage.control_connection),
    }
    found = validated(cdc_stage, SHOP, **unreachable)
    assert [text.split(" cannot")[0] for text in found] == ["the control database", "the source", "the warehouse"]


def test_a_warehouse_of_another_kind_or_not_migrated_is_refused(cdc_stage: CdcStage) -> None:
    cdc_stage.at_source(ORDERS)
    (found,) = validated(cdc_stage, GOOD, warehouse=replace(cdc_stage.warehouse_connection, kind="mysql"))
    assert "is no PostgreSQL" in found
    (found,) = validated(cdc_stage, GOOD, warehouse=cdc_stage.source_connection)
    assert found.endswith("python -m include migrate")


@pytest.mark.parametrize("kind", [Kind.MYSQL, Kind.MSSQL, Kind.ORACLE])
def test_the_connection_of_a_source_has_to_be_of_its_kind(cdc_stage: CdcStage, kind: Kind) -> None:
    (found,) = validated(cdc_stage, replication(kind=kind))
    assert "is no " in found
    assert "set the connection of the source to one" in found


class _Connect(BaseHTTPRequestHandler):
    """A Connect cluster that knows the connectors of PostgreSQL and MySQL, and finds fault with passwords."""

    def do_GET(self) -> None:
        known = ("postgresql.PostgresConnector", "mysql.MySqlConnector")
        self._answer([{"class": f"io.debezium.connector.{name}"} for name in known])

    def do_PUT(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wrong = {"name": "database.password", "errors": [f"is wrong: {sent['database.password']}"]}
        self._answer({"configs": [{"value": wrong}]})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def connect() -> Iterator[dict[str, Any]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Connect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"conn_type": "http", "host": "127.0.0.1", "port": server.server_address[1]}
    server.shutdown()
    server.server_close()


MOCK_BROKERS = {"host": "127.0.0.1:1", "extra": {"test.mock.num.brokers": 1}}
MYSQL = {"host": "db", "login": "reader", "password": "hunter2", "schema": "shop"}
#: Nobody answers there.
SILENT = Connection.of("source", kind="mysql", host="127.0.0.1", port=1, login="reader")


def test_connect_is_asked_for_its_plugins_and_to_look_at_the_settings(
    cdc_stage: CdcStage, connect: dict[str, Any]
) -> None:
    given = {"source": SILENT, "kafka_parts": KafkaParts(MYSQL, connect, MOCK_BROKERS)}
    silent, found = validated(cdc_stage, replication(kind=Kind.MYSQL, mode=Mode.KAFKA_CONNECT), **given)
    assert silent.startswith("the source cannot be checked: ")
    assert found.startswith("connector setting database.password: is wrong")
    assert "hunter2" not in found
    *_, found = validated(cdc_stage, replication(kind=Kind.ORACLE, mode=Mode.KAFKA_CONNECT), **given)
    assert found == (
        "Kafka Connect lacks the plugin io.debezium.connector.oracle.OracleConnector; "
        "put Debezium's connector into its plugin.path"
    )


def test_a_connect_and_connections_that_are_not_there_are_problems(
    cdc_stage: CdcStage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RETAIL_SYNC_LOCAL_DIR", str(tmp_path))
    chosen = replication(kind="mysql", mode="kafka_connect")
    closed = {"conn_type": "http", "host": "127.0.0.1", "port": 1, "extra": {"pause": 0}}
    _, found = validated(cdc_stage, chosen, source=SILENT, kafka_parts=KafkaParts(MYSQL, closed, MOCK_BROKERS))
    assert found.startswith("Kafka Connect cannot be checked: ")
    _, found = validated(cdc_stage, chosen, source=SILENT)
    assert found.startswith("Kafka cannot be checked: connection 'kafka_connect' is not set")


def test_java_has_to_be_there_and_new_enough() -> None:
    assert java.problems() == []
    library = Path("/opt/java/lib/server/libjvm.so")
    assert java.judged(library, "17.0.19") == []
    assert "is 1.8.0_402; install" in str(java.judged(library, "1.8.0_402")[0])
    assert "cannot be told" in str(java.judged(library, None)[0])


@pytest.mark.parametrize(
    ("dialect", "rules"), [("tsql", mssql.RULES), ("mysql", mysql.RULES), ("oracle", oracle.RULES)]
)
def test_what_other_servers_are_asked_is_their_sql(dialect: str, rules: tuple[Rule, ...]) -> None:
    for query in [rule.query for rule in rules] + ([mssql.TABLES] if dialect == "tsql" else []):
        assert len(sqlglot.parse(query, dialect=dialect)) == 1


GRANTS = "GRANT SELECT, RELOAD, LOCK TABLES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO x"


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        (
            mysql.RULES,
            [
                "8.4.3",
                1,
                "ROW",
                "FULL",
                "",
                2592000,
                GRANTS,
                GRANTS,
            ],
            [
                "11.4-MariaDB",
                0,
                "MIXED",
                "MINIMAL",
                "PARTIAL_JSON",
                3600,
                "GRANT SELECT ON *.* TO x",
                "GRANT SELECT ON *.* TO x",
            ],
        ),
        (mssql.RULES, [1, "Running", 1, 4320, 1], [0, "Stopped", 0, 60, 0]),
        (
            oracle.RULES,
            ["ARCHIVELOG", "YES", None, "LOG_1", "\n".join(oracle._PRIVILEGES), None],
            ["NOARCHIVELOG", "NO", "SHOP", None, "CREATE SESSION", "SHOP"],
        ),
    ],
    ids=["mysql", "mssql", "oracle"],
)
def test_rules_tell_right_answers_from_wrong_ones(rules: tuple[Rule, ...], good: list[Any], bad: list[Any]) -> None:
    """``None`` stands for no rows."""
    for answers, expected in ((good, []), (bad, [Problem(rule.what, rule.remedy) for rule in rules])):
        told = {rule.query: [] if value is None else [(value,)] for rule, value in zip(rules, answers, strict=True)}
        assert broken(rules, told.__getitem__) == expected


def test_a_question_that_is_not_answered_is_a_problem() -> None:
    def lost(_: str) -> list[Any]:
        raise ConnectionLost("the link broke")

    assert len(broken(mssql.RULES, lost)) == len(mssql.RULES)


def test_tables_of_sql_server_need_capture_a_key_and_the_right_to_read() -> None:
    chosen = replication(kind=Kind.MSSQL, tables=["dbo.*"])
    rows = [("dbo.good", 1, 1, 1), ("dbo.bad", 0, 0, 0), ("other.bad", 0, 0, 0)]
    found = [str(problem) for problem in mssql.table_problems(chosen, rows)]
    assert len(found) == 3
    assert all(text.startswith("dbo.bad") for text in found)
    assert "@source_schema = N'dbo', @source_name = N'bad'" in found[0]
    assert len(mssql.table_problems(chosen, rows[2:])) == 1
