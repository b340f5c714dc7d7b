"""Where in Airflow's UI the runs and tasks are of which the project's tables tell: paths below its own prefix."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import and_, or_, select

from include.orders_sync.request import run_id_of

Row = dict[str, Any]

#: The tasks that work on a table, in the order in which one is looked for where the phase tells nothing.
_TASKS = ("audit", "refresh", "fix", "load", "sweep")
#: The last characters of an id in the log of the orders sync, which may be a digest.
_DIGEST = 13


class Run(NamedTuple):
    """A run of a DAG as Airflow has it."""

    dag: str
    id: str

    @property
    def url(self) -> str:
        """The path of its page."""
        return f"/dags/{quote(self.dag, safe='')}/runs/{quote(self.id, safe='')}"


class Task(NamedTuple):
    """A task in a run; the map index is -1 where it is not mapped."""

    id: str
    map_index: int

    def url(self, run: Run) -> str:
        """Return the path of its page, which opens with its log."""
        place = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        return f"{run.url}/tasks/{quote(self.id, safe='')}{place}"


#: The tasks of a run that work on a table, by id and by what the grid calls the mapped one.
_Tasks = dict[tuple[str, str], Task]


def add_run_urls(rows: Sequence[Row], dags: Sequence[str]) -> Mapping[str, Run]:
    """
    Set ``run_url`` of rows with a ``run``, None where none of the DAGs has that run.

    :param dags: those that may be shown; the first that has a run is taken.
    :return: the runs by their ids in the rows.
    """
    found = _runs_of({row["run"] for row in rows if row["run"]}, dags)
    for row in rows:
        run = found.get(row["run"])
        row["run_url"] = run.url if run else None
    return found


def add_log_urls(month: Row, dags: Sequence[str]) -> None:
    """Set ``run_url`` and ``log_url`` of the windows and days of a month of a table, None where there is none."""
    windows, table = month["windows"], month["table"]
    rows = [*windows, *month["days"]]
    runs = add_run_urls(rows, dags)
    tasks = _tasks_of(runs.values(), [table, month["month"], *(row["window"] for row in windows)])
    phases = {(row["run"], row["window"]): row["phase"] for row in windows}
    for row in rows:
        row["log_url"] = None
        if run := runs.get(row["run"]):
            place = row.get("window") or row["day"]
            places = [place, month["month"]]
            task = _pick(tasks.get(run, {}), table, places, phases.get((row["run"], place)))
            row["log_url"] = task.url(run) if task else None


def _runs_of(ids: Collection[str], dags: Sequence[str]) -> dict[str, Run]:
    """Return runs by the ids that our tables have for them: Airflow's own, or with the DAG's name before it."""
    if not ids or not dags:
        return {}
    named = [
        and_(DagRun.dag_id == dag, DagRun.run_id.startswith(text[len(dag) + 2 : -_DIGEST], autoescape=True))
        for dag in dags
        for text in ids
        if text.startswith(f"{dag}__")
    ]
    query = select(DagRun.dag_id, DagRun.run_id).where(DagRun.dag_id.in_(dags), or_(DagRun.run_id.in_(ids), *named))
    with create_session(scoped=False) as session:
        runs = [Run(*row) for row in session.execute(query)]
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: dags.index(run.dag)):
        for text in (run.id, run_id_of(*run)):
            if text in ids:
                found.setdefault(text, run)
    return found


def _tasks_of(runs: Collection[Run], places: Iterable[str]) -> dict[Run, _Tasks]:
    """Return the mapped tasks of runs that the grid calls by one of these names."""
    if not runs:
        return {}
    name: Any = TaskInstance._rendered_map_index
    query = select(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index, name).where(
        TaskInstance.dag_id.in_({run.dag for run in runs}),
        TaskInstance.run_id.in_({run.id for run in runs}),
        name.in_(list(places)),
    )
    tasks: dict[Run, _Tasks] = {}
    with create_session(scoped=False) as session:
        for dag, run, task, map_index, place in session.execute(query):
            tasks.setdefault(Run(dag, run), {})[task, place] = Task(task, map_index)
    return tasks


def _pick(tasks: _Tasks, table: str, places: Sequence[str], phase: str | None) -> Task | None:
    """A month is a task of its own in the sales replication; elsewhere one does all of a table, or all of a phase."""
    wanted = [*((f"{table}.months", place) for place in places), *((task, table) for task in (phase, *_TASKS) if task)]
    return next((tasks[one] for one in wanted if one in tasks), None)
