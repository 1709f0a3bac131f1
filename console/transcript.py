"""A turn as it is shown: read from the parts of a run's stream, or from the messages of a conversation. Knows no widgets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

TurnStatus = Literal["running", "done", "failed", "stopped", "waiting"]
"""`waiting` is for a person's decision."""
MAIN: Final = "main"
DELEGATE: Final = "switch_to_subagent"
REPORT: Final = "finish_subagent"
"""The call by which a specialist reports to whoever asked it."""
OWN_SPECIALIST: Final = "organization_specialist"
"""The node in which every specialist of the organisation's own works."""
_CANCELLED: Final = frozenset({"cancelled", "run_cancelled", "interrupted"})


@dataclass(slots=True)
class ToolCall:
    """One call of a tool. `duration_ms` and `result` are None where they aren't known."""

    call_id: str
    agent: str
    name: str
    arguments: Any
    status: str = "running"
    duration_ms: int | None = None
    error: Mapping[str, Any] | None = None
    result: str | None = None


@dataclass(slots=True)
class Child:
    """What a specialist was asked, and what it did. `thread_id` opens its conversation."""

    call_id: str | None
    agent: str
    task: str
    thread_id: str | None
    status: str = "waiting"
    error: Mapping[str, Any] | None = None
    calls: list[ToolCall] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None

    @property
    def text(self) -> str:
        return _joined(self.texts)


@dataclass(slots=True)
class Retraction:
    """What a reader had seen of an answer was taken back."""

    provider: str | None
    model: str | None
    reason: str | None


@dataclass(slots=True)
class Turn:
    """A question and all that came of it, the newest state of what is to be shown."""

    question: str
    message_id: str | None = None
    """The question's, as the run keeps it."""
    run_id: str | None = None
    status: TurnStatus = "running"
    steps: list[ToolCall | Child] = field(default_factory=list)
    """Of the supervisor, in the order in which they began."""
    texts: dict[str, str] = field(default_factory=dict)
    answer: str | None = None
    """The final text; None until there is one."""
    citations: list[dict[str, Any]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    provider: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    error: Mapping[str, Any] | None = None
    retractions: list[Retraction] = field(default_factory=list)
    resumes_at: str | None = None
    """When a run that has no tokens left goes on."""
    interrupts: list[Mapping[str, Any]] = field(default_factory=list)
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Prompt and completion by message, specialists' included."""

    @property
    def text(self) -> str:
        """The answer, or what there is of it."""
        return self.answer if self.answer is not None else _joined(self.texts)

    @property
    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens; None where none were told."""
        if not self.tokens:
            return None
        return sum(prompt for prompt, _ in self.tokens.values()), sum(done for _, done in self.tokens.values())

    @property
    def children(self) -> list[Child]:
        return [step for step in self.steps if isinstance(step, Child)]

    def read(self, event: str, data: Any) -> None:
        """Take one part of the run's stream. `event` carries the namespace; what isn't known is passed over."""
        method, _, namespace = event.partition("|")
        match method:
            case "metadata" if isinstance(data, Mapping):
                self.run_id = data.get("run_id")
            case "messages":
                self._message(data[0], namespace)
            case "updates" if isinstance(data, Mapping):
                self._updates(data, namespace)
            case "custom" if isinstance(data, Mapping):
                self._custom(data, namespace)
            case "error":
                self._failed(data)
            case "end" if self.status == "running":
                self.status = "done" if self.answer is not None else "waiting" if self.interrupts else "stopped"

    def _failed(self, data: Any) -> None:
        told = data if isinstance(data, Mapping) else {"message": str(data)}
        code = str(told.get("error_code") or told.get("error") or "")
        self.status = "stopped" if code.lower() in _CANCELLED else "failed"
        self.error = told

    def _message(self, message: Mapping[str, Any], namespace: str) -> None:
        kind, key = message.get("type"), str(message.get("id"))
        texts = self._child_of(namespace, message.get("name")).texts if namespace else self.texts
        if kind == "remove":
            texts.pop(key, None)
        elif kind == "AIMessageChunk" and (text := text_of(message)):
            self.resumes_at = None
            texts[key] = texts.get(key, "") + text

    def _updates(self, data: Mapping[str, Any], namespace: str) -> None:
        for node, update in data.items():
            if node == "__interrupt__":
                self.interrupts = [one for one in update if isinstance(one, Mapping)]
                continue
            if not isinstance(update, Mapping):
                continue
            for message in _messages(update.get("messages")):
                self._count(message)
                if not namespace and node == "finish" and message.get("type") == "ai":
                    self._finished(message)
            if not namespace and node == "finish" and update.get("citations") is not None:
                self.citations = [dict(one) for one in update["citations"]]

    def _finished(self, message: Mapping[str, Any]) -> None:
        self.answer = text_of(message)
        self.citations = citations_of(message)
        about = message.get("response_metadata") or {}
        self.agents = [str(agent) for agent in about.get("agents") or ()]
        self.provider, self.model = about.get("provider"), about.get("model") or about.get("model_name")
        self.stop_reason = about.get("stop_reason")
        self.status = "stopped" if self.stop_reason == "cancelled" else "done"

    def _count(self, message: Mapping[str, Any]) -> None:
        usage = message.get("usage_metadata")
        if message.get("type") == "ai" and usage:
            self.tokens[str(message.get("id"))] = (usage["input_tokens"], usage["output_tokens"])

    def _custom(self, data: Mapping[str, Any], namespace: str) -> None:
        match data.get("type"):
            case "tool_call":
                self._tool_call(data, namespace)
            case "delegation":
                self._delegation(data)
            case "retraction":
                texts = self._child_of(namespace).texts if namespace else self.texts
                texts.pop(str(data.get("message_id")), None)
                self.retractions.append(
                    Retraction(data.get("provider"), data.get("model"), data.get("reason") or data.get("error_code"))
                )
            case "quota_wait":
                self.resumes_at = data.get("resumes_at")
            case "route":
                self.resumes_at = None

    def _tool_call(self, data: Mapping[str, Any], namespace: str) -> None:
        calls: list[Any] = self._child_of(namespace, data.get("agent")).calls if namespace else self.steps
        call_id = str(data.get("tool_call_id"))
        known = next((one for one in calls if isinstance(one, ToolCall) and one.call_id == call_id), None)
        if known is None:
            known = ToolCall(call_id, str(data.get("agent")), str(data.get("name")), data.get("arguments"))
            calls.append(known)
        known.status = str(data.get("status"))
        known.duration_ms, known.error = data.get("duration_ms"), data.get("error")

    def _delegation(self, data: Mapping[str, Any]) -> None:
        thread_id = data.get("child_thread_id")
        call_id = data.get("tool_call_id")
        child = next(
            (
                one
                for one in self.children
                # Of a conversation that is read again only the call is known until its result is there.
                if one.thread_id == thread_id or (one.thread_id is None and call_id and one.call_id == call_id)
            ),
            None,
        )
        if child is None:
            child = Child(call_id, str(data.get("agent")), str(data.get("task") or ""), thread_id)
            self.steps.append(child)
        child.thread_id = thread_id or child.thread_id
        child.status, child.error = str(data.get("status")), data.get("error")

    def _child_of(self, namespace: str, said: Any = None) -> Child:
        """Whose namespace it is: the first of that agent that has none yet; one that was there before, where nobody waits.

        The organisation's own specialists share a node: `said` is which of them it is, where the event tells.
        """
        known = next((one for one in self.children if one.namespace == namespace), None)
        if known is not None:
            return known
        agent = namespace.partition(":")[0]
        if agent == OWN_SPECIALIST and said:
            agent = str(said)
        for child in self.children:
            if child.agent == agent and child.namespace is None:
                child.namespace = namespace
                return child
        inner = next((one for one in self.children if namespace.startswith(f"{one.namespace}|")), None)
        if inner is not None:
            return inner
        child = Child(None, agent, "", None, namespace=namespace)
        self.steps.append(child)
        return child


def turns_of(messages: Iterable[Mapping[str, Any]]) -> list[Turn]:
    """The turns of a conversation from its messages, oldest first. A turn without an answer is `stopped`."""
    turns: list[Turn] = []
    for message in messages:
        kind = message.get("type")
        if kind == "human":
            turns.append(Turn(text_of(message), message_id=message.get("id"), status="stopped"))
        elif turns and kind == "ai":
            _past_answer(turns[-1], message)
        elif turns and kind == "tool":
            _past_result(turns[-1], message)
    return turns


def _past_answer(turn: Turn, message: Mapping[str, Any]) -> None:
    turn._count(message)
    calls = message.get("tool_calls") or []
    for call in calls:
        arguments = call.get("args") or {}
        if call.get("name") == DELEGATE:
            task, agent = str(arguments.get("task") or ""), str(arguments.get("agent") or "")
            turn.steps.append(Child(call.get("id"), agent, task, None))
        else:
            agent = str(message.get("name") or MAIN)
            turn.steps.append(ToolCall(str(call.get("id")), agent, str(call.get("name")), arguments, "succeeded"))
    if not calls and text_of(message):
        turn._finished(message)


def _past_result(turn: Turn, message: Mapping[str, Any]) -> None:
    call_id, failed = message.get("tool_call_id"), message.get("status") == "error"
    for step in turn.steps:
        if step.call_id != call_id:
            continue
        if isinstance(step, Child):
            step.thread_id = (message.get("artifact") or {}).get("child_thread_id")
            step.status = "failed" if failed else "completed"
        else:
            step.status, step.result = "failed" if failed else "succeeded", text_of(message)


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message whose content is a string or blocks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(block if isinstance(block, str) else str(block.get("text") or "") for block in blocks)


def citations_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The citations a final message carries, as the state's `citations` are shaped."""
    content = message.get("content")
    found: list[dict[str, Any]] = []
    for block in content if isinstance(content, list) else []:
        for note in (block.get("annotations") or []) if isinstance(block, Mapping) else []:
            if note.get("type") != "citation":
                continue
            about = note.get("extras") or {}
            found.append({**about, "title": note.get("title"), "quote": note.get("cited_text"), "url": note.get("url")})
    return found


def shown_result(text: str) -> str:
    """A tool's result to be read: its content where it is our envelope, else as it is."""
    try:
        told = json.loads(text)
    except ValueError:
        return text
    if isinstance(told, Mapping) and "content" in told:
        told = told["content"] or told.get("error") or ""
    return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False, indent=2)


def _messages(given: Any) -> list[Mapping[str, Any]]:
    several = given if isinstance(given, list) else [given]
    return [one for one in several if isinstance(one, Mapping)]


def _joined(texts: Mapping[str, str]) -> str:
    return "\n\n".join(text for text in texts.values() if text.strip())
