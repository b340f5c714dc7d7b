"""Look at all that a replication needs before it begins: every problem at once, each with its remedy."""

from __future__ import annotations

import logging
from collections.abc import Callable

from include.cdc.models import Kind, Mode, Replication
from include.cdc.prerequisites import Problem, java, kafka, looked, mssql, mysql, oracle, postgres, tables
from include.cdc.prerequisites.kafka import KafkaParts
from include.cdc.prerequisites.warehouse import control_problems, warehouse_problems
from include.cdc.prerequisites.warehouse_mssql import column_problems
from include.cdc.sources.opening import source_of
from include.cdc.sources.postgres import PostgresCdcSource
from include.connections import Connection
from include.errors import NotReady
from include.settings import Settings

log = logging.getLogger(__name__)

_APPLICATION = "retail-sync cdc validate"
_PREREQUISITES = {Kind.MYSQL: mysql, Kind.MSSQL: mssql, Kind.ORACLE: oracle}


def validate(
    replication: Replication,
    source: Connection,
    warehouse: Connection,
    control: Connection,
    *,
    kafka_parts: KafkaParts | None = None,
) -> list[Problem]:
    """
    Return everything that is in the way; what cannot be checked is, too. Nothing is changed.

    :param kafka_parts: None for the connections of the environment.
    """
    followed: list[str] = []
    looks: dict[str, Callable[[], list[Problem]]] = {
        "the control database": lambda: control_problems(replication, control),
        "the source": lambda: _source(replication, source, followed),
        "the warehouse": lambda: warehouse_problems(replication, warehouse, followed),
    }
    if warehouse.kind == "mssql":
        looks["the columns of the source"] = lambda: _columns(replication, source)
    if replication.mode is Mode.KAFKA_CONNECT:
        looks["Kafka"] = lambda: _kafka(replication, source, followed, kafka_parts)
    else:
        looks["Java"] = java.problems
    return [problem for what, look in looks.items() for problem in looked(what, look)]


def assert_ready(
    replication: Replication,
    source: Connection,
    warehouse: Connection,
    control: Connection,
    *,
    kafka_parts: KafkaParts | None = None,
) -> None:
    """
    Make sure that nothing is in the way.

    :raises NotReady: with a line a problem.
    """
    problems = validate(replication, source, warehouse, control, kafka_parts=kafka_parts)
    if problems:
        raise NotReady(f"replication {replication.name}:\n" + "\n".join(map(str, problems)))
    log.info("replication %s, step 1/4: nothing is in the way", replication.name)


def _source(replication: Replication, source: Connection, followed: list[str]) -> list[Problem]:
    if replication.kind is Kind.POSTGRES:
        if source.kind != "postgres":
            return [Problem(f"{source} is no PostgreSQL", "set `kind`, or the connection of the source")]
        return _postgres(replication, PostgresCdcSource(source, _APPLICATION), followed)
    found: list[Problem] = _PREREQUISITES[replication.kind].problems(replication, source)
    if source.kind == replication.kind.value:
        followed += [table.name for table in source_of(replication.kind, source, _APPLICATION).tables(replication)]
    return found


def _postgres(replication: Replication, source: PostgresCdcSource, followed: list[str]) -> list[Problem]:
    with source.session() as session:
        relations = tables.relations(session)
        found = source.tables(replication)
        followed += [table.name for table in found]
        log.info("replication %s: %s", replication.name, postgres.kept_log(session))
        return [
            *postgres.problems(session, source, replication, relations, followed),
            *looked("the tables of the source", lambda: tables.problems(session, replication, relations, found)),
        ]


def _columns(replication: Replication, source: Connection) -> list[Problem]:
    found, at_source = [], source_of(replication.kind, source, _APPLICATION)
    with at_source.reading() as rows:
        for table in at_source.tables(replication):
            types = {name: column.type for name, column in rows.columns(table.name).items()}
            found += column_problems(replication, table, types)
    return found


def _kafka(
    replication: Replication, source: Connection, followed: list[str], given: KafkaParts | None
) -> list[Problem]:
    given = given or kafka.parts(replication, source, Settings().local_dir)
    return kafka.problems(replication, followed or replication.tables, given)
