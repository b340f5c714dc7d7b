"""
The views that show dates and times of text as what they are, in PostgreSQL.

Whatever a text is, its expression does not fail: its form is looked at first, then its
calendar. A ``CASE`` evaluates no branch that it does not need.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as pgsql

from include.catalog import Table
from include.catalog.models import TextForm
from include.engines.postgres import sql
from include.maintenance.upkeep import IS_DELETED, marks_deleted, typed_columns, typed_name

_DATE = "[0-9]{2}/[0-9]{2}/[0-9]{4}"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_FORMS: dict[TextForm, str] = {
    "dd/mm/yyyy": f"^{_DATE}($|[^0-9])",
    "hh:mm:ss": f"^{_TIME}$",
    "dd/mm/yyyy hh:mm:ss": f"^{_DATE} {_TIME}$",
}
_CALENDAR = (
    "{year} > 0 AND {month} BETWEEN 1 AND 12 AND {day} BETWEEN 1 AND CASE"
    " WHEN {month} IN (4, 6, 9, 11) THEN 30 WHEN {month} <> 2 THEN 31"
    " WHEN {year} % 4 = 0 AND ({year} % 100 <> 0 OR {year} % 400 = 0) THEN 29 ELSE 28 END"
)
_DAY = "make_date({year}, {month}, {day})"

#: Columns, kind, definition and rights of a relation; nothing where it is missing.
_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_DEFINITION = "SELECT pg_get_viewdef(to_regclass(%s))"
_RIGHTS = """
    SELECT CASE WHEN grantee = 0 THEN NULL ELSE grantee::regrole::text END, privilege_type, is_grantable
    FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass(%s) AND grantee <> relowner
"""
_PROBE = pgsql.Identifier("pg_temp", "view_as_it_should_be")

#: Names and types of columns, in order.
Columns = list[tuple[str, str]]


def refresh(session: psycopg.Connection[Any], table: Table) -> bool:
    """
    Make the view of a table as it should be, in the session's transaction; returns whether it was not.

    The columns that a view has keep their places, new ones come behind them. A view that loses a
    column, or changes the type of one, is made anew and keeps its rights.
    """
    view = pgsql.Identifier(table.target_schema, table.view)
    name = view.as_string(session)
    has = _columns(session, name)
    query = select(table, [column for column, _ in _columns(session, sql.target_name(table).as_string(session))], has)
    wanted, definition = _probe(session, query)
    if (wanted, definition) == (has, _definition(session, name) if has else None):
        return False
    if wanted[: len(has)] == has:
        session.execute(pgsql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(view, query))
        return True
    rights = session.execute(_RIGHTS, (name,)).fetchall()
    session.execute(pgsql.SQL("DROP VIEW {}").format(view))
    session.execute(pgsql.SQL("CREATE VIEW {} AS {}").format(view, query))
    for role, privilege, grantable in rights:
        session.execute(_grant(view, role, privilege, grantable=grantable))
    return True


def select(table: Table, raw: list[str], has: Columns) -> sql.Query:
    """
    Return the query of a table's view.

    :param raw: the columns of the replica.
    :param has: the columns that the view has now; those that it keeps come first, in their order.
    """
    shown: dict[str, pgsql.Composable] = {name: pgsql.Identifier(name) for name in raw}
    for name, form in typed_columns(table, raw).items():
        shown[typed_name(name)] = typed(name, form)
    if marks_deleted(table, raw):
        shown[IS_DELETED] = _is_deleted(table)
    kept = [name for name, _ in has if name in shown]
    order = [*kept, *(name for name in shown if name not in kept)]
    columns = [pgsql.SQL("{} AS {}").format(shown[name], pgsql.Identifier(name)) for name in order]
    return pgsql.SQL("SELECT {} FROM {}").format(pgsql.SQL(", ").join(columns), sql.target_name(table))


def typed(column: str, form: TextForm) -> sql.Query:
    """Return the expression of a text column as date, time or timestamp, NULL where it is not of the form."""
    name = pgsql.Identifier(column)
    has_form = pgsql.SQL("{} ~ {}").format(name, pgsql.Literal(_FORMS[form]))
    if form == "hh:mm:ss":
        return pgsql.SQL("CASE WHEN {} THEN {}::time(0) END").format(has_form, name)
    day, month, year = (
        pgsql.SQL("substr({}, {}, {})::int").format(name, pgsql.Literal(at), pgsql.Literal(length))
        for at, length in ((1, 2), (4, 2), (7, 4))
    )
    value = pgsql.SQL(_DAY).format(day=day, month=month, year=year)
    if form == "dd/mm/yyyy hh:mm:ss":
        value = pgsql.SQL("({} + substr({}, 12, 8)::time)::timestamp(0)").format(value, name)
    calendar = pgsql.SQL(_CALENDAR).format(day=day, month=month, year=year)
    return pgsql.SQL("CASE WHEN {} THEN CASE WHEN {} THEN {} END END").format(has_form, calendar, value)


def _is_deleted(table: Table) -> sql.Query:
    assert table.soft_delete is not None
    type_ = table.columns[table.soft_delete]
    yes = "true" if type_.base == "bit" else "'1'" if type_.is_text else "1"
    return pgsql.SQL(f"coalesce({{}} = {yes}, false)").format(pgsql.Identifier(table.soft_delete))


def _probe(session: psycopg.Connection[Any], query: sql.Query) -> tuple[Columns, str]:
    """Return columns and definition that a view of the query has, as the server writes them."""
    name = _PROBE.as_string(session)
    session.execute(pgsql.SQL("CREATE VIEW {} AS {}").format(_PROBE, query))
    found = _columns(session, name), _definition(session, name)
    session.execute(pgsql.SQL("DROP VIEW {}").format(_PROBE))
    return found


def _columns(session: psycopg.Connection[Any], name: str) -> Columns:
    return [(column, type_) for column, type_ in session.execute(_COLUMNS, (name,))]


def _definition(session: psycopg.Connection[Any], name: str) -> str:
    row = session.execute(_DEFINITION, (name,)).fetchone()
    assert row is not None
    return str(row[0])


def _grant(view: pgsql.Identifier, role: str | None, privilege: str, *, grantable: bool) -> pgsql.Composed:
    """Give a right back; the server wrote its keyword, and the role with its quotes."""
    return pgsql.SQL("GRANT {} ON {} TO {}{}").format(
        pgsql.SQL(privilege),
        view,
        pgsql.SQL(role or "PUBLIC"),
        pgsql.SQL(" WITH GRANT OPTION" if grantable else ""),
    )
