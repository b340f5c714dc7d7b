"""Connectors of a Kafka Connect cluster."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from include.cdc.kafka.connectors import secrets_of
from include.cdc.kafka.rest import RestApi, url_of, without_secrets
from include.connections import is_loopback
from include.errors import NotConfigured

log = logging.getLogger(__name__)

_LONGEST_LINE = 300
#: Java prints records whole.
_RECORD = re.compile(r"\b(Struct|SourceRecord|ConnectRecord|ProducerRecord)\s*[{(].*", re.DOTALL)


@dataclass(frozen=True)
class Task:
    """A task of a connector; ``trace`` says why it failed, in short."""

    id: int
    state: str
    trace: str = ""


@dataclass(frozen=True)
class Status:
    """What Connect says of a connector: RUNNING, PAUSED, STOPPED, FAILED, UNASSIGNED, RESTARTING."""

    state: str
    tasks: tuple[Task, ...] = ()
    trace: str = ""

    @property
    def failures(self) -> list[str]:
        """A line a part that has failed."""
        connector = [f"the connector has failed: {self.trace}"] if self.state == "FAILED" else []
        return connector + [f"task {task.id} has failed: {task.trace}" for task in self.tasks if task.state == "FAILED"]


@dataclass(frozen=True)
class StoredOffset:
    """A position that Connect has stored of a connector; what is in both is the connector's own."""

    partition: Mapping[str, Any]
    offset: Mapping[str, Any]


class Connect:
    """The connectors of a cluster; whatever is asked may raise what ``RestApi.ask`` raises."""

    def __init__(self, api: RestApi) -> None:
        self._api = api

    @classmethod
    def of(cls, id: str, parts: Mapping[str, Any]) -> Connect:
        """
        Build the client of an Airflow connection of type http; its extra may hold ``attempts`` and ``pause``.

        :raises NotConfigured: if host or extra cannot be read.
        """
        extra = parts.get("extra") or {}
        try:
            attempts, pause = int(extra.get("attempts", 6)), float(extra.get("pause", 1.0))
        except (TypeError, ValueError):
            raise NotConfigured(f"connection {id!r}: extra attempts and pause are numbers") from None
        url = url_of(id, parts)
        if url.startswith("http://") and not is_loopback(url):
            log.warning("connection %r: plain http sends passwords for all to read; use https", id)
        login, password = parts.get("login") or "", parts.get("password") or ""
        return cls(RestApi(id, url, login, password, attempts=attempts, pause=pause))

    def close(self) -> None:
        """End the session."""
        self._api.close()

    def problems(self, config: Mapping[str, str]) -> list[str]:
        """Return what is wrong with a configuration, each with its remedy, as Connect and the connector see it."""
        plugin = config["connector.class"]
        plugins = self._api.ask("GET", "/connector-plugins") or []
        if plugin not in {entry.get("class") for entry in plugins}:
            return [f"Kafka Connect lacks the plugin {plugin}; put Debezium's connector into its plugin.path"]
        secrets = secrets_of(config)
        path = f"/connector-plugins/{quote(plugin, safe='')}/config/validate"
        answer = self._api.ask("PUT", path, json=dict(config), secrets=secrets) or {}
        values = [entry.get("value") or {} for entry in answer.get("configs", [])]
        return [
            without_secrets(f"connector setting {value.get('name')}: {_line(error)}", secrets)
            for value in values
            for error in value.get("errors") or []
        ]

    def has(self, name: str, config: Mapping[str, str]) -> bool:
        """Whether a connector has this configuration."""
        found: object = self._api.ask("GET", f"{_path(name)}/config", missing_is_none=True)
        return found == {**config, "name": name}

    def ensure(self, name: str, config: Mapping[str, str]) -> bool:
        """Give a connector its configuration, making it where it is missing; return whether anything was sent."""
        if self.has(name, config):
            log.debug("connector %s has its configuration already", name)
            return False
        wanted = {**config, "name": name}
        self._api.ask("PUT", f"{_path(name)}/config", json=wanted, secrets=secrets_of(wanted))
        log.info("connector %s was given its configuration, %d settings", name, len(wanted))
        return True

    def status(self, name: str) -> Status | None:
        """Return the states of a connector and its tasks, None where Connect does not know it."""
        answer = self._api.ask("GET", f"{_path(name)}/status", missing_is_none=True)
        if answer is None:
            return None
        connector = answer["connector"]
        tasks = tuple(
            Task(int(task["id"]), str(task["state"]), shortened(task.get("trace") or ""))
            for task in answer.get("tasks", [])
        )
        return Status(str(connector["state"]), tasks, shortened(connector.get("trace") or ""))

    def restart_failed(self, name: str) -> None:
        """Restart what has failed of a connector and its tasks; the rest runs on."""
        self._api.ask("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=true")
        log.info("connector %s: what had failed was restarted", name)

    def pause(self, name: str) -> None:
        """Let a connector hold still, with its tasks and connections."""
        self._turn(name, "pause")

    def stop(self, name: str) -> None:
        """End a connector's tasks and keep its configuration and position; Kafka 3.5 and later."""
        self._turn(name, "stop")

    def resume(self, name: str) -> None:
        """Let a paused or stopped connector go on where it was."""
        self._turn(name, "resume")

    def delete(self, name: str) -> None:
        """Remove a connector; one that is not there is fine."""
        self._api.ask("DELETE", _path(name), missing_is_none=True)
        log.info("connector %s is removed", name)

    def topics(self, name: str) -> list[str]:
        """Return the topics to which a connector has written."""
        answer = self._api.ask("GET", f"{_path(name)}/topics", missing_is_none=True) or {}
        return sorted(answer.get(name, {}).get("topics", []))

    def offsets(self, name: str) -> list[StoredOffset]:
        """
        Return the positions that are stored of a connector, none of one that is not there; Kafka 3.5 and later.

        A worker stores them every ``offset.flush.interval.ms``, and when a task ends.
        """
        answer = self._api.ask("GET", f"{_path(name)}/offsets", missing_is_none=True) or {}
        return [
            StoredOffset(entry["partition"], entry["offset"]) for entry in answer.get("offsets", []) if entry["offset"]
        ]

    def _turn(self, name: str, action: str) -> None:
        self._api.ask("PUT", f"{_path(name)}/{action}")
        log.info("connector %s: %s asked for", name, action)


def shortened(trace: str) -> str:
    """Return the first line of a Java trace and its last cause, without records."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    if not lines:
        return ""
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return "; ".join(_line(line) for line in dict.fromkeys([lines[0], *causes[-1:]]))


def _line(text: str) -> str:
    return " ".join(_RECORD.sub(r"\1{…}", text).split())[:_LONGEST_LINE]


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"
