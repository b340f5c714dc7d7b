"""The page in Airflow's own API server: who may see what, and what every answer says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PREFIX = "/retail-sync"
TRIGGER = "/api/v2/dags/sales_replication/dagRuns"

#: An address of each route; a new route has to be added here, and is then tested like the others.
ROUTES = {
    "/": "/",
    "/static/{path:path}": "/static/page.css",
    "/api/me": "/api/me",
    "/api/coverage": "/api/coverage",
    "/api/coverage/{table}/{month}": "/api/coverage/APP_4_SALES/2025-10",
    "/api/nights": "/api/nights",
    "/api/reference": "/api/reference",
    "/api/orders": "/api/orders",
    "/api/orders/plan": "/api/orders/plan",
    "/api/orders/{pipeline}/{store}": "/api/orders/td_orders_sync/S1",
    "/api/cdc": "/api/cdc",
    "/api/running": "/api/running",
}
#: What anybody may have who is logged in: it tells of no DAG.
FOR_ALL = {"/", "/static/{path:path}", "/api/me"}

Browser = Callable[[str], Any]


@pytest.fixture(scope="module")
def page(airflow_app: Any) -> Any:
    (mount,) = (route for route in airflow_app.routes if getattr(route, "path", None) == PREFIX)
    return mount.app


def test_every_route_is_known_here_and_only_reads(page):
    from fastapi.routing import APIRoute

    assert {type(route) for route in page.routes} == {APIRoute}
    assert {route.path for route in page.routes} == set(ROUTES)
    assert all(route.methods == {"GET"} for route in page.routes)


@pytest.mark.parametrize("path", ROUTES.values())
def test_who_is_not_logged_in_gets_nothing(anonymous, path):
    answer = anonymous.get(PREFIX + path)
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Not authenticated"}


@pytest.mark.parametrize("path", ROUTES.values())
def test_a_viewer_reads_all_of_it(browser: Browser, path):
    assert browser("viewer").get(PREFIX + path).status_code == 200


@pytest.mark.parametrize(("route", "path"), ROUTES.items())
def test_who_may_read_no_dag_of_ours_sees_no_section(browser: Browser, route, path):
    assert browser("nobody").get(PREFIX + path).status_code == (200 if route in FOR_ALL else 403)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_nothing_describes_the_routes(browser: Browser, path):
    assert browser("admin").get(PREFIX + path).status_code == 404


def test_me_says_who_may_trigger_what(browser: Browser):
    viewer, user = (browser(name).get(f"{PREFIX}/api/me").json() for name in ("viewer", "user"))
    assert (viewer["user"], viewer["zone"], viewer["base"]) == ("viewer", "Asia/Kuala_Lumpur", "")
    assert viewer["dags"]["sales_replication"] == {"read": True, "trigger": False}
    assert user["dags"]["sales_replication"] == {"read": True, "trigger": True}
    nightly = browser("nightly").get(f"{PREFIX}/api/me").json()["dags"]
    assert {dag for dag, rights in nightly.items() if rights["read"]} == {"nightly_replica", "td_orders_sync"}


def test_every_dag_of_the_project_is_known(dag_ids, browser: Browser):
    assert set(browser("viewer").get(f"{PREFIX}/api/me").json()["dags"]) == dag_ids


def test_airflow_itself_refuses_a_run_that_a_viewer_asks_for(browser: Browser):
    run = {"logical_date": None, "conf": {}}
    assert browser("viewer").post(TRIGGER, json=run).status_code == 403
    # the right is there, the DAG is not parsed in this Airflow
    assert browser("user").post(TRIGGER, json=run).status_code == 404


def test_a_form_of_another_site_triggers_nothing(browser: Browser):
    """Without asking first, another site can send plain text only."""
    text = '{"logical_date": null, "conf": {}}'
    answer = browser("admin").post(TRIGGER, content=text, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422
    asked = browser("admin").options(
        TRIGGER, headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        ("viewer", "/", 200),
        ("viewer", "/api/coverage", 200),
        ("viewer", "/static/none.js", 404),
        ("sales", "/api/cdc", 403),
    ],
)
def test_every_answer_keeps_the_browser_strict(browser: Browser, name, path, status):
    answer = browser(name).get(PREFIX + path)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert answer.status_code == status
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'self'", "'self'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == ("private, no-cache" if path == "/" else "no-store")


def test_a_static_file_that_is_known_is_not_sent_again(browser: Browser):
    viewer = browser("viewer")
    first = viewer.get(f"{PREFIX}/")
    again = viewer.get(f"{PREFIX}/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["%2e%2e/app.py", "..%2fapp.py", "vendor/%2e%2e/%2e%2e/access.py", "%2fetc%2fpasswd", "/etc/passwd", "", "vendor"],
)
def test_no_file_outside_of_the_folder_is_served(browser: Browser, path):
    assert browser("admin").get(f"{PREFIX}/static/{path}").status_code == 404


def test_large_answers_are_sent_small(browser: Browser):
    assert browser("viewer").get(f"{PREFIX}/api/coverage").headers["content-encoding"] == "gzip"


def test_the_menu_has_the_page(browser: Browser):
    plugins = browser("viewer").get("/api/v2/plugins").json()["plugins"]
    (view,) = next(plugin["external_views"] for plugin in plugins if plugin["name"] == "retail_sync")
    assert (view["name"], view["destination"], view["url_route"]) == ("Replication", "nav", "replication")
    assert browser("viewer").get("/" + view["href"]).status_code == 200
    assert browser("viewer").get("/" + view["icon"]).headers["content-type"] == "image/svg+xml"
