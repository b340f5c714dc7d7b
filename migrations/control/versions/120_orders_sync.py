"""
The tables of the orders sync, and its locks in the view of who holds which lock.

Tables that are there already are adopted: they gain the columns, keys, checks and indexes that
they lack. Columns, constraints and rows that they have are never changed. What their rows or
the login's rights do not allow is a warning, except a missing column: nothing works without it.
"""

from __future__ import annotations

import re

from alembic import op

revision = "120"
down_revision = "110"
branch_labels = None
depends_on = None

_STAMPS = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"
_OWNER = "run_id varchar(64) NOT NULL, store_code varchar(8) NOT NULL, cost_center varchar(8) NOT NULL"
_STAGED = (
    "store_code varchar(8) NOT NULL, cost_center varchar(8) NOT NULL, run_id varchar(64) NOT NULL,"
    " row_number integer NOT NULL"
)
_TD_ORDERS = """
    order_date timestamptz NOT NULL, order_number varchar(64) NOT NULL, customer_code text, customer_name text,
    customer_address text, mobile_no varchar(10), preference text, due_date timestamptz, last_activity timestamptz,
    pieces numeric(14,2), weight numeric(14,3), gross_amount numeric(14,2), discount_amount numeric(14,2),
    tax_amount numeric(14,2), net_amount numeric(14,2), advance numeric(14,2), paid numeric(14,2),
    adjustment numeric(14,2), balance numeric(14,2), advance_received numeric(14,2), advance_used numeric(14,2),
    booked_by text, workshop_note text, order_note text, home_delivery text, area_location text,
    garments_inspected_by text, customer_gstin text, registration_source text, order_from_pos text, package text,
    package_type text, package_name text, feedback text, tags text, comment text, primary_services text,
    top_up_extra_service text, order_status text, last_payment_activity timestamptz, package_payment_info text,
    coupon_code text"""
_TD_SALES = """
    order_date date, payment_date timestamptz NOT NULL, order_number varchar(64) NOT NULL, customer_code text,
    customer_name text, customer_address text, mobile_no varchar(10), payment_received numeric(14,2),
    adjustments numeric(14,2), balance numeric(14,2), accepted_by text, payment_mode text, transaction_id text,
    payment_made_at text, payment_type text, payment_no smallint NOT NULL"""
_UC_GST = """
    order_number varchar(64) NOT NULL, invoice_number text, order_date timestamptz NOT NULL, customer_name text,
    mobile_no varchar(10), payment_status text, customer_gstin text, place_of_supply text, gross_amount numeric(14,2),
    cgst_amount numeric(14,2), sgst_amount numeric(14,2), net_amount numeric(14,2), tax_amount numeric(14,2)"""

_TABLES = {
    "pipelines": "id bigserial NOT NULL, code varchar(64) NOT NULL, description text",
    "pipeline_run_summaries": f"""
        id bigserial NOT NULL, pipeline_name varchar(64) NOT NULL, run_id varchar(64) NOT NULL,
        run_env varchar(32) NOT NULL, started_at timestamptz NOT NULL, finished_at timestamptz,
        overall_status varchar(16) NOT NULL, summary_text text, report_date date,
        metrics jsonb NOT NULL DEFAULT '{{}}', {_STAMPS}""",
    "store_master": f"""
        id bigserial NOT NULL, store_code varchar(8) NOT NULL, store_name text,
        is_active boolean NOT NULL DEFAULT true, sync_group varchar(2), sync_orders_flag boolean NOT NULL DEFAULT true,
        start_date date, cost_center varchar(8), sync_config jsonb NOT NULL DEFAULT '{{}}', {_STAMPS}""",
    "orders_sync_log": f"""
        id bigserial NOT NULL, pipeline_id bigint NOT NULL, run_id varchar(64) NOT NULL, run_env varchar(32) NOT NULL,
        cost_center varchar(8), store_code varchar(8) NOT NULL, from_date date NOT NULL, to_date date NOT NULL,
        orders_pulled_at timestamptz, sales_pulled_at timestamptz, status varchar(16) NOT NULL,
        attempt_no integer NOT NULL DEFAULT 1, error_message text, {_STAMPS},
        orders_downloaded integer, orders_ingested integer, orders_inserted integer, orders_updated integer,
        orders_dropped integer, sales_downloaded integer, sales_ingested integer, sales_inserted integer,
        sales_updated integer, sales_dropped integer""",
    "dropped_rows": """
        id bigserial NOT NULL, run_id varchar(64) NOT NULL, pipeline_id bigint NOT NULL, store_code varchar(8) NOT NULL,
        report varchar(16) NOT NULL, from_date date NOT NULL, to_date date NOT NULL, row_number integer NOT NULL,
        reason text NOT NULL, content jsonb NOT NULL, content_hash varchar(64) NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()""",
    "orders": f"""
        id bigserial NOT NULL, {_OWNER}, {_TD_ORDERS}, invoice_number text, payment_status text, place_of_supply text,
        cgst_amount numeric(14,2), sgst_amount numeric(14,2), remarks text, enrichment jsonb, {_STAMPS}""",
    "sales": f"id bigserial NOT NULL, {_OWNER}, {_TD_SALES}, remarks text, enrichment jsonb, {_STAMPS}",
    "stg_td_orders": f"{_STAGED}, {_TD_ORDERS}, remarks text",
    "stg_td_sales": f"{_STAGED}, {_TD_SALES}, remarks text",
    "stg_uc_gst": f"{_STAGED}, {_UC_GST}, remarks text",
}
#: Table, columns, and what follows ``ALTER TABLE … ADD CONSTRAINT``.
_KEYS = (
    *((table, "id", f"{table}_pkey PRIMARY KEY") for table in _TABLES if not table.startswith("stg_")),
    *((table, "store_code, row_number", f"pk_{table} PRIMARY KEY") for table in _TABLES if table.startswith("stg_")),
    ("pipelines", "code", "uq_pipelines_code UNIQUE"),
    ("pipeline_run_summaries", "run_id", "uq_pipeline_run_summaries_run_id UNIQUE"),
    ("store_master", "store_code", "uq_store_master_store_code UNIQUE"),
    ("dropped_rows", "pipeline_id, store_code, report, content_hash", "uq_dropped_rows_content UNIQUE"),
    ("orders", "cost_center, order_number, order_date", "uq_orders_order UNIQUE"),
    ("sales", "cost_center, order_number, payment_date, payment_no", "uq_sales_payment UNIQUE"),
)
_WINDOW = "pipeline_id, store_code, from_date, to_date"
_STATUSES = "('running', 'partial', 'success', 'failed')"
_CHECKS = (
    ("pipeline_run_summaries", "ck_pipeline_run_summaries_overall_status", f"overall_status IN {_STATUSES}"),
    ("store_master", "ck_store_master_sync_group", "sync_group IN ('TD', 'UC')"),
    ("orders_sync_log", "ck_orders_sync_log_status", f"status IN {_STATUSES}"),
    ("orders_sync_log", "ck_orders_sync_log_window", "from_date <= to_date"),
)
#: Table and column, table and column that it refers to.
_REFERENCES = (
    ("orders_sync_log", "pipeline_id", "pipelines", "id"),
    ("orders_sync_log", "run_id", "pipeline_run_summaries", "run_id"),
    ("dropped_rows", "pipeline_id", "pipelines", "id"),
)
_INDEXES = (
    ("ix_pipeline_run_summaries_recent", "pipeline_run_summaries (pipeline_name, started_at DESC)"),
    ("ix_orders_sync_log_lookup", f"orders_sync_log ({_WINDOW}, status)"),
    ("ix_orders_sync_log_store_recent", "orders_sync_log (store_code, created_at DESC)"),
    ("ix_orders_sync_log_pipeline_recent", "orders_sync_log (pipeline_id, created_at DESC)"),
    (
        "ix_orders_sync_log_success",
        f"orders_sync_log ({_WINDOW}) INCLUDE (orders_pulled_at, sales_pulled_at) WHERE status = 'success'",
    ),
)
_STAMPED = ("pipeline_run_summaries", "store_master", "orders_sync_log", "orders", "sales")
_PIPELINES = {
    "td_orders_sync": "Orders and sales of the TD stores",
    "uc_orders_sync": "Orders of the UC stores, from the GST report",
    "orders_sync_run_profiler": "Finds out which windows are missing and runs them",
}

#: A column that is NOT NULL without a default is made nullable where there are rows.
_ADD_COLUMNS = """
    DO $do$
    DECLARE
        has_rows boolean := EXISTS (SELECT FROM public.{table});
        name text;
        definition text;
    BEGIN
        FOR name, definition IN SELECT * FROM (VALUES {columns}) AS expected LOOP
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_catalog.pg_attribute
                WHERE attrelid = 'public.{table}'::regclass AND attname = name AND NOT attisdropped
            );
            IF has_rows AND definition !~ 'DEFAULT|serial' THEN
                definition := replace(definition, ' NOT NULL', '');
            END IF;
            EXECUTE 'ALTER TABLE public.{table} ADD COLUMN ' || name || ' ' || definition;
        END LOOP;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'public.{table} lacks the column ' || name || ': ' || SQLERRM;
    END
    $do$
"""
#: Rows from before there were numbers, in one second of one order.
_NUMBER_PAYMENTS = """
    UPDATE public.sales SET payment_no = numbered.place
    FROM (
        SELECT id, row_number() OVER (PARTITION BY cost_center, order_number, payment_date ORDER BY id) AS place
        FROM public.sales
    ) AS numbered
    WHERE sales.id = numbered.id AND sales.payment_no IS NULL
"""
#: Errors of classes 23, 42 and 0A: the rows, the rights or the table as it is do not allow it.
_IF_POSSIBLE = """
    DO $do$
    BEGIN
        IF NOT EXISTS ({there}) THEN
            {statement};
        END IF;
    EXCEPTION
        WHEN integrity_constraint_violation OR syntax_error_or_access_rule_violation OR feature_not_supported THEN
            RAISE WARNING USING MESSAGE = 'not done: ' || $text${statement}$text$ || ': ' || SQLERRM;
    END
    $do$
"""
_KEY = """
    SELECT FROM pg_catalog.pg_index
    WHERE indrelid = 'public.{table}'::regclass AND indisunique AND indisvalid AND indimmediate
      AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = cardinality(ARRAY[{columns}])
      AND ARRAY[{columns}] <@ ARRAY(
          SELECT attname::text FROM pg_catalog.pg_attribute
          WHERE attrelid = indrelid AND attnum = ANY((indkey::int2[])[0:indnkeyatts - 1]))
"""
_REFERENCE = """
    SELECT FROM pg_catalog.pg_constraint JOIN pg_catalog.pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
    WHERE contype = 'f' AND conrelid = 'public.{table}'::regclass AND attname = '{column}'
      AND confrelid = 'public.{target}'::regclass
"""
_INDEX = "SELECT WHERE pg_catalog.to_regclass('public.{name}') IS NOT NULL"
_NAMED = "SELECT FROM pg_catalog.pg_constraint WHERE conrelid = 'public.{table}'::regclass AND conname = '{name}'"
_TRIGGER = "SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'public.{table}'::regclass AND tgname = '{name}'"

#: The time of the statement: in a long transaction two updates are told apart, and the last one is the latest.
_TOUCH = """
    CREATE OR REPLACE FUNCTION retail_sync.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        NEW.updated_at := pg_catalog.clock_timestamp();
        RETURN NEW;
    END
    $body$
"""
#: A sequence that is behind rows with ids of their own would give an id twice.
_ADVANCE_IDS = """PERFORM pg_catalog.setval(sequence::regclass, newest)
        FROM (SELECT pg_catalog.pg_get_serial_sequence('public.pipelines', 'id') AS sequence, max(id) AS newest
              FROM public.pipelines) AS ids
        WHERE newest > COALESCE(pg_catalog.pg_sequence_last_value(sequence::regclass), 0)"""
_SEED = "INSERT INTO public.pipelines (code, description) VALUES ('{code}', '{description}')"
_SEEDED = "SELECT FROM public.pipelines WHERE code = '{code}'"
_VIEW = """
    CREATE OR REPLACE VIEW retail_sync.lock_holders AS
    SELECT CASE classid WHEN 7101 THEN 'window'
             WHEN 7102 THEN CASE mode WHEN 'ShareLock' THEN 'table, shared' ELSE 'table' END{spaces} END AS lock_space,
           application_name AS holder, usename AS login, pid, backend_start AS since
    FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid IN ({numbers})
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""


def upgrade() -> None:
    for table, columns in _TABLES.items():
        _create(table, re.split(r",\s+", columns.strip()))
    op.execute(_NUMBER_PAYMENTS)
    _if_possible("ALTER TABLE public.sales ALTER COLUMN payment_no SET NOT NULL")
    _add_constraints()
    op.execute(_TOUCH)
    for table in _STAMPED:
        trigger = f"CREATE TRIGGER retail_sync_updated_at BEFORE UPDATE ON public.{table}"
        _if_possible(
            f"{trigger} FOR EACH ROW EXECUTE FUNCTION retail_sync.touch_updated_at()",
            _TRIGGER.format(table=table, name="retail_sync_updated_at"),
        )
    _if_possible(_ADVANCE_IDS)
    for code, description in _PIPELINES.items():
        _if_possible(_SEED.format(code=code, description=description), _SEEDED.format(code=code))
    spaces = " WHEN 7201 THEN 'store' WHEN 7202 THEN 'worker' WHEN 7203 THEN 'run'"
    op.execute(_VIEW.format(spaces=spaces, numbers="7101, 7102, 7201, 7202, 7203"))


def downgrade() -> None:
    """Restore the view and drop the triggers. Tables stay with all they gained: they hold data, also of others."""
    op.execute(_VIEW.format(spaces="", numbers="7101, 7102"))
    op.execute("DROP FUNCTION retail_sync.touch_updated_at() CASCADE")


def _create(table: str, columns: list[str]) -> None:
    """Create a table, or add what it lacks."""
    op.execute(f"CREATE TABLE IF NOT EXISTS public.{table} ({', '.join(columns)})")
    values = []
    for column in columns:
        name, definition = column.split(" ", 1)
        values.append(f"('{name}', $text${definition}$text$)")
    op.execute(_ADD_COLUMNS.format(table=table, columns=", ".join(values)))


def _add_constraints() -> None:
    for table, columns, constraint in _KEYS:
        _unique(table, columns, f"ALTER TABLE public.{table} ADD CONSTRAINT {constraint} ({columns})")
    key = f"{_WINDOW}, run_id"
    statement = f"CREATE UNIQUE INDEX uq_orders_sync_log_window ON public.orders_sync_log ({key})"
    _unique("orders_sync_log", key, statement)
    for table, name, condition in _CHECKS:
        statement = f"ALTER TABLE public.{table} ADD CONSTRAINT {name} CHECK ({condition})"
        _if_possible(statement, _NAMED.format(table=table, name=name))
    for table, column, target, key in _REFERENCES:
        foreign_key = f"FOREIGN KEY ({column}) REFERENCES public.{target} ({key})"
        statement = f"ALTER TABLE public.{table} ADD CONSTRAINT {table}_{column}_fkey {foreign_key}"
        _if_possible(statement, _REFERENCE.format(table=table, column=column, target=target))
    for name, definition in _INDEXES:
        _if_possible(f"CREATE INDEX {name} ON public.{definition}", _INDEX.format(name=name))


def _unique(table: str, columns: str, statement: str) -> None:
    """Add a unique key, unless there is one of these columns under whatever name."""
    names = ", ".join(f"'{column}'" for column in columns.split(", "))
    _if_possible(statement, _KEY.format(table=table, columns=names))


def _if_possible(statement: str, there: str = "SELECT WHERE false") -> None:
    op.execute(_IF_POSSIBLE.format(statement=statement, there=there))
