"""`finish`: the last message of a turn becomes the answer, with its citations checked and attached."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from domain.knowledge import Source
from nodes.state import State, Turn, changed
from nodes.texts import text
from retrieval.cite import resolve, to_content_blocks


def make() -> Any:
    """The node, the same for every agent."""

    async def finish(state: State) -> dict[str, Any]:
        turn = state["turn"]
        sources = [Source.model_validate(source) for source in state["sources"]]
        if (
            result := state.get("finish")
        ) is not None:  # a specialist's: its summary is the answer, given to the supervisor
            return {"citations": [c.model_dump(mode="json") for c in resolve(result["summary"], sources).citations]}
        message = state["messages"][-1]
        assert isinstance(message, AIMessage), "the graph comes here only from an answer"
        if message.response_metadata.get("structured"):
            return {"messages": [_structured(message, turn)]}
        said = message.text or text("empty_answer", turn["language"])
        resolved = resolve(said, sources)
        stop_reason = (
            turn["stop_reason"]
            or message.response_metadata.get("stop_reason")
            or ("completed" if message.text else "provider_failure")
        )
        answer = AIMessage(
            content=list(to_content_blocks(resolved.text, resolved.citations)),
            id=message.id,
            name=message.name,
            usage_metadata=message.usage_metadata,
            additional_kwargs=message.additional_kwargs,
            response_metadata={**message.response_metadata, "stop_reason": stop_reason, "agents": turn["agents"]},
        )
        citations = [citation.model_dump(mode="json") for citation in resolved.citations]
        return {"messages": [answer], **changed(state, citations=citations)}

    return finish


def _structured(message: AIMessage, turn: Turn) -> AIMessage:
    """JSON has no markers: its brackets are its own."""
    stop_reason = turn["stop_reason"] or message.response_metadata.get("stop_reason") or "completed"
    ended = {"stop_reason": stop_reason, "agents": turn["agents"]}
    return message.model_copy(update={"response_metadata": {**message.response_metadata, **ended}})
