"""`langgraph dev` (LangGraph Studio's server) starts offline, without keys, and every graph of langgraph.json runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "Какая неустойка за просрочку поставки по договору?"
KEYS = (
    "OPENAI_",
    "OPENROUTER_",
    "DEEPSEEK_",
    "GEMINI_",
    "MOONSHOT_",
    "OLLAMA_",
    "LANGSMITH_",
    "LANGCHAIN_",
    "CONSILIUM_",
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a running `langgraph dev`, started in a copy of what it needs: it writes beside langgraph.json."""
    described = json.loads((ROOT / "langgraph.json").read_text("utf-8"))
    (tmp_path / "langgraph.json").write_text(json.dumps(described))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(KEYS)}
    environ |= {
        "CONSILIUM_DATA_DIR": str(tmp_path / "data"),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
        "PYTHONPATH": str(ROOT),
    }
    port = free_port()
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as http:
            while True:
                assert process.poll() is None, (tmp_path / "log").read_text("utf-8")[-4000:]
                try:
                    if (await http.get(f"{url}/ok")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.timeout(240)
async def test_every_graph_answers_in_studio(studio: str) -> None:
    graphs = json.loads((ROOT / "langgraph.json").read_text("utf-8"))["graphs"]
    async with get_client(url=studio, api_key=None) as client:
        assert {assistant["graph_id"] for assistant in await client.assistants.search()} == set(graphs)
        for graph in graphs:
            values = await client.runs.wait(None, graph, input={"messages": [{"role": "user", "content": QUESTION}]})
            assert isinstance(values, dict)
            answer = values["messages"][-1]
            assert "неустойку в размере 0,1 %" in str(answer["content"]), graph
            assert values["citations"], graph
