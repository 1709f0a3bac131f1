"""A server for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.serving import Served, serve, settings_for


@pytest.fixture
async def server(owner_dsn: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(settings_for(owner_dsn, tmp_path)) as served:
        yield served
