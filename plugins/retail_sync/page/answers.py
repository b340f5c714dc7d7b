"""What the sections share: an answer made in a thread, and what of the catalog and of the DAGs is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException, Response, status

from include import catalog
from include.catalog import Table
from retail_sync.page.access import Access
from retail_sync.page.databases import Database, in_thread


async def answer(work: Callable[[], Any], *databases: Database) -> Response:
    """Return what ``work`` reads from the databases as JSON; reading and writing it holds up nobody else."""

    def body() -> bytes:
        return json.dumps(work(), ensure_ascii=False, separators=(",", ":")).encode()

    return Response(await in_thread(body, *databases), media_type="application/json")


def shown_tables(access: Access) -> list[Table]:
    """Return the tables of the catalog that the user may see."""
    return access.tables(catalog.load())


def shown_dags(access: Access, *dags: str) -> list[str]:
    """Return those of the DAGs that the user may read, in this order."""
    return [dag for dag in dict.fromkeys(dags) if dag in access.readable]


def not_shown(what: str, name: str) -> HTTPException:
    """Return the answer for what there is not, or not for this user."""
    return HTTPException(status.HTTP_404_NOT_FOUND, f"no {what} {name!r} is shown here")
