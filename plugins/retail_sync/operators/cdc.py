"""Follow other databases under Airflow: plan, copy each table, put in place, apply, look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from include.cdc import loader
from include.cdc.models import Mode, Replication
from include.cdc.request import ALL, DEFAULTS, Action, ActionRequest, read_action
from include.errors import LockHeld, NotConfigured, PermanentError, RetailSyncError
from include.settings import Settings
from retail_sync import metrics
from retail_sync.hooks.engine import EngineHook
from retail_sync.operators.base import HEALTH_KEY, permanent_errors_fail
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow.sdk import Context

    from include.cdc.health import Health
    from include.cdc.prerequisites.kafka import KafkaParts
    from include.cdc.run import CdcRun
    from include.connections import Connection


class CdcOperator(BaseOperator):
    """An operator that works on followed databases."""

    def cdc_run(self, context: Context, name: str) -> CdcRun:
        """
        Return the run of a replication.

        :raises NotConfigured: if a connection is missing.
        """
        from include.cdc.run import CdcRun

        settings = Settings()
        replication = loader.pick(loader.load(settings.cdc_file), name)
        return CdcRun(
            id=context["run_id"],
            replication=replication,
            source=_connection(replication.source),
            warehouse=_connection(settings.warehouse_connection),
            control=_connection(settings.control_connection),
            settings=settings,
            holder=self.holder(context),
            kafka=_kafka(replication),
        )

    @staticmethod
    def holder(context: Context) -> str:
        """Return what the databases show of our sessions."""
        instance = context["ti"]
        place = f"[{instance.map_index}]" if (instance.map_index or -1) >= 0 else ""
        return f"{instance.dag_id} {instance.task_id}{place} try {instance.try_number}"

    @staticmethod
    def request(context: Context) -> ActionRequest:
        """Return what the run is asked to do."""
        given = context["dag_run"].conf or {}
        values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
        return read_action({**given, **values}, loader.load(Settings().cdc_file))

    def begun(self, context: Context, names: Sequence[str], *states: str) -> list[str]:
        """Return the replications that are in one of some states; of one that was named the state does not matter."""
        from include.cdc import state
        from include.cdc.targets.opening import opened

        if not names or (context["params"].get("replication") or ALL) != ALL:
            return list(names)
        warehouse, found = _connection(Settings().warehouse_connection), []
        with opened(warehouse, self.holder(context)) as target:
            for name in names:
                row = state.read(target.records, name)
                is_now = row.state if row else state.State.NEW
                if is_now in states:
                    found.append(name)
                else:
                    self.log.info("replication %s is %s: nothing is done", name, is_now)
        return found

    def each(self, names: Iterable[str], do: Callable[[str], object]) -> None:
        """Do something for each replication, whatever becomes of the others, and fail then if one has failed."""
        errors: list[RetailSyncError] = []
        for name in names:
            try:
                do(name)
            except RetailSyncError as error:
                self.log.error("%s", error)  # noqa: TRY400 (it says all)
                errors.append(error)
        if passing := [error for error in errors if not isinstance(error, PermanentError)]:
            raise passing[0]
        if errors:
            raise PermanentError("\n".join(map(str, errors)))


class PlanCdcOperator(CdcOperator):
    """Do what needs no copy (stop, resume, drop), and decide which tables have to be copied."""

    def execute(self, context: Context) -> list[dict[str, str]]:
        """
        Return the tables to copy, for one mapped task each; or fail with every problem of the sources.

        Where no replication is declared, nothing else of the run is begun.
        """
        copies: list[dict[str, str]] = []
        with permanent_errors_fail():
            request = self.request(context)
            self.log.info("%s: %s", request.action, ", ".join(request.replications) or "no replication is declared")
            if not request.replications:
                raise DownstreamTasksSkipped(tasks=sorted(self.get_flat_relative_ids()))  # type: ignore[no-untyped-call]
            if request.copies:
                self.each(request.replications, lambda name: copies.extend(self._plan(context, request, name)))
            else:
                self._operate(context, request)
        return copies

    def _plan(self, context: Context, request: ActionRequest, name: str) -> list[dict[str, str]]:
        from include.cdc import begin, validate

        settings = Settings()
        replication = loader.pick(loader.load(settings.cdc_file), name)
        validate.assert_ready(
            replication,
            _connection(replication.source),
            _connection(settings.warehouse_connection),
            _connection(settings.control_connection),
            kafka_parts=_kafka(replication),
        )
        run = self.cdc_run(context, name)
        tables = begin.begin(run, resync=request.action is Action.RESYNC, tables=request.tables)
        return [{"replication": name, "table": table} for table in tables]

    def _operate(self, context: Context, request: ActionRequest) -> None:
        from include.cdc import operate
        from include.cdc.state import State

        actions: dict[Action, tuple[Callable[[CdcRun], object], set[State]]] = {
            Action.STOP: (operate.stop, {State.COPYING, State.STREAMING, State.STOPPED}),
            Action.RESUME: (operate.resume, {State.STOPPED}),
            Action.DROP: (operate.drop, set()),
        }
        if request.action in actions:
            do, states = actions[request.action]
            names = self.begun(context, request.replications, *states)
            self.each(names, lambda name: do(self.cdc_run(context, name)))


class CopyTableOperator(CdcOperator):
    """
    Pin the log's position if nobody has, and copy a table; another try goes on where the last one stood.

    :param replication: the replication.
    :param table: the table at the source.
    """

    template_fields = ("replication", "table")

    def __init__(self, *, replication: str, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.replication = replication
        self.table = table

    def execute(self, context: Context) -> dict[str, Any]:
        """Return rows and seconds."""
        from include.cdc.copy import copy_table

        with permanent_errors_fail():
            copied = copy_table(self.cdc_run(context, self.replication), self.table)
        metrics.of_copy(self.replication, copied.table, copied.rows, copied.seconds)
        return {"table": copied.table, "rows": copied.rows, "seconds": copied.seconds}


class SwapOperator(CdcOperator):
    """Put what was copied in place, and decide which replications are followed."""

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the replications to follow, for one mapped task a consumer.

        An embedded stream has only the first, and so has a comparison, which reads for all of them.

        What was never started, is stopped or is copied for the first time is left out, unless it was named.
        """
        from include.cdc.state import State
        from include.cdc.swap import swap

        if any(task.endswith("plan") for task in failed_tasks(context)):
            raise AirflowSkipException("the run was refused, see the task `plan`")
        with permanent_errors_fail():
            request, replications = self.request(context), loader.load(Settings().cdc_file)
            if request.copies:
                self.each(request.replications, lambda name: swap(self.cdc_run(context, name)))
            followed = self.begun(context, request.replications, State.STREAMING) if request.follows else []
        return [
            {"replication": name, "consumer": consumer}
            for name in followed
            for consumer in range(1 if request.action is Action.COMPARE else _consumers(replications[name]))
        ]


class ApplyChangesOperator(CdcOperator):
    """
    Apply what a source has committed.

    :param replication: the replication.
    :param consumer: in Kafka Connect mode, which of its consumers this is, from 0.
    """

    template_fields = ("replication", "consumer")

    def __init__(self, *, replication: str, consumer: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.replication = replication
        self.consumer = consumer

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the figures of the stream; skips a replication that has to wait, or that another run follows."""
        from include.cdc.follow import Task, follow

        with permanent_errors_fail():
            request = self.request(context)
            compare = request.action is Action.COMPARE
            task = Task(minutes=request.minutes, compare=compare, consumer=self.consumer)
            try:
                figures = follow(self.cdc_run(context, self.replication), task)
            except LockHeld as error:
                raise AirflowSkipException(str(error)) from error
        if reason := figures.get("waiting"):
            raise AirflowSkipException(f"replication {self.replication}: {reason}")
        metrics.of_apply(self.replication, figures)
        self.log.info("replication %s: %s", self.replication, figures)
        different = [table["table"] for table in figures.get("compared") or [] if not table["equal"]]
        if different:
            raise AirflowFailException(f"replication {self.replication}: {', '.join(different)} differ from the source")
        return figures

    def on_kill(self) -> None:
        """Leave ``execute``, which ends the process of the stream; by itself the signal would interrupt nothing."""
        raise SystemExit(f"replication {self.replication}: ended from outside")


class HealthOperator(CdcOperator):
    """Say how the replications are; fails the run if one is unhealthy, or a task failed."""

    def execute(self, context: Context) -> dict[str, dict[str, Any]]:
        """Return the status of each replication, with the reasons."""
        from include.cdc.health import check

        failed = failed_tasks(context)
        statuses: dict[str, dict[str, Any]] = {}
        broken: dict[str, dict[str, Any]] = {}
        texts: list[str] = []
        with permanent_errors_fail():
            names = self.request(context).replications
        for name in names:
            try:
                health = check(self.cdc_run(context, name))
            except RetailSyncError as error:
                self.log.error("replication %s: %s", name, error)  # noqa: TRY400 (it says all)
                texts.append(f"{name}: {error}")
                broken[name] = {"status": "unhealthy", "reasons": [str(error)]}
                continue
            statuses[name] = _summary(health)
            metrics.of_health(health)
            self.log.info("replication %s is %s: %s", name, health.status, statuses[name])
            for reason in health.reasons:
                self.log.warning("replication %s is %s: %s", name, reason.severity, reason.text)
            texts += [f"{name}: {reason.text}" for reason in health.reasons if reason.severity == "unhealthy"]
        context["ti"].xcom_push(key=HEALTH_KEY, value={**statuses, **broken})
        if failed:
            texts.append(f"failed tasks: {', '.join(failed)}")
        if texts:
            raise AirflowFailException("; ".join(texts))
        return statuses


def _summary(health: Health) -> dict[str, Any]:
    return {
        "status": str(health.status),
        "reasons": [reason.text for reason in health.reasons],
        "lag_bytes": health.lag_bytes,
        "lag_seconds": health.lag_seconds,
        "slot": health.slot.wal_status if health.slot else None,
        "applied_at": health.applied_at.isoformat() if health.applied_at else None,
        "tables": dict(health.tables),
        "events": health.events,
    }


def _consumers(replication: Replication) -> int:
    return replication.kafka.consumers if replication.mode is Mode.KAFKA_CONNECT else 1


def _kafka(replication: Replication) -> KafkaParts | None:
    """Return the connections of Kafka Connect mode."""
    from include.cdc.prerequisites.kafka import KafkaParts

    if replication.mode is not Mode.KAFKA_CONNECT:
        return None
    kafka = replication.kafka
    return KafkaParts(_parts(replication.source), _parts(kafka.connect), _parts(kafka.brokers))


def _parts(conn_id: str) -> dict[str, Any]:
    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise NotConfigured(f"connection {conn_id!r} is not set") from None
    names = ("conn_type", "host", "port", "schema", "login", "password")
    return {**{name: getattr(found, name) for name in names}, "extra": found.extra_dejson}


def _connection(conn_id: str) -> Connection:
    try:
        return EngineHook(conn_id).get_conn()
    except AirflowNotFoundException:
        raise NotConfigured(f"connection {conn_id!r} is not set") from None
