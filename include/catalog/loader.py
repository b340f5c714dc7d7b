"""Read ``tables.yaml`` and ``columns.json`` and refuse what does not hold together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from include.catalog.models import Group, Table
from include.catalog.types import SqlType
from include.errors import BadRequest, CatalogError

TABLES_FILE = Path(__file__).with_name("tables.yaml")
COLUMNS_FILE = Path(__file__).with_name("columns.json")

_DEFAULTS = {"source_schema", "target_schema", "target_table", "key", "rowversion", "soft_delete", "quality"}


@dataclass(frozen=True)
class Catalog:
    """The tables by name, in the order of the file, which is the order of a run."""

    tables: Mapping[str, Table]

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables.values())

    def __getitem__(self, name: str) -> Table:
        try:
            return self.tables[name]
        except KeyError:
            raise BadRequest(
                f"table {name!r} is not in the catalog; add it to {TABLES_FILE.name} and run "
                f"`python -m include add-table {name}`"
            ) from None

    def group(self, group: Group) -> list[Table]:
        """Return the tables of a group, in the order of a run."""
        return [table for table in self if group in table.groups]

    @property
    def hashes(self) -> bool:
        """Whether any column is hashed, so that a key is needed."""
        return any("hash" in table.policies.values() for table in self)

    def pick(self, names: Iterable[str], group: Group) -> list[Table]:
        """
        Return the named tables of a group in the order of a run; all of it for no names.

        :raises BadRequest: naming the tables that are not of the group.
        """
        wanted, tables = list(names), self.group(group)
        known = {table.name for table in tables}
        if unknown := [name for name in wanted if name not in known]:
            raise BadRequest(f"not {group} tables: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
        return [table for table in tables if not wanted or table.name in wanted]


def load() -> Catalog:
    """
    Return the project's catalog, read once a process.

    :raises CatalogError: naming file, table and field.
    """
    return _load_project_catalog()


@cache
def _load_project_catalog() -> Catalog:
    return read(TABLES_FILE, COLUMNS_FILE)


def read(tables_file: Path, columns_file: Path) -> Catalog:
    """
    Read and validate a catalog.

    :raises CatalogError: naming file, table and field.
    """
    entries = read_entries(tables_file)
    columns = _read_json(columns_file)
    if strays := sorted(set(columns) - set(entries)):
        raise CatalogError(f"{columns_file.name}: {strays[0]}: not in {tables_file.name}")
    forms = _text_dates(tables_file)
    tables: dict[str, Table] = {}
    owners: dict[tuple[str, str], str] = {}
    for name, entry in entries.items():
        types = _types(columns_file, name, columns.get(name, {}))
        typed = {column: form for column, form in forms.items() if column in types and types[column].is_text}
        fields = {**entry, "typed": {**typed, **_mapping(tables_file, f"{name}: typed", entry.get("typed") or {})}}
        table = build_table(tables_file, name, fields, types)
        owner = owners.setdefault((table.target_schema, table.target_table), name)
        if owner != name:
            raise CatalogError(f"{tables_file.name}: {name}: target_table: {table.target_table} is that of {owner}")
        tables[name] = table
    _check_parents(tables_file, tables)
    return Catalog(tables)


def read_entries(tables_file: Path, required: str | None = None) -> dict[str, dict[str, Any]]:
    """
    Return the fields of each table with the defaults filled in, not yet validated.

    :raises CatalogError: if the file is wrong, or does not name the ``required`` table.
    """
    content = _read_yaml(tables_file)
    _refuse_unknown(tables_file, "", content, {"defaults", "tables", "text_dates"})
    defaults = content.get("defaults") or {}
    _refuse_unknown(tables_file, "defaults", defaults, _DEFAULTS)
    entries = _mapping(tables_file, "tables", content.get("tables") or {})
    if required is not None and required not in entries:
        raise CatalogError(f"{tables_file.name}: {required}: not there; write its line first")
    filled = {name: {**defaults, **_mapping(tables_file, name, entry)} for name, entry in entries.items()}
    for name, fields in filled.items():
        target = fields.get("target_table", "{table}")
        if isinstance(target, str):
            fields["target_table"] = target.replace("{table}", str(name))
        if "quality" in fields:
            usual = _mapping(tables_file, "defaults: quality", defaults.get("quality") or {})
            fields["quality"] = {**usual, **_mapping(tables_file, f"{name}: quality", fields["quality"])}
    return filled


def build_table(file: Path, name: str, fields: Mapping[str, Any], columns: Mapping[str, str | SqlType]) -> Table:
    """
    Return a table made of its fields and columns.

    :raises CatalogError: naming file, table and field.
    """
    for given in ("name", "columns"):
        if given in fields:
            raise CatalogError(f"{file.name}: {name}: {given}: unknown field")
    try:
        return Table.model_validate({"name": name, "columns": columns, **fields})
    except ValidationError as error:
        raise CatalogError(f"{file.name}: {name}: {_first_problem(error)}") from error


def _text_dates(file: Path) -> dict[str, str]:
    """Return the form of the dates and times in columns of text, by the name that they have in any table."""
    forms: dict[str, str] = {}
    for form, columns in _mapping(file, "text_dates", _read_yaml(file).get("text_dates") or {}).items():
        if not isinstance(columns, list):
            raise CatalogError(f"{file.name}: text_dates: {form}: expected a list of columns, found {columns!r}")
        for column in columns:
            if column in forms:
                raise CatalogError(f"{file.name}: text_dates: {column}: named twice")
            forms[column] = str(form)
    return forms


def _check_parents(file: Path, tables: Mapping[str, Table]) -> None:
    for table in tables.values():
        if table.parent is None:
            continue
        above = tables.get(table.parent.table)
        if above is None:
            raise CatalogError(f"{file.name}: {table.name}: parent: {table.parent.table} is not in the catalog")
        if above.columns and table.parent.parent_column not in above.columns:
            raise CatalogError(
                f"{file.name}: {table.name}: parent: {above.name} has no column {table.parent.parent_column!r}"
            )


def _types(file: Path, table: str, columns: Any) -> dict[str, SqlType]:
    types = {}
    for column, text in _mapping(file, table, columns).items():
        try:
            types[column] = SqlType.parse(text)
        except (TypeError, ValueError) as error:
            raise CatalogError(f"{file.name}: {table}: {column}: {error}") from error
    return types


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown field"
    text = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {text}" if field else text


def _refuse_unknown(file: Path, place: str, mapping: Any, known: set[str]) -> None:
    where = f"{file.name}: {place}: " if place else f"{file.name}: "
    for field in _mapping(file, place, mapping):
        if field not in known:
            raise CatalogError(f"{where}{field}: unknown field, expected one of {', '.join(sorted(known))}")


def _mapping(file: Path, place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        where = f"{file.name}: {place}: " if place else f"{file.name}: "
        raise CatalogError(f"{where}expected a mapping, found {value!r}")
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a repeated key win silently; a table named twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a name is expected; write braces in quotes", key_node.start_mark
                )
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key_node.value}: named twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        with file.open(encoding="utf-8") as stream:
            return _mapping(file, "", yaml.load(stream, _UniqueKeyLoader))  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CatalogError(f"{file.name}: {line}{error.problem}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogError(f"{file.name}: is no plain UTF-8 text") from error
    except OSError as error:
        raise CatalogError(f"{file.name}: cannot be read: {error.strerror}") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return _mapping(file, "", json.loads(file.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise CatalogError(f"{file.name}: line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{file.name}: is no plain UTF-8 text") from error
    except OSError as error:
        raise CatalogError(f"{file.name}: cannot be read: {error.strerror}") from error
