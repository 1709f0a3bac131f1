"""A real server for a test: uvicorn in the test's own event loop, on a free port, over the test's own database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import uvicorn
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from domain.identity import Role
from domain.ids import DocumentId, organization_id
from domain.settings import Settings, load_settings
from server.app import create_app
from server.auth import issue_token
from server.deps import AppState
from storage import embedded

SECRET = "a-secret-of-the-tests-that-is-long-enough-0123456789"


def settings_for(owner_dsn: str, data_dir: Path, **environ: str) -> Settings:
    """Settings of a server over this database; `environ` holds further variables."""
    return load_settings(
        {
            "DATABASE_URL": owner_dsn,
            "CONSILIUM_DATABASE_APP_URL": embedded.application_dsn(owner_dsn, user="consilium_app"),
            "CONSILIUM_DATA_DIR": str(data_dir),
            "CONSILIUM_JWT_SECRET": SECRET,
            "CONSILIUM_POOL_MIN": "1",
            "CONSILIUM_LOG_LEVEL": "error",
            **environ,
        }
    )


@dataclass
class Served:
    """A running server."""

    url: str
    settings: Settings
    state: AppState

    def token(self, organization: str = "acme", user: str = "ann", role: Role = "admin") -> str:
        return issue_token(self.settings, organization, user, [role], timedelta(hours=1))

    def http(self, organization: str = "acme", user: str = "ann", role: Role = "admin") -> httpx.AsyncClient:
        """A client with a token of its own."""
        headers = {"Authorization": f"Bearer {self.token(organization, user, role)}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    def sdk(self, organization: str = "acme", user: str = "ann", role: Role = "admin") -> LangGraphClient:
        """The official SDK with a token of its own."""
        headers = {"Authorization": f"Bearer {self.token(organization, user, role)}"}
        return get_client(url=self.url, api_key=None, headers=headers)

    async def upload(
        self, name: str, text: str | bytes, *, organization: str = "acme", media_type: str = "text/markdown"
    ) -> str:
        """Add a document and wait until it is searchable. Returns its id."""
        data = text.encode() if isinstance(text, str) else text
        async with self.http(organization) as http:
            answer = await http.post("/v1/documents", files={"file": (name, data, media_type)})
            assert answer.status_code == 202, answer.text
            document_id = str(answer.json()["document_id"])
        await self.state.index.wait_ready(organization_id(organization), DocumentId(document_id))
        return document_id


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Served]:
    """The server, up while the block runs."""
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            lifespan="on",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=60,  # longer than clients keep theirs: none is used again while it is being closed
        )
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            await running
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", settings, app.state.consilium)
    finally:
        server.should_exit = True
        await running
