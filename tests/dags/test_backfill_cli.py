"""``airflow retail backfill`` and ``airflow dags backfill``: the dates, the refusals, the parser.

Airflow, and so the module under test, is imported inside the tests: by then the environment says
where its home is.
"""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

KUALA_LUMPUR = ZoneInfo("Asia/Kuala_Lumpur")
MONTHLY = {"expression": "0 0 1 * *", "timezone": "Asia/Kuala_Lumpur"}
DAILY = {"expression": "0 2 * * *", "timezone": "Asia/Kuala_Lumpur"}


def arguments(*words: str) -> Namespace:
    """Parse a command line below ``airflow``."""
    from airflow.cli.cli_parser import get_parser

    return get_parser().parse_args(words)


def bounds_of(args: Namespace, timetable: dict[str, Any]) -> tuple[datetime, datetime]:
    from retail_sync.backfill_cli import airflow_arguments, schedule_from

    handed_over = airflow_arguments(args, schedule_from(timetable, UTC))
    return handed_over.from_date.astimezone(UTC), handed_over.to_date.astimezone(UTC)


def logical_dates(first: datetime, last: datetime) -> list[str]:
    """Return the starts of the monthly runs that Airflow's own timetable has in these bounds."""
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.interval import CronDataIntervalTimetable
    from pendulum import instance

    timetable = CronDataIntervalTimetable("0 0 1 * *", timezone="Asia/Kuala_Lumpur")
    restriction = TimeRestriction(instance(first), instance(last), catchup=True)
    dates, previous = [], None
    while run := timetable.next_dagrun_info(last_automated_data_interval=previous, restriction=restriction):
        previous = run.data_interval
        dates.append(f"{previous.start.astimezone(KUALA_LUMPUR):%Y-%m-%d %H:%M}")
    return dates


@pytest.mark.parametrize("group", ["dags", "retail"])
def test_both_commands_parse_the_old_command_line(group: str) -> None:
    from retail_sync.backfill_cli import backfill

    args = arguments(
        group,
        "backfill",
        "sales_replication",
        "--start-date",
        "2025-10-01",
        "--end-date",
        "2025-11-30",
    )
    assert args.func is backfill
    assert (args.dag_id, args.start_date, args.end_date) == (
        "sales_replication",
        date(2025, 10, 1),
        date(2025, 11, 30),
    )
    assert (args.max_active_runs, args.reprocess_behavior, args.dry_run) == (1, "none", False)
    assert (args.timezone, args.conf, args.run_backwards) == (None, None, False)


def test_the_other_dags_commands_are_still_there() -> None:
    from airflow.cli import cli_config

    assert arguments("dags", "list").func.__name__ == "dag_list_dags"
    dags = next(entry for entry in cli_config.core_commands if entry.name == "dags")
    assert "backfill" not in [entry.name for entry in dags.subcommands]  # Airflow's own is intact


def test_october_and_november_are_two_runs_whatever_the_days_named() -> None:
    for start, end in [("2025-10-01", "2025-11-30"), ("2025-10-15", "2025-11-01")]:
        args = arguments("retail", "backfill", "sales_replication", "-s", start, "-e", end)
        assert logical_dates(*bounds_of(args, MONTHLY)) == ["2025-10-01 00:00", "2025-11-01 00:00"]


def test_the_bounds_are_the_first_and_last_instant_of_the_days_in_the_zone() -> None:
    args = arguments("retail", "backfill", "sales_replication", "-s", "2025-10-01", "-e", "2025-11-30")
    first, last = bounds_of(args, MONTHLY)
    assert first == datetime(2025, 9, 30, 16, tzinfo=UTC)
    assert last == datetime(2025, 11, 30, 16, tzinfo=UTC) - timedelta.resolution


def test_a_daily_schedule_is_not_widened_to_months() -> None:
    args = arguments("dags", "backfill", "orders_sync", "-s", "2025-10-15", "-e", "2025-10-15")
    first, last = bounds_of(args, DAILY)
    assert last - first == timedelta(days=1) - timedelta.resolution


@pytest.mark.parametrize(
    ("timetable", "zone", "monthly"),
    [
        (MONTHLY, KUALA_LUMPUR, True),
        (DAILY, KUALA_LUMPUR, False),
        ({"expression": "30 3 1 * *", "timezone": 28800}, timezone(timedelta(hours=8)), True),
        ({"expression": "0 0 15 * *"}, UTC, False),
        ({}, UTC, True),  # unreadable: whole months, so that no day is missed
    ],
)
def test_the_schedule_comes_from_the_timetable(timetable: dict[str, Any], zone: Any, monthly: bool) -> None:
    from retail_sync.backfill_cli import Schedule, schedule_from

    assert schedule_from(timetable, UTC) == Schedule(zone, monthly)


@pytest.mark.parametrize(
    ("start", "end", "today", "said"),
    [
        (
            date(2025, 10, 1),
            date(2025, 11, 30),
            date(2026, 1, 1),
            ["Months (Asia/Kuala_Lumpur): 2025-10, 2025-11."],
        ),
        (
            date(2024, 1, 31),
            date(2024, 2, 28),
            date(2024, 3, 1),
            [
                "A month runs whole: from 2024-01-01, not only from 2024-01-31.",
                "A month runs whole: to 2024-02-29, not only to 2024-02-28.",
                "Months (Asia/Kuala_Lumpur): 2024-01, 2024-02.",
            ],
        ),
        (
            date(2025, 12, 1),
            date(2026, 1, 20),
            date(2026, 1, 31),
            [
                "Months (Asia/Kuala_Lumpur): 2025-12.",
                "Left out, because not over yet: 2026-01.",
            ],
        ),
    ],
)
def test_it_says_which_months_run(start: date, end: date, today: date, said: list[str]) -> None:
    from retail_sync.backfill_cli import explain, schedule_from

    assert explain(start, end, schedule_from(MONTHLY, UTC), today) == said


def test_a_start_after_the_end_is_refused_before_airflow_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from retail_sync import backfill_cli

    monkeypatch.setattr(backfill_cli, "read_schedule", None)
    args = arguments("dags", "backfill", "sales_replication", "-s", "2025-12-01", "-e", "2025-11-30")
    with pytest.raises(SystemExit) as stopped:
        backfill_cli.backfill(args)
    assert stopped.value.code == 2
    assert "2025-12-01 is after the end date 2025-11-30" in capsys.readouterr().err


def test_what_airflow_refuses_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow.cli.commands import backfill_command
    from airflow.models.backfill import AlreadyRunningBackfill

    from retail_sync import backfill_cli

    def refuse(handed_over: Namespace) -> None:
        assert handed_over.dag_run_conf == '{"groups": ["sales"]}'
        assert handed_over.from_date == datetime(2025, 10, 1, tzinfo=KUALA_LUMPUR)
        raise AlreadyRunningBackfill("Another backfill is running")

    monkeypatch.setattr(backfill_command, "create_backfill", refuse)
    monkeypatch.setattr(backfill_cli, "read_schedule", lambda dag_id, zone: backfill_cli.Schedule(zone, True))
    words = ("-s", "2025-10-01", "-e", "2025-10-31", "-c", '{"groups": ["sales"]}')
    with pytest.raises(SystemExit) as stopped:
        backfill_cli.backfill(arguments("dags", "backfill", "sales_replication", *words))
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "airflow backfill: Another backfill is running\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--start-date", "2025-02-30", "'2025-02-30' is not a date; write it as YYYY-MM-DD"),
        ("--start-date", "01/10/2025", "'01/10/2025' is not a date"),
        ("--timezone", "Asia/Kuala-Lumpur", "'Asia/Kuala-Lumpur' is not a time zone"),
        ("--conf", "[1]", "'[1]' is not a JSON object"),
        ("--conf", "{tables}", "'{tables}' is not a JSON object"),
        ("--max-active-runs", "0", "argument --max-active-runs"),
    ],
)
def test_a_bad_argument_is_refused(option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("-s", "2025-10-01", "-e", "2025-11-30", option, value)
    with pytest.raises(SystemExit) as stopped:
        arguments("dags", "backfill", "sales_replication", *words)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_time_zone_parser_survives_every_odd_name() -> None:
    from retail_sync.backfill_cli import parse_zone

    for name in ["", "/etc/passwd", "../UTC", "Asia", "nowhere"]:
        with pytest.raises(ArgumentTypeError):
            parse_zone(name)


@pytest.mark.parametrize(
    ("module", "attribute", "value"),
    [
        ("airflow.cli.cli_parser", "airflow_commands", None),
        ("airflow.cli.cli_parser", "airflow_commands", []),
        ("airflow.cli.cli_parser", "airflow_commands", ()),
        ("airflow.cli.cli_parser", "airflow_commands", "no dags"),
        ("airflow.cli.commands.legacy_commands", "COMMAND_MAP", None),
    ],
)
def test_without_the_private_api_only_the_old_name_is_lost(
    module: str, attribute: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    from retail_sync.backfill_cli import get_cli_commands

    owner = importlib.import_module(module)
    if value is None:
        monkeypatch.delattr(owner, attribute)
    else:
        monkeypatch.setattr(owner, attribute, value)
    (group,) = get_cli_commands()
    assert group.name == "retail"


def test_restoring_twice_adds_one_command() -> None:
    from airflow.cli import cli_parser

    from retail_sync.backfill_cli import get_cli_commands

    get_cli_commands()
    dags = next(entry for entry in cli_parser.airflow_commands if entry.name == "dags")
    assert [entry.name for entry in dags.subcommands].count("backfill") == 1


def test_the_provider_is_valid_and_has_the_name_of_its_distribution() -> None:
    from importlib.metadata import entry_points

    from airflow.providers_manager import ProvidersManager

    from retail_sync.provider import get_provider_info

    (entry,) = [
        point
        for point in entry_points(group="apache_airflow_provider")
        if point.value == "retail_sync.provider:get_provider_info"
    ]
    assert entry.dist is not None
    assert entry.dist.name == get_provider_info()["package-name"]
    assert "retail-sync" in ProvidersManager().providers
    assert "retail-sync" in ProvidersManager().cli_command_providers
