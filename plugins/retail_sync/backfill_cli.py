"""
``airflow retail backfill`` and ``airflow dags backfill``, by business dates.

``airflow backfill create`` compares its bounds, time of day included, with the start of a run's
data interval. People name business dates, the last one included: these commands turn them into
such bounds and leave the work to ``airflow backfill create``.

``airflow retail`` is a command group of this provider, which Airflow supports. ``airflow dags
backfill``, which Airflow 3 removed, needs Airflow's private API: where that fails, only this
second name is lost.

Loaded at the start of every ``airflow`` command: whatever is heavy is imported when it is used.
"""

from __future__ import annotations

import json
import logging
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from operator import attrgetter
from typing import Any, cast
from zoneinfo import ZoneInfo

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, positive_int

from include import windows

log = logging.getLogger(__name__)

REFUSED = 2  # the exit code of argparse for a bad argument


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a DAG's timetable says of its runs: where their dates are read, and their unit."""

    zone: tzinfo
    monthly: bool


def parse_date(text: str) -> date:
    """Return the date that ``text`` (YYYY-MM-DD) names."""
    try:
        return windows.parse_date(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a date; write it as YYYY-MM-DD") from None


def parse_zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a directory, a bad key, an unknown name
        raise ArgumentTypeError(f"{name!r} is not a time zone, such as Asia/Kuala_Lumpur") from None


def parse_conf(text: str) -> str:
    """Return ``text`` unchanged if it is a JSON object, which is all a run's conf can be."""
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise ArgumentTypeError(f"{text!r} is not a JSON object")
    return text


def schedule_from(timetable: dict[str, Any], otherwise: tzinfo) -> Schedule:
    """
    Return the schedule of a serialized timetable.

    A zone that it does not name is ``otherwise``. One without a cron expression counts as monthly:
    whole months are at worst too many days, never too few.
    """
    zone = timetable.get("timezone")
    if isinstance(zone, str):
        otherwise = ZoneInfo(zone)
    elif isinstance(zone, int):  # Airflow writes a fixed offset as its seconds
        otherwise = timezone(timedelta(seconds=zone))
    expression = timetable.get("expression")
    monthly = not isinstance(expression, str) or expression.split()[2:] == ["1", "*", "*"]
    return Schedule(otherwise, monthly)


def first_day(start: date, schedule: Schedule) -> date:
    """Return the day to start from: the first of the month where runs are months."""
    return start.replace(day=1) if schedule.monthly else start


def bounds(first: date, last: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the first and the last instant of the days ``first`` to ``last`` in ``zone``."""
    return datetime.combine(first, time.min, zone), datetime.combine(last, time.max, zone)


def months(first: date, last: date) -> Iterator[date]:
    """Yield the first day of each month that has a day in ``first`` to ``last``."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = next_month(month)


def next_month(day: date) -> date:
    """Return the first day of the month after that of ``day``."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def explain(start: date, end: date, schedule: Schedule, today: date) -> list[str]:
    """Say which runs the dates stand for, ``today`` being the date in the schedule's zone."""
    if not schedule.monthly:
        return [f"Runs whose data interval starts on {start} to {end} ({schedule.zone})."]
    lines = []
    last_day = next_month(end) - timedelta(days=1)
    if start.day != 1 and next_month(start) <= today:
        lines.append(f"A month runs whole: from {start:%Y-%m}-01, not only from {start}.")
    if end != last_day and last_day < today:
        lines.append(f"A month runs whole: to {last_day}, not only to {end}.")
    ended = [f"{month:%Y-%m}" for month in months(start, end) if next_month(month) <= today]
    running = [f"{month:%Y-%m}" for month in months(start, end) if next_month(month) > today]
    if ended:
        lines.append(f"Months ({schedule.zone}): {', '.join(ended)}.")
    if running:
        lines.append(f"Left out, because not over yet: {', '.join(running)}.")
    return lines


def airflow_arguments(args: Namespace, schedule: Schedule) -> Namespace:
    """Return what ``airflow backfill create`` takes for the same runs."""
    from_date, to_date = bounds(first_day(args.start_date, schedule), args.end_date, schedule.zone)
    return Namespace(
        dag_id=args.dag_id,
        from_date=from_date,
        to_date=to_date,
        dag_run_conf=args.conf,
        run_backwards=args.run_backwards,
        max_active_runs=args.max_active_runs,
        reprocess_behavior=args.reprocess_behavior,
        run_on_latest_version=None,
        dry_run=args.dry_run,
    )


def read_schedule(dag_id: str, otherwise: tzinfo) -> Schedule:
    """Return the schedule of the DAG as last parsed, as far as it can be read."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    timetable: dict[str, Any] = {}
    try:
        with create_session() as session:
            row = session.scalar(cast(Any, SerializedDagModel).latest_item_select_object(dag_id))
            if row is not None:
                timetable = row.dag.timetable.serialize()
        return schedule_from(timetable, otherwise)
    except Exception:  # a custom timetable, or another Airflow
        log.debug("No schedule readable for DAG %s", dag_id, exc_info=True)
        return schedule_from({}, otherwise)


def follow_up(dag_id: str, zone: tzinfo) -> Iterator[str]:
    """Say what the DAG's newest backfill holds and how to follow it."""
    from airflow.configuration import conf
    from airflow.models import DagModel
    from airflow.models.backfill import Backfill
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        newest = select(Backfill).where(Backfill.dag_id == dag_id).order_by(Backfill.id.desc())
        backfill = session.scalars(newest.limit(1)).one()
        runs = [
            (f"{run.logical_date.astimezone(zone):%Y-%m-%d}", run.exception_reason)
            for run in sorted(backfill.backfill_dag_run_associations, key=attrgetter("sort_ordinal"))
        ]
        queued = [day for day, skipped in runs if not skipped]
        yield f"Backfill {backfill.id} of {dag_id}, runs queued: {', '.join(queued) or 'none'}."
        yield from (f"Skipped {day}: {skipped}." for day, skipped in runs if skipped)
        if any(skipped == "already exists" for _, skipped in runs):
            yield "To run those again: --reprocess-behavior completed (or failed)."
        paused = session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id))
        if paused and queued:
            yield f"The DAG is paused, nothing runs before: airflow dags unpause {dag_id}"
    yield f"Follow: airflow dags list-runs {dag_id}"
    site = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    yield f"Follow, pause or cancel in the UI: {site}/dags/{dag_id}/backfills"


def refuse(message: str, code: int) -> SystemExit:
    """Return the exit that ends the command with ``message`` on standard error."""
    print(f"airflow backfill: {message}", file=sys.stderr)
    return SystemExit(code)


def backfill(args: Namespace) -> None:
    """Create the runs of the business dates ``start_date`` to ``end_date``, both included."""
    if args.start_date > args.end_date:
        message = f"the start date {args.start_date} is after the end date {args.end_date}"
        raise refuse(message, REFUSED)

    from airflow.cli.commands.backfill_command import create_backfill
    from airflow.sdk.exceptions import AirflowException

    from include.settings import Settings

    schedule = read_schedule(args.dag_id, args.timezone or Settings().zone)
    today = datetime.now(UTC).astimezone(schedule.zone).date()
    print(*explain(args.start_date, args.end_date, schedule, today), sep="\n", flush=True)
    try:
        create_backfill(airflow_arguments(args, schedule))
    except (AirflowException, ValueError) as error:  # Airflow's refusals
        raise refuse(str(error), 1) from error
    if not args.dry_run:
        print(*follow_up(args.dag_id, schedule.zone), sep="\n")


def argument(*flags: str, **options: Any) -> Arg:
    """Return an argument of the parser; Airflow's own class has no types."""
    return cast(Arg, cast(Any, Arg)(flags, **options))


def backfill_command() -> ActionCommand:
    """Return the command as Airflow's parser takes it."""
    return ActionCommand(
        name="backfill",
        help="Run a DAG for past business dates",
        description=(
            "Run a DAG for past business dates, both ends included, in the time zone of its "
            "schedule. Where the schedule is monthly, every month that has a day in the range "
            "is run whole."
        ),
        func=backfill,
        args=(
            argument("dag_id", help="The id of the DAG"),
            argument(
                "-s",
                "--start-date",
                help="First business date, YYYY-MM-DD",
                type=parse_date,
                required=True,
            ),
            argument(
                "-e",
                "--end-date",
                help="Last business date, included",
                type=parse_date,
                required=True,
            ),
            argument(
                "--timezone",
                help="For a schedule that names no time zone (default: the business time zone)",
                type=parse_zone,
            ),
            argument(
                "--max-active-runs",
                help="Runs of this backfill at once (default: 1)",
                type=cast(Any, positive_int)(allow_zero=False),
                default=1,
            ),
            argument(
                "--reprocess-behavior",
                help="Which dates that were run before run again (default: none)",
                choices=("none", "completed", "failed"),
                default="none",
            ),
            argument("-c", "--conf", help="JSON object given to every run", type=parse_conf),
            argument("--run-backwards", help="Newest date first", action="store_true"),
            argument("-n", "--dry-run", help="Show the runs, create none", action="store_true"),
        ),
    )


def restore_dags_backfill(command: ActionCommand) -> None:
    """Put ``backfill`` back under ``airflow dags``, or leave Airflow as it is."""
    try:
        from airflow.cli import cli_parser
        from airflow.cli.commands import legacy_commands

        commands = cli_parser.airflow_commands
        names = [entry.name for entry in commands]
        dags = commands[names.index("dags")]
        assert isinstance(dags, GroupCommand)
        if command.name not in [entry.name for entry in dags.subcommands]:
            subcommands = (*dags.subcommands, command)
            commands[names.index("dags")] = dags._replace(subcommands=subcommands)
        legacy_commands.COMMAND_MAP.pop("dags backfill", None)
    except Exception:  # private API: a later Airflow may have none of it
        log.debug("No `airflow dags backfill`; there is `airflow retail backfill`", exc_info=True)


def get_cli_commands() -> list[ActionCommand | GroupCommand]:
    """Return the provider's own commands; called by Airflow while it builds its parser."""
    command = backfill_command()
    restore_dags_backfill(command)
    return [GroupCommand(name="retail", help="Retail Sync", subcommands=(command,))]
