"""A replication that is killed again and again, while tills change its source at full speed, loses nothing."""

from __future__ import annotations

import os
import random

import pytest

from include.cdc.begin import begin
from include.cdc.copy import copy_table
from include.cdc.follow import Task, follow
from include.cdc.swap import swap
from include.demo import shop
from include.demo.tills import working
from tests.integration.cdc import CdcStage, differences, kill_at, run_of

STREAM_POINTS = ("before the commit", "after the commit", "during close")
#: More rounds in the nightly suite: `make test-cdc`.
ROUNDS = int(os.environ.get("RETAIL_SYNC_TEST_CDC_ROUNDS", "1"))


@pytest.fixture
def busy_shop(cdc_stage: CdcStage) -> CdcStage:
    with cdc_stage.connect_source() as session:
        shop.fill(session, 2000)
    return cdc_stage


@pytest.mark.timeout(240 * ROUNDS)
def test_a_replication_killed_at_each_point_equals_its_source(busy_shop: CdcStage) -> None:
    stage, chance = busy_shop, random.Random(7)
    dsn = stage.server.dsn(stage.source_connection.database)
    with working(dsn) as tills:
        tables = begin(run_of(stage, "begin"))
        kill_at(run_of(stage, "killed 1"), "slot made")
        kill_at(run_of(stage, "killed 2"), "during the copy", 2)
        for table in tables:
            copy_table(run_of(stage, "copy"), table)
        kill_at(run_of(stage, "killed 3"), "before the swap is committed")
        swap(run_of(stage, "swap"))
        assert tills.close() > 1000
    with working(dsn, first_seed=4, pause=0.05) as tills:
        for number in range(ROUNDS):
            for point in STREAM_POINTS:
                kill_at(run_of(stage, f"{number} {point}"), point, chance.randint(1, 3))
        assert tills.close() > 100
    figures = follow(run_of(stage, "last"), Task(compare=True))
    assert differences(stage) == {}
    assert [table for table in figures["compared"] if not table["equal"]] == []
    assert figures["memory_mb"] < 500
    with stage.connect_source() as session:
        assert len(stage.source.slots(session, "shop")) == 1
