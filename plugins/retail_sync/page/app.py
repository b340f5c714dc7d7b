"""The web application of the page, which the plugin hands to Airflow's API server."""

from __future__ import annotations

from pathlib import Path

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Request, status
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from include.errors import BadRequest, RetailSyncError
from retail_sync.page.engines import Down
from retail_sync.page.headers import SecurityHeaders
from retail_sync.page.sections import router

_STATIC = Path(__file__).with_name("static")


def create_app() -> FastAPI:
    """Return the application: only GET, and nothing for whoever is not logged in."""
    app = FastAPI(
        title="Replication",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(get_user)],
        exception_handlers={Down: _tell_down, RetailSyncError: _tell},
    )
    app.add_middleware(SecurityHeaders)
    app.include_router(router)
    # not mounted: a mount asks for no user
    files = StaticFiles(directory=_STATIC, check_dir=False)

    @app.get("/")
    async def index(request: Request) -> Response:
        return await _file(files, "index.html", request)

    @app.get("/static/{path:path}")
    async def static(path: str, request: Request) -> Response:
        return await _file(files, path, request)

    return app


async def _file(files: StaticFiles, path: str, request: Request) -> Response:
    answer = await files.get_response(path, request.scope)
    # asked for each time, sent only when it has changed: its ETag says so
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


async def _tell_down(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Down)
    return JSONResponse({"down": error.database, "detail": error.detail}, status.HTTP_503_SERVICE_UNAVAILABLE)


async def _tell(_request: Request, error: Exception) -> Response:
    code = status.HTTP_400_BAD_REQUEST if isinstance(error, BadRequest) else status.HTTP_500_INTERNAL_SERVER_ERROR
    return JSONResponse({"detail": str(error)}, code)
