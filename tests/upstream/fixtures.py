"""Fixtures over the scripted model server. `pytest_plugins = ["tests.upstream.fixtures"]` in tests/conftest.py gives
them to all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retrieval.analyse import analyse
from tests.upstream.reply import competent
from tests.upstream.server import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that behaves like a competent model; give it another `policy`, or let it `fail`."""
    with Upstream(competent(analyse)) as server:
        yield server
