"""The floor P1 is measured against: FastAPI + LangGraph + AsyncPostgresSaver in the request's task, public libraries only."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

# The library's own retries: without them a kept connection that the upstream has just closed ends a whole answer in its middle.
model = ChatOpenAI(model="bench", base_url=os.environ["OPENAI_BASE_URL"], api_key="none", stream_usage=True)


async def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await model.ainvoke(state["messages"])]}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    kwargs = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0}
    async with AsyncConnectionPool(os.environ["BENCH_DSN"], min_size=4, max_size=20, kwargs=kwargs) as pool:
        saver = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
        await saver.setup()
        graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)
        app.state.graph = graph.compile(checkpointer=saver)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/{thread_id}")
async def turn(thread_id: str, body: dict[str, Any]) -> StreamingResponse:
    async def tokens() -> AsyncIterator[str]:
        config = {"configurable": {"thread_id": thread_id}}
        async for chunk, _ in app.state.graph.astream({"messages": body["messages"]}, config, stream_mode="messages"):
            yield f"data: {chunk.model_dump_json()}\n\n"

    return StreamingResponse(tokens(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), log_level="error")
