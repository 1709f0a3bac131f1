"""The HTTP application: middleware, routes, errors; its lifespan opens what server/wiring.py wires."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from domain.settings import Settings
from server import errors, logs
from server.door import Door, Failures
from server.middleware import Trace
from server.openai_door import OpenAIErrors
from server.routes import (
    assistants,
    completions,
    documents,
    embeddings,
    evals,
    explain,
    generate,
    health,
    jobs,
    mcp_servers,
    models,
    notes,
    policies,
    quotas,
    runs,
    skills,
    threads,
    usage,
    v1,
)
from server.wiring import open_state

EXPOSED = [
    "Content-Location",
    "ETag",
    "Location",
    "X-Trace-Id",
    "X-Pagination-Total",
    "X-Pagination-Next",
    "X-Consilium-Call-Id",
    "X-Consilium-Provider",
    "X-Consilium-Ignored",
    "Retry-After",
]


def create_app(settings: Settings) -> FastAPI:
    """The application of one replica. Nothing is opened before its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure_logging(settings.log_level, settings.log_format)
        async with open_state(settings) as state:
            app.state.consilium = state
            yield

    app = FastAPI(
        title="Consilium",
        version=version(),
        summary="Agents for organisations: a supervisor and specialists with cited answers.",
        lifespan=lifespan,
    )
    errors.install(app)
    # the busiest first: routes are matched one after the other
    app.router.routes.append(completions.QUICK)
    for module in (
        completions,
        runs,
        health,
        assistants,
        threads,
        explain,
        documents,
        notes,
        mcp_servers,
        policies,
        skills,
        quotas,
        usage,
        embeddings,
        models,
        generate,
        jobs,
        evals,
        v1,
    ):
        app.include_router(module.router)
    app.add_middleware(
        Door,
        identify=lambda headers: app.state.consilium.authenticator.identify(headers),
        max_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_document_bytes,
        open_paths=("/console/",) if settings.console else (),
    )
    app.add_middleware(Failures)
    app.add_middleware(OpenAIErrors)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
    app.add_middleware(Trace)
    return app


def version() -> str:
    """The product's version; the source tree's where it isn't installed as a package."""
    try:
        return importlib.metadata.version("consilium")
    except importlib.metadata.PackageNotFoundError:
        return "0.1.0"
