"""The warehouse and the control database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from include import migrations
from include.cdc import tables as own
from include.cdc.models import Replication
from include.cdc.prerequisites import Problem, looked, warehouse_mssql, warehouse_postgres
from include.cdc.state import Status
from include.cdc.targets.base import STAGING, Target
from include.cdc.targets.opening import opened
from include.cdc.targets.postgres import PostgresTarget
from include.connections import Connection
from include.locks import LockSpace, Name, hold

_APPLICATION = "retail-sync cdc validate"
_LOCK_SECONDS = 10
_OURS = [
    table.name
    for table in (
        *(own.cdc_replications, own.cdc_tables, own.cdc_incidents, own.cdc_dead_letters),
        *(own.cdc_applies, own.cdc_offsets, own.cdc_definitions),
    )
]


def warehouse_problems(replication: Replication, warehouse: Connection, tables: Sequence[str]) -> list[Problem]:
    """Look at the warehouse, and at what is where the tables of the source will be."""
    if warehouse.kind not in ("postgres", "mssql"):
        text = f"{warehouse} is no PostgreSQL and no SQL Server, into which alone a database can be followed"
        return [Problem(text, "set the connection to the warehouse")]
    with opened(warehouse, _APPLICATION) as target:
        problems = _rights(target, replication, warehouse)
        if missing := looked("the migrations of the warehouse", lambda: _migrated(warehouse)):
            return [*problems, *missing]
        return [
            *problems,
            *_names(replication, warehouse, tables),
            *looked("the tables cdc_*", lambda: _writable(target, warehouse)),
            *looked("the target's tables", lambda: _there(target, replication, tables)),
        ]


def _names(replication: Replication, warehouse: Connection, tables: Sequence[str]) -> list[Problem]:
    is_mssql = warehouse.kind == "mssql"
    longest = warehouse_mssql.LONGEST_NAME if is_mssql else warehouse_postgres.LONGEST_NAME
    sources = defaultdict(list)
    for name in tables:
        # a database of SQL Server may take both cases for one name
        named = replication.target_of(name)
        sources[named.casefold() if is_mssql else named].append(name)
    problems = [
        Problem(f"{', '.join(several)} differ in case only", "leave one of them out by `exclude`")
        for several in (warehouse_mssql.alike(tables) if is_mssql else [])
    ]
    for several in sources.values():
        target = replication.target_of(several[0])
        if len(several) > 1:
            text = f"{', '.join(several)} would all be {replication.target_schema}.{target}"
            problems.append(Problem(text, "set `target_name` to {schema}_{table}, or `rename` one"))
        if len(target if is_mssql else target.encode()) > longest or '"' in target:
            text = f"{several[0]}: {target!r} is no name for a table in the warehouse"
            unit = "characters" if is_mssql else "bytes"
            problems.append(Problem(text, f"give it one of at most {longest} {unit} by `rename`"))
    return problems


def control_problems(replication: Replication, control: Connection) -> list[Problem]:
    """Look whether the control database gives locks."""
    if control.kind != "postgres":
        return [Problem(f"{control} is no PostgreSQL, which gives the locks", "set the connection to one")]
    names = [Name(LockSpace.REPLICATION, f"{replication.name} check", shared=True)]
    with hold(control, names, holder=_APPLICATION, wait=_LOCK_SECONDS):
        return []


def _rights(target: Target, replication: Replication, warehouse: Connection) -> list[Problem]:
    schemas = [STAGING, replication.target_schema]
    if isinstance(target, PostgresTarget):
        return warehouse_postgres.rights(target.session, warehouse, schemas)
    return warehouse_mssql.rights(target.records, warehouse, schemas)


def _migrated(warehouse: Connection) -> list[Problem]:
    state = migrations.state("warehouse", warehouse)
    if state.up_to_date:
        return []
    text = f"the warehouse is migrated to {state.current or 'nothing'}, the newest is {state.head}"
    return [Problem(text, "python -m include migrate")]


def _writable(target: Target, warehouse: Connection) -> list[Problem]:
    if isinstance(target, PostgresTarget):
        may = warehouse_postgres.may_write(target.session, _OURS)
    else:
        may = warehouse_mssql.may_write(target.records, _OURS)
    if may:
        return []
    text = f"{warehouse.login} may not read and write all of dbo.cdc_*"
    return [Problem(text, "grant SELECT, INSERT, UPDATE, DELETE on them")]


def _there(target: Target, replication: Replication, tables: Sequence[str]) -> list[Problem]:
    ours = _published(target.records, replication.name)
    problems = []
    for name, owned in _present(target, replication, tables).items():
        table = f"{replication.target_schema}.{name}"
        if name not in ours:
            text = f"{table} is there and was not copied by this replication; its rows do not count as copied"
            problems.append(Problem(text, "drop it, move it away, or `rename` the copy"))
        elif not owned:
            problems.append(Problem(f"{table} belongs to somebody else", "give it to the login of the warehouse"))
    return problems


def _present(target: Target, replication: Replication, tables: Sequence[str]) -> Mapping[str, bool]:
    schema, names = replication.target_schema, [replication.target_of(table) for table in tables]
    if isinstance(target, PostgresTarget):
        return warehouse_postgres.present(target.session, schema, names)
    return warehouse_mssql.present(target.records, schema, names)


def _published(records: sa.Connection, replication: str) -> set[str]:
    """Return the tables that were published, also those of which another copy of the same epoch is being made."""
    t, r = own.cdc_tables.c, own.cdc_replications.c
    joined = own.cdc_tables.outerjoin(own.cdc_replications, sa.and_(r.name == t.replication, r.epoch == t.epoch))
    was = sa.or_(t.status == Status.LIVE, sa.and_(r.name.is_not(None), t.copied_at.is_not(None)))
    query = sa.select(t.target_table).select_from(joined).where(t.replication == replication, was)
    return set(records.execute(query).scalars())
