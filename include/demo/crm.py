"""
A CRM on this machine, for the demo and for tests: both systems' reports over HTTP.

``python -m include.demo.crm --port 8099 --stores A1 A2 --from 2025-01-01`` runs it alone; there,
``POST /demo/late`` and ``POST /demo/change`` with the arguments of the methods change its data.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

import polars as pl

from include.demo.crm_data import Record, key_of, payments_of, record_of, records, total_of
from include.demo.crm_faults import Faults
from include.demo.crm_orders import late_order
from include.demo.crm_server import LOGIN, PASSWORD, CrmServer
from include.orders_sync.feeds.frames import header_of
from include.orders_sync.reports import TD_ORDERS, TD_SALES, UC_GST, Report
from include.windows import Window

SINCE = date(2024, 1, 1)


class Asked(NamedTuple):
    """A request that was made."""

    path: str
    params: Mapping[str, str]


class _Added(NamedTuple):
    """A row that is there once a given number of pages has been answered."""

    day: date
    record: Record
    answers: int


class DemoCrm:
    """
    Reports of stores, the same for the same seed, and what tests do to them; serves while the ``with`` block runs.

    :param stores: the stores that it knows; None: any.
    :param since: the first day with orders.
    :param port: 0 for any that is free.
    """

    def __init__(
        self, seed: int = 1, *, stores: Collection[str] | None = None, since: date = SINCE, port: int = 0
    ) -> None:
        self.seed, self.stores, self.since = seed, stores, since
        self.faults = Faults()
        self.requests: list[Asked] = []
        self.lock = threading.RLock()
        self._port, self._answers = port, 0
        self._added: dict[tuple[str, str], list[_Added]] = defaultdict(list)
        self._changes: dict[tuple[str, str, str], dict[str, Any]] = defaultdict(dict)
        self._late: dict[tuple[str, date], int] = defaultdict(int)
        self._server: CrmServer | None = None

    def __enter__(self) -> Self:
        self._server = CrmServer(self, self._port)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "it serves in a `with` block only"
        return self._server.url

    def connection(self, **extra: Any) -> str:
        """Return its connection as Airflow's JSON, the value of ``AIRFLOW_CONN_CRM_TD`` and ``AIRFLOW_CONN_CRM_UC``."""
        return json.dumps({"conn_type": "http", "host": self.url, "login": LOGIN, "password": PASSWORD, "extra": extra})

    def asked(self, path: str = "/reports/") -> list[Asked]:
        """Return the requests below a path, in order."""
        with self.lock:
            return [request for request in self.requests if request.path.startswith(path)]

    def rows(self, report: Report, store: str, window: Window) -> list[Record]:
        """Return the rows of a report as they are now, totals left out."""
        with self.lock:
            days = [window.start + timedelta(days=number) for number in range(window.days)]
            found = [record for day in days for record in self._day(report, store, day)]
        return [{**record, "s_no": number} for number, record in enumerate(found, 1)] if report is UC_GST else found

    def add(self, report: Report, store: str, day: date, record: Record, *, after: int = 0) -> None:
        """Add a row to a day of a report, not to be seen in the next ``after`` pages that are answered."""
        with self.lock:
            self._added[report.code, store].append(_Added(day, record, self._answers + after))

    def add_late(self, store: str, day: date, *, after: int = 0) -> str:
        """Add an order of an earlier day, with its payments, to the reports of both systems; return its number."""
        with self.lock:
            self._late[store, day] += 1
            order = late_order(self.seed, store, day, self._late[store, day])
            for report in (TD_ORDERS, UC_GST):
                self.add(report, store, day, record_of(report, order), after=after)
            for paid, record in payments_of(order):
                self.add(TD_SALES, store, paid, record, after=after)
        return order.number

    def change(self, report: Report, store: str, number: str, **values: Any) -> None:
        """Give fields of an order, or of all its payments, other values from now on; named as the API has them."""
        with self.lock:
            self._changes[report.code, store, number].update(values)

    def page(self, report: Report, params: Mapping[str, str]) -> dict[str, Any]:
        """Return a page as the API answers it: totals stand in its middle and at the end of the last one."""
        faults, store = self.faults, params["storeCode"]
        window = Window.inclusive(date.fromisoformat(params["startDate"]), date.fromisoformat(params["endDate"]))
        number = int(params["page"])
        size = min(int(params["pageSize"]), faults.page_size or int(params["pageSize"]))
        with self.lock:
            if faults.spoils(number, faults.change):
                self.add_late(store, window.start)
            rows = self.rows(report, store, window)
            shown = number - 1 if faults.spoils(number, faults.repeat) else number
            back = int(faults.spoils(number, faults.overlap))
            data = rows[(shown - 1) * size - back : shown * size - back]
            if faults.spoils(number, faults.stop, also_later=True):
                data = []
            if data and faults.spoils(number, faults.edit):
                data[0] = {**data[0], [*data[0]][-1]: "1"}
            self._answers += 1
        if len(data) > 1:
            data.insert(len(data) // 2, total_of(report, data))
        if (data and shown * size >= len(rows)) or not rows:
            data.append(total_of(report, rows))
        first, last = faults.window or (params["startDate"], params["endDate"])
        total = {} if faults.no_total else {"total": len(rows) + faults.wrong_total}
        told = params["pageSize"] if faults.hide_size else size
        return {"startDate": first, "endDate": last, "page": number, "pageSize": told, **total, "data": data}

    def note(self, path: str, params: Mapping[str, str]) -> None:
        """Keep a request."""
        with self.lock:
            self.requests.append(Asked(path, params))

    def _day(self, report: Report, store: str, day: date) -> list[Record]:
        added = [
            row.record for row in self._added[report.code, store] if row.day == day and row.answers <= self._answers
        ]
        number = key_of(header_of(report, report.number))
        return [
            {**record, **self._changes.get((report.code, store, record.get(number) or ""), {})}
            for record in records(self.seed, report, store, day, self.since) + added
        ]


def write_report(crm: DemoCrm, report: Report, store: str, window: Window, folder: Path, suffix: str = "xlsx") -> Path:
    """
    Export a report as the CRMs do, as text with a total and a footer; return the file.

    :param suffix: ``xlsx`` or ``csv``.
    """
    rows = crm.rows(report, store, window)
    footer = {key_of(report.headers[0]): "Generated on 01/02/2026 10:00 by admin"}
    cells = {
        header: [
            None if (cell := row.get(key_of(header))) is None else str(cell)
            for row in [*rows, total_of(report, rows), footer]
        ]
        for header in report.headers
    }
    frame = pl.DataFrame(cells, schema=dict.fromkeys(report.headers, pl.String))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{store}_{report.code}_{window.start:%Y%m%d}_{window.last_day:%Y%m%d}.{suffix}"
    if suffix == "csv":
        frame.write_csv(path, include_bom=True)
    else:
        frame.write_excel(path)
    return path


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m include.demo.crm", description=__doc__)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", nargs="+", help="the stores that it knows; any, if left out")
    parser.add_argument("--from", dest="since", type=date.fromisoformat, default=SINCE, help="the first day")
    arguments = parser.parse_args()
    with DemoCrm(arguments.seed, stores=arguments.stores, since=arguments.since, port=arguments.port):
        threading.Event().wait()


if __name__ == "__main__":
    main()
