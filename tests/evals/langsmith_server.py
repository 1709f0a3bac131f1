"""A scripted LangSmith over real HTTP: the routes that datasets, examples, experiments and feedback take."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NOW = "2026-11-21T09:00:00+00:00"
TENANT = str(uuid.UUID(int=1))


class LangSmith:
    """`examples`, `sessions`, `feedback` and `runs` are what was stored; `unknown` the requests nothing was there for."""

    def __init__(self) -> None:
        self.url = ""
        self.datasets: list[dict[str, Any]] = []
        self.examples: dict[str, dict[str, Any]] = {}
        self.sessions: list[dict[str, Any]] = []
        self.feedback: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.unknown: list[str] = []

    async def handle(self, request: Request) -> Response:
        parts = request.url.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["info"]:
                flags = {"dataset_examples_multipart_enabled": True, "examples_multipart_enabled": True}
                limits = {
                    "use_multipart_endpoint": False,
                    "size_limit": 100,
                    "size_limit_bytes": 20971520,
                    "scale_up_nthreads_limit": 2,
                    "scale_up_qsize_trigger": 1000,
                    "scale_down_nempty_trigger": 4,
                }
                return JSONResponse({"version": "0.13", "instance_flags": flags, "batch_ingest_config": limits})
            case "GET", ["datasets"]:
                name = request.query_params.get("name")
                return JSONResponse([one for one in self.datasets if one["name"] == name])
            case "POST", ["datasets"]:
                body = json.loads(await request.body())
                shown = {"id": str(uuid.uuid4()), "created_at": NOW, "modified_at": NOW, "data_type": "kv", **body}
                self.datasets.append({**shown, "tenant_id": TENANT})
                return JSONResponse(self.datasets[-1])
            case "GET", ["datasets", dataset]:
                return JSONResponse(next(one for one in self.datasets if one["id"] == dataset))
            case "GET", ["examples"]:
                offset, limit = int(request.query_params.get("offset", 0)), int(request.query_params.get("limit", 100))
                return JSONResponse(list(self.examples.values())[offset : offset + limit])
            case (("POST" | "PATCH"), ["v1", "platform", "datasets", dataset, "examples"]):
                return JSONResponse(await self._store(request, dataset))
            case "POST", ["sessions"]:
                body = json.loads(await request.body())
                self.sessions.append({"id": str(uuid.uuid4()), "start_time": NOW, "tenant_id": TENANT, **body})
                return JSONResponse(self.sessions[-1])
            case "GET", ["sessions", *_]:
                found = [one for one in self.sessions if parts[1:] in ([], [one["id"]])]
                return JSONResponse(found[0] if parts[1:] else found)
            case "PATCH", ["sessions", _]:
                return JSONResponse(self.sessions[-1] | json.loads(await request.body()))
            case "POST", ["runs", "batch"]:
                body = json.loads(await request.body())
                for run in [*body.get("post", []), *body.get("patch", [])]:
                    self.runs[run["id"]] = self.runs.get(run["id"], {}) | run
                return JSONResponse({}, 202)
            case "POST", ["feedback", *_]:
                body = json.loads(await request.body())
                self.feedback += body if isinstance(body, list) else [body]
                return JSONResponse({})
        self.unknown.append(f"{request.method} {request.url.path}")
        return JSONResponse({"detail": "not scripted"}, 404)

    async def _store(self, request: Request, dataset: str) -> dict[str, Any]:
        form = await request.form()
        ids = set()
        for name, value in form.multi_items():
            key, _, part = name.partition(".")
            raw = value if isinstance(value, str) else (await value.read()).decode()
            example = self.examples.setdefault(key, {"id": key, "dataset_id": dataset, "created_at": NOW})
            ids.add(key)
            if part:
                example[part] = json.loads(raw)
            else:
                example["metadata"] = json.loads(raw).get("metadata")
            example["modified_at"] = NOW
        return {"count": len(ids), "example_ids": sorted(ids)}


@contextmanager
def serve_langsmith() -> Iterator[LangSmith]:
    """The server, up while the block runs, in a thread of its own: its client blocks the caller's."""
    scripted = LangSmith()
    methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
    app = Starlette(routes=[Route("/{rest:path}", scripted.handle, methods=methods)])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=2))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started:
        time.sleep(0.01)
    scripted.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.should_exit = True
        running.join(10)
