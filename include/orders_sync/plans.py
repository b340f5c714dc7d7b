"""What is due for all stores: the coverage of the log, handed to the planner."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from include.orders_sync.log import successes_of
from include.orders_sync.pipelines import BY_GROUP, Pipeline, Store
from include.orders_sync.planner import Planned, plan, reach_past
from include.orders_sync.request import ProfileRequest

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

#: The windows of each store that has any, by its code.
Plans = dict[str, list[Planned]]


def plans_of(
    session: psycopg.Connection[Any], stores: Sequence[Store], request: ProfileRequest, today: date
) -> dict[Pipeline, Plans]:
    """
    Return the windows of the stores that have any, by their pipelines, from one query of the log.

    :param stores: stores with a start date.
    """
    successes = successes_of(session, today, request.store_code)
    plans: dict[Pipeline, Plans] = {BY_GROUP[group]: {} for group in request.groups}
    for store in stores:
        assert store.start_date is not None
        done = successes.get((store.pipeline.code, store.code), [])
        if late := reach_past(done, today):
            log.warning(
                "store %s: a success up to %s is in the log of %s, and today is %s: it counts up to today",
                *(store.code, max(late).last_day, store.pipeline.code, today),
            )
        windows = plan(
            today,
            store.start_date,
            done,
            window_days=request.window_days,
            overlap_days=request.overlap_days,
            force=request.force,
        )
        if windows:
            plans[store.pipeline][store.code] = windows
    return plans
