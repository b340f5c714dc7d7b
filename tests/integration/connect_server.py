"""A server that answers like Kafka Connect's REST API, as far as is asked here."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LOGIN, PASSWORD = "admin", "opensesame"
AUTHORIZATION = "Basic YWRtaW46b3BlbnNlc2FtZQ=="
PLUGIN = "io.debezium.connector.postgresql.PostgresConnector"
MYSQL_PLUGIN = "io.debezium.connector.mysql.MySqlConnector"


@dataclass
class Connector:
    config: dict[str, str]
    state: str = "RUNNING"
    task: str = "RUNNING"
    trace: str = ""

    def status(self, name: str) -> dict[str, Any]:
        task = {"id": 0, "state": self.task, "worker_id": "w:8083", **({"trace": self.trace} if self.trace else {})}
        connector = {"state": self.state, "worker_id": "w:8083"}
        tasks = [] if self.state == "STOPPED" else [task]
        return {"name": name, "connector": connector, "tasks": tasks, "type": "source"}


@dataclass
class Answer:
    """What is answered next, instead of what is right; status 0 breaks the connection."""

    status: int
    message: str = ""


@dataclass
class Cluster:
    connectors: dict[str, Connector] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=lambda: [PLUGIN, MYSQL_PLUGIN])
    errors: dict[str, list[str]] = field(default_factory=dict)
    """What validation finds, by setting."""
    offsets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is stored of connectors, by partition as JSON; it outlives them."""
    next_answers: list[Answer] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class ConnectServer(ThreadingHTTPServer):
    """Listens on loopback, in a thread of its own."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = Cluster()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ConnectServer

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        cluster = self.server.cluster
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        cluster.requests.append(f"{self.command} {self.path}")
        if cluster.next_answers:
            answer = cluster.next_answers.pop(0)
            if answer.status == 0:
                self.close_connection = True
            else:
                self._send(answer.status, {"error_code": answer.status, "message": answer.message})
        elif self.headers.get("Authorization") != AUTHORIZATION:
            self._send(401, {"error_code": 401, "message": "Unauthorized"})
        else:
            self._send(*self._answer(cluster, json.loads(body) if body else None))

    def _answer(self, cluster: Cluster, body: Any) -> tuple[int, Any]:
        url = urlsplit(self.path)
        match [self.command, *map(unquote, url.path.strip("/").split("/"))]:
            case ["GET", "connector-plugins"]:
                return 200, [{"class": name, "type": "source", "version": "3.6.3.Final"} for name in cluster.plugins]
            case ["PUT", "connector-plugins", plugin, "config", "validate"] if plugin in cluster.plugins:
                found = [{"value": {"name": name, "errors": cluster.errors.get(name, [])}} for name in body]
                return 200, {"name": plugin, "error_count": len(cluster.errors), "configs": found}
            case ["PUT", "connectors", name, "config"]:
                fresh = name not in cluster.connectors
                cluster.connectors.setdefault(name, Connector({})).config = {**body, "name": name}
                return (201 if fresh else 200), {"name": name, "config": body, "tasks": [], "type": "source"}
            case [_, "connectors", name, *_] if name not in cluster.connectors:
                return 404, {"error_code": 404, "message": f"Connector {name} not found"}
            case ["GET", "connectors", name, ("config" | "status" | "topics") as part]:
                connector = cluster.connectors[name]
                topics = {name: {"topics": [f"{name}.shop.b", f"{name}.shop.a"]}}
                return 200, {"config": connector.config, "status": connector.status(name), "topics": topics}[part]
            case ["GET", "connectors", name, "offsets"]:
                stored = cluster.offsets.get(name, {}).items()
                return 200, {"offsets": [{"partition": json.loads(part), "offset": offset} for part, offset in stored]}
            case ["POST", "connectors", name, "restart"] if url.query == "includeTasks=true&onlyFailed=true":
                connector = cluster.connectors[name]
                connector.task, connector.trace = "RUNNING", ""
                return 202, connector.status(name)
            case ["PUT", "connectors", name, "pause" | "stop" | "resume" as action]:
                states = {"pause": "PAUSED", "stop": "STOPPED", "resume": "RUNNING"}
                cluster.connectors[name].state = cluster.connectors[name].task = states[action]
                return 202, None
            case ["DELETE", "connectors", name]:
                del cluster.connectors[name]
                return 204, None
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _send(self, status: int, content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
