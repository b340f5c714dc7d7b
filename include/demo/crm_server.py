"""The HTTP side of the demo's CRM."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from include.orders_sync.reports import REPORTS, TD_ORDERS, TD_SALES, UC_GST

if TYPE_CHECKING:
    from include.demo.crm import DemoCrm


#: Of a server of ours, on this machine.
LOGIN, PASSWORD = "demo", "opensesame"
PATHS = {"/reports/orders": TD_ORDERS, "/reports/sales": TD_SALES, "/reports/gst": UC_GST}


class CrmServer(ThreadingHTTPServer):
    """Listens on loopback, in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, crm: DemoCrm, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.crm = crm
        self.tokens: set[str] = set()
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Answer nothing any more."""
        self.stopping.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CrmServer

    def log_message(self, format: str, *args: object) -> None:
        """Requests are kept in the CRM, not written to the terminal."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        path = urlsplit(self.path).path
        if path == "/login":
            self._log_in(body)
        elif path == "/demo/late":
            number = self.server.crm.add_late(body["store"], date.fromisoformat(body["day"]))
            self._answer(200, {"number": number})
        elif path == "/demo/change":
            self._change(body)
        else:
            self._answer(404, {})

    def do_GET(self) -> None:
        crm, address = self.server.crm, urlsplit(self.path)
        report, params = PATHS.get(address.path), dict(parse_qsl(address.query))
        with crm.lock:
            crm.note(address.path, params)
            if crm.faults.take("expired"):
                self.server.tokens.clear()
            authorized = self.headers.get("Authorization", "").removeprefix("Bearer ") in self.server.tokens
        if not authorized:
            self._answer(401, {"error": "log in"})
        elif report is None or (crm.stores is not None and params.get("storeCode") not in crm.stores):
            self._answer(404, {"error": "unknown"})
        elif not self._fails(int(params["pageSize"])):
            self._answer(200, crm.page(report, params), broken=crm.faults.take("drops"))

    def _fails(self, size: int) -> bool:
        """Answer with an error if one is due; wait if that is due."""
        crm = self.server.crm
        with crm.lock:
            busy, broken = crm.faults.take("busy"), crm.faults.take("errors")
        if busy:
            self._answer(429, {"error": "slow down"}, {"Retry-After": crm.faults.retry_after})
        elif broken:
            self._answer(500, {"error": "oh no"})
        elif crm.faults.delay and size >= crm.faults.slow_from:
            self.server.stopping.wait(crm.faults.delay)
        return busy or broken

    def _log_in(self, body: dict[str, str]) -> None:
        crm = self.server.crm
        crm.note("/login", {})
        if crm.faults.refuse_logins or (body.get("username"), body.get("password")) != (LOGIN, PASSWORD):
            self._answer(401, {"error": "login refused"})
            return
        token = secrets.token_hex(8)
        self.server.tokens.add(token)
        self._answer(200, {"token": token})

    def _change(self, body: dict[str, Any]) -> None:
        self.server.crm.change(REPORTS[body["report"]], body["store"], body["number"], **body["values"])
        self._answer(200, {})

    def _answer(
        self, status: int, content: Any, headers: dict[str, str] | None = None, *, broken: bool = False
    ) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data[: len(data) // 2] if broken else data)
        except (BrokenPipeError, ConnectionResetError):
            broken = True  # who asked did not wait
        self.close_connection = self.close_connection or broken
