"""A replication without Airflow: validate, pin and copy, put in place, follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from include.cdc.begin import begin
from include.cdc.copy import Copied, copy_table
from include.cdc.run import CdcRun
from include.cdc.state import TableRow
from include.cdc.swap import swap
from include.cdc.validate import assert_ready


def copy(
    run: CdcRun,
    *,
    resync: bool = False,
    tables: Sequence[str] = (),
    told: Callable[[TableRow], None] = lambda _: None,
) -> list[Copied]:
    """
    Copy what has no finished copy, several tables at once, and publish it with the position of its stream.

    :param resync: copy anew: everything, or some ``tables``.
    :param told: called after each piece of a table.
    :raises NotReady: with every problem of the source and the warehouse.
    """
    assert_ready(run.replication, run.source, run.warehouse, run.control, kafka_parts=run.kafka)
    left = begin(run, resync=resync, tables=tables)
    with ThreadPoolExecutor(max_workers=run.settings.max_workers, thread_name_prefix="copy") as pool:
        copied = list(pool.map(lambda table: copy_table(run, table, told), left))
    swap(run)
    return copied
