"""What may not leave the source does not: not into the warehouse, not into staging, not into an export."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars
import psycopg
import pytest
from psycopg import sql

from include.catalog import Table
from include.demo.changes import late_fix
from include.engines.base import Level
from include.engines.postgres import PostgresSource
from include.engines.staging import staging_name
from include.errors import NotConfigured
from include.replication.export import ExportTarget
from include.replication.observe import Step
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.run import Run
from include.replication.sweep import sweep
from include.replication.verify import Verify, compare
from include.windows import CHANGES, WHOLE, Span
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import CATALOG, SALES, Watch, load_all, one, replica_of, source_of, staging_tables
from tests.integration.test_reconcile import DAY, change
from tests.unit.tables import make_table

CUSTOMER = CATALOG["APP_4_CUSTOMER"]
SECRETS = ("PASSWORD", "API_PASSWORD")


@pytest.fixture
def marker(stage: Stage) -> str:
    """Give all customers passwords that can be found wherever they are."""
    text = uuid.uuid4().hex
    with stage.connect_source() as connection:
        query = sql.SQL(
            'UPDATE {} SET "PASSWORD" = %s, "API_PASSWORD" = \'api \' || %s, "FIRST_NAME" = \'kept \' || %s'
        )
        assert connection.execute(query.format(source_of(CUSTOMER)), (text, text, f"{text[::-1]}")).rowcount > 0
    return text


def rows_with(connection: psycopg.Connection[Any], relation: sql.Composable, text: str) -> int:
    """Count the rows of which any column holds the text."""
    query = sql.SQL("SELECT count(*) FROM {} row WHERE strpos(row::text, %s) > 0").format(relation)
    return int(one(connection, query, text))


def test_passwords_are_at_the_source_and_nowhere_else(stage: Stage, marker: str, tmp_path: Path) -> None:
    staged: list[tuple[int, int]] = []

    def look() -> None:
        staging = sql.Identifier("staging", staging_name(CUSTOMER, WHOLE))
        with stage.connect_warehouse() as connection:
            staged.append((rows_with(connection, staging, marker), rows_with(connection, staging, marker[::-1])))

    run = stage.run(export=ExportTarget(str(tmp_path)))
    report = replicate(run, CUSTOMER, WHOLE, Watch(at={Step.STAGED: look}))
    rows = report.rows_published
    assert (report.status, rows > 0) == ("verified", True)
    assert staged == [(0, rows)]
    with stage.connect_source() as source, stage.connect_warehouse() as warehouse:
        assert rows_with(source, source_of(CUSTOMER), marker) == rows
        assert rows_with(warehouse, replica_of(CUSTOMER), marker) == 0
        assert rows_with(warehouse, replica_of(CUSTOMER), marker[::-1]) == rows
    (file,) = tmp_path.glob("*/*.parquet")
    exported = polars.read_parquet(file)
    assert exported.height == rows
    assert [exported[name].null_count() for name in SECRETS] == [rows, rows]
    assert exported["FIRST_NAME"].to_list() == [f"kept {marker[::-1]}"] * rows
    assert [path for path in tmp_path.rglob("*") if path.is_file() and marker.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("level", list(Level))
def test_what_is_held_back_is_no_difference(stage: Stage, marker: str, level: Level) -> None:
    replicate(stage.run(), CUSTOMER, WHOLE, Watch())
    assert compare(stage.source, stage.warehouse, CUSTOMER, WHOLE, level).equal
    with stage.connect_source() as connection:
        late_fix(connection, CUSTOMER, None, 1, 1)
    assert compare(stage.source, stage.warehouse, CUSTOMER, WHOLE, level).equal == (level is Level.COUNTS)


def test_a_password_that_reached_the_warehouse_is_found_and_taken_out(stage: Stage, marker: str) -> None:
    unversioned = CUSTOMER.model_copy(update={"rowversion": None})
    replicate(stage.run("first"), unversioned, WHOLE, Watch())
    with stage.connect_warehouse() as connection:
        connection.execute(sql.SQL('UPDATE {} SET "PASSWORD" = %s').format(replica_of(CUSTOMER)), (marker,))
        replicate(stage.run("second"), unversioned, WHOLE, Watch())
        assert rows_with(connection, replica_of(CUSTOMER), marker) == 0


SECRET = b"a key of the shop"
HASHED = SALES.model_copy(update={"policies": {"BILL_REMARK": "hash"}})
TEXTS = ["plain", "", " blank ", "Größe 茶 \N{GRINNING FACE}", "quote ' and \\ back", "x" * 255]


def with_secret(run: Run, secret: bytes | None) -> Run:
    assert isinstance(run.source, PostgresSource)
    return replace(run, source=replace(run.source, secret=secret))


def hmac_of(text: str | None, secret: bytes = SECRET) -> str | None:
    return None if text is None else hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def remarks(connection: psycopg.Connection[Any], relation: sql.Composable) -> dict[int, str | None]:
    query = sql.SQL('SELECT "ID", "BILL_REMARK" FROM {} WHERE "DATETIME__SALES_DATE" = %s').format(relation)
    return dict(connection.execute(query, (DAY.start,)).fetchall())


@pytest.fixture
def texts(stage: Stage) -> Iterator[dict[int, str | None]]:
    """Give the sales of a day remarks of many kinds, and some none; returns them."""
    with stage.connect_source() as connection:
        keys = sorted(remarks(connection, source_of(SALES)))
        assert len(keys) > len(TEXTS)
        query = sql.SQL('UPDATE {} SET "BILL_REMARK" = %s WHERE "ID" = %s').format(source_of(SALES))
        for place, key in enumerate(keys):
            connection.execute(query, ([*TEXTS, None][place % (len(TEXTS) + 1)], key))
        yield remarks(connection, source_of(SALES))


@pytest.mark.parametrize("secret", [SECRET, b"k", b"\0'\\" * 21, bytes(range(64)), b"long" * 50], ids=len)
def test_a_hash_is_the_hmac_of_the_text(stage: Stage, texts: dict[int, str | None], secret: bytes) -> None:
    report = replicate(with_secret(stage.run(), secret), HASHED, OCTOBER, Watch())
    with stage.connect_warehouse() as connection:
        copy = remarks(connection, replica_of(SALES))
    assert report.status == "verified"
    assert None in texts.values()
    assert copy == {key: hmac_of(text, secret) for key, text in texts.items()}


def test_a_hash_is_stable_and_another_key_gives_another(stage: Stage, texts: dict[int, str | None]) -> None:
    copies = []
    for number, secret in enumerate([SECRET, SECRET, b"another key"]):
        run = with_secret(stage.run(f"run {number}", force=True), secret)
        replicate(run, HASHED, OCTOBER, Watch())
        with stage.connect_warehouse() as connection:
            copies.append(remarks(connection, replica_of(SALES)))
    assert copies[0] == copies[1]
    assert [key for key in texts if copies[2][key] == copies[1][key]] == [key for key in texts if texts[key] is None]


@pytest.mark.parametrize("verify", [Verify.CHECKSUM, Verify.COUNTS])
def test_a_table_with_a_hash_is_equal_to_its_copy(stage: Stage, texts: dict[int, str | None], verify: Verify) -> None:
    run = with_secret(stage.run("first", verify=verify), SECRET)
    assert len(texts) < replicate(run, HASHED, OCTOBER, Watch()).rows_published
    assert replicate(replace(run, id="second"), HASHED, OCTOBER, Watch()).unchanged


@pytest.mark.parametrize("how", ["fix", "sweep"])
def test_repairs_and_sweeps_hash_too(stage: Stage, texts: dict[int, str | None], how: str) -> None:
    load_all(with_secret(stage.run("first"), SECRET), HASHED)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    run = with_secret(stage.run(how), SECRET)
    report = reconcile(run, HASHED, DAY, Watch()) if how == "fix" else sweep(run, HASHED, Watch())
    assert report.rows_updated == 2
    with stage.connect_source() as source, stage.connect_warehouse() as warehouse:
        now = remarks(source, source_of(SALES))
        assert now.keys() == texts.keys()
        assert remarks(warehouse, replica_of(SALES)) == {key: hmac_of(text) for key, text in now.items()}
    assert reconcile(with_secret(stage.run("again"), SECRET), HASHED, DAY, Watch(), level=Level.CHECKSUM).unchanged


@pytest.mark.parametrize("span", [OCTOBER, CHANGES], ids=str)
@pytest.mark.parametrize("secret", [None, b""], ids=["none", "empty"])
def test_without_a_key_nothing_is_read(stage: Stage, span: Span, secret: bytes | None) -> None:
    run = with_secret(stage.run(), secret)
    if span == CHANGES:
        load_all(with_secret(stage.run("first"), SECRET), HASHED)
        with pytest.raises(NotConfigured, match=r"APP_4_SALES: BILL_REMARK is to be hashed.*hash_key"):
            sweep(run, HASHED, Watch())
    else:
        with pytest.raises(NotConfigured, match=r"APP_4_SALES: BILL_REMARK is to be hashed.*hash_key"):
            replicate(run, HASHED, OCTOBER, Watch())
    assert staging_tables(stage) == []


def test_the_key_is_not_shown_by_its_source(stage: Stage) -> None:
    assert SECRET.decode() not in repr(with_secret(stage.run(), SECRET))


COLUMNS = {
    "ID": "bigint",
    "DAY": "date",
    "VERSION": "rowversion",
    "SHORT": "varchar(63)",
    "LONG": "nvarchar(64)",
    "ENDLESS": "varchar(max)",
    "AMOUNT": "decimal(16,4)",
}


def described(policies: dict[str, str]) -> Table:
    return make_table(COLUMNS, rowversion="VERSION", policies=policies)


@pytest.mark.parametrize("policy", ["null", "hash"])
@pytest.mark.parametrize("column", ["ID", "DAY", "VERSION"])
def test_key_date_and_rowversion_have_no_policy(column: str, policy: str) -> None:
    with pytest.raises(ValueError, match=f"policies: {column}: date, key and rowversion are copied as they are"):
        described({column: policy})


@pytest.mark.parametrize("column", ["SHORT", "AMOUNT"])
def test_a_hash_needs_text_of_64_characters(column: str) -> None:
    with pytest.raises(ValueError, match=f"policies: {column}: a hash is text of 64 characters"):
        described({column: "hash"})


@pytest.mark.parametrize("column", ["LONG", "ENDLESS"])
def test_a_hash_goes_where_it_has_room(column: str) -> None:
    assert described({column: "hash", "AMOUNT": "null", "ID": "copy"}).changed == {column: "hash", "AMOUNT": "null"}
