"""Where people look: the page of the copies, and a run, in Airflow's UI."""

from __future__ import annotations

from urllib.parse import quote

from airflow.sdk import conf


def links_of(dag_id: str | None = None, run_id: str | None = None) -> dict[str, str]:
    """Return the URL of the page, and that of the run if one is named, by what they show."""
    base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
    links = {"Replication": f"{base}/plugin/replication"}
    if dag_id and run_id:
        links["Run"] = f"{base}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"
    return links
