"""Whether the server is there and well; without a token."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

from fastapi import APIRouter, Response
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from server.deps import StateDep
from server.render.serialize import dumps
from storage.database import ping

router = APIRouter(tags=["health"])


@router.get("/ok")
async def ok() -> dict[str, bool]:
    """The process answers."""
    return {"ok": True}


@router.get("/info")
async def info() -> dict[str, Any]:
    """What this server is and serves, as LangGraph's clients ask for it."""
    from server.app import version

    return {
        "version": version(),
        "langgraph_py_version": importlib.metadata.version("langgraph"),
        "flags": {"assistants": True, "crons": False, "langsmith": False, "langsmith_tracing_replicas": False},
        "host": {"kind": "self-hosted", "product": "consilium"},
    }


@router.get("/metrics")
async def metrics(state: StateDep) -> Response:
    """This process's metrics in Prometheus's text form. They name providers and models, no organisation and no user."""
    state.metered.runs = await state.engine.depth()
    return Response(state.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready")
async def ready(state: StateDep) -> Response:
    """Whether requests can be served: each dependency with its status and time."""
    started = time.perf_counter()
    try:
        await ping(state.db)
        database: dict[str, Any] = {"status": "ok", "ms": round((time.perf_counter() - started) * 1000, 1)}
    except (OperationalError, PoolTimeout) as lost:
        database = {"status": "unavailable", "error": type(lost).__name__}
    well = database["status"] == "ok"
    body = {"status": "ready" if well else "unavailable", "dependencies": {"database": database}}
    return Response(dumps(body), status_code=200 if well else 503, media_type="application/json")
