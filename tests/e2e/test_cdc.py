"""A shop is followed under the real scheduler, from the first copy until it is dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from include.demo import shop
from include.demo.postgres import SHOP, WAREHOUSE
from include.demo.shop import rows_of
from tests.e2e.conftest import CDC_FILE, Site

CDC = "cdc_replication"
FILE = """
replications:
  shop:
    source: shop
    kind: postgres
    tables: [shop.*]
    exclude: [shop.products, shop.orders]
    rename: {shop.carts: baskets}
    target_schema: shop_live
"""


@pytest.fixture
def followed(site: Site) -> Iterator[Site]:
    """The site with a shop; its schedule works, and nothing is declared yet."""
    with site.connect(SHOP) as session:
        shop.fill(session, 200)
    site.airflow.pause(CDC, False)
    yield site
    site.airflow.pause(CDC, True)
    (site.embedded.local_dir / CDC_FILE).write_text("replications: {}\n", encoding="utf-8")


def run(site: Site, expected: str = "success", **conf: Any) -> str:
    run_id = site.trigger(conf, CDC)
    assert site.finish(run_id, dag_id=CDC) == expected
    return run_id


def status(site: Site, run_id: str) -> dict[str, Any]:
    path = f"dags/{CDC}/dagRuns/{run_id}/taskInstances/health/xcomEntries/return_value?deserialize=true"
    found: dict[str, Any] = site.airflow.request("GET", path)["value"]["shop"]
    return found


def differing(site: Site) -> list[str]:
    """Return the tables that are not equal, row by row."""
    names = {"shop.customers": "customers", "shop.carts": "baskets"}
    with site.connect(SHOP) as one, site.connect(WAREHOUSE) as other:
        return [
            table
            for table, target in names.items()
            if rows_of(one, *table.split(".")) != rows_of(other, "shop_live", target)
        ]


def change(site: Site, seed: int) -> None:
    with site.connect(SHOP) as session:
        till = shop.Till(session, seed)
        for _ in range(50):
            till.work()
        session.execute("DELETE FROM shop.customers WHERE id = %s", (seed,))


def scheduled(site: Site) -> list[dict[str, Any]]:
    return list(site.airflow.request("GET", f"dags/{CDC}/dagRuns?run_type=scheduled")["dag_runs"])


def streams(site: Site) -> list[psutil.Process]:
    """Return the processes in which our Airflow follows something."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "include.cdc.embedded.stream" in (process.info["cmdline"] or []):
            file = process.environ().get("RETAIL_SYNC_CDC_FILE")
            found += [process] if file == str(site.embedded.local_dir / CDC_FILE) else []
    return found


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_a_shop_is_followed_stopped_and_dropped(followed: Site) -> None:
    wait_for(lambda: scheduled(followed), "a scheduled run")
    idle = scheduled(followed)[0]["dag_run_id"]
    assert followed.finish(idle, dag_id=CDC) == "success"
    states = followed.task_states(idle, CDC)
    assert states.pop("plan") == {"success"}
    assert states == {task: {"skipped"} for task in ("copy", "swap", "apply", "health")}

    (followed.embedded.local_dir / CDC_FILE).write_text(FILE, encoding="utf-8")
    started = run(followed, action="start")
    assert differing(followed) == []
    assert status(followed, started)["status"] == "healthy"

    change(followed, 1)
    assert differing(followed) != []
    run(followed)
    assert differing(followed) == []

    stream = followed.trigger({"minutes": 5}, CDC)
    wait_for(lambda: followed.task_states(stream, CDC).get("apply") == {"running"}, "the stream")
    wait_for(lambda: streams(followed), "the process of the stream")
    followed.airflow.request(
        "PATCH", f"dags/{CDC}/dagRuns/{stream}/taskInstances/apply/0", json={"new_state": "failed"}
    )
    wait_for(lambda: not streams(followed), "the end of the process", seconds=20)
    assert followed.finish(stream, dag_id=CDC) == "failed"

    run(followed, action="stop", replication="shop")
    change(followed, 2)
    rested = run(followed, action="status")
    assert status(followed, rested)["status"] == "stopped"
    assert "keeps" in status(followed, rested)["reasons"][0]
    assert differing(followed) != []

    refused = run(followed, "failed", replication="shpo")
    assert "'shpo' is not in replications.yaml; there are: shop" in followed.log(refused, "plan", dag_id=CDC)

    run(followed, action="drop", replication="shop")
    with followed.connect(SHOP) as session:
        assert session.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == []
