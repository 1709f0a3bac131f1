"""What a node works with: the services of the process and the context of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import SkipJsonSchema

from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId, new_trace_id, organization_id
from domain.policy import ModelPolicy
from domain.skills import MAIN, Limits, Orchestration, RunMode, Skill

if TYPE_CHECKING:
    from domain.catalogue import Catalogue
    from providers.caller import Caller
    from providers.chooser import Chooser
    from providers.embedder import Embedder
    from providers.registry import Providers
    from providers.structured import JsonPrompts
    from retrieval.recall import Recall
    from retrieval.search import LexicalRetriever
    from storage.children import Children
    from storage.policies import ModelPolicies
    from storage.tool_calls import ToolCalls
    from storage.tool_effects import ToolEffects
    from tools.mcp.servers import McpToolbox
    from tools.registry import Registry


STUDIO_USER = UserId("studio")
STUDIO_THREAD = ThreadId("00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, slots=True)
class RunContext:
    """Who a run is for and how it was asked to behave. Lives in the runtime only: it is never checkpointed.

    The defaults are those of LangGraph Studio, where there is no caller: the sample organisation, no run of ours.
    """

    organization_id: OrganizationId = field(default_factory=lambda: organization_id("demo"))
    organization_name: str = "demo"
    user_id: UserId = STUDIO_USER
    run_id: RunId | None = None
    thread_id: ThreadId = STUDIO_THREAD
    trace_id: TraceId = field(default_factory=new_trace_id)
    mode: RunMode = "chat"
    response_schema: dict[str, Any] | None = None
    """Of the answer in the mode `json`: a checked JSON Schema (draft 2020-12). None allows any JSON value."""
    orchestration: Orchestration = "graph"
    wishes: ModelPolicy = field(default_factory=ModelPolicy)
    """The request's own, of the choice of models."""
    agent: SkipJsonSchema[str] = MAIN
    """Whom the run asks, by the name of its skill."""
    skills: SkipJsonSchema[Mapping[str, Skill] | None] = None
    """Those in force for the organisation at this turn. None: the operator's."""
    trial: SkipJsonSchema[bool] = False
    """Whether a skill is only tried: nothing that a tool could change is changed."""
    waited_seconds: float = 0.0
    """That the turn has waited for tokens or for a person's decision: its deadline is so much later."""
    outlived: bool = True
    """Whether the conversation is there after the run, so that somebody can decide about what waits."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the nodes call. Made once, in the wiring; a graph compiled only to be drawn gets none."""

    skills: Mapping[str, Skill]
    """The operator's."""
    limits: Limits
    catalogue: Catalogue
    providers: Providers
    caller: Caller
    chooser: Chooser
    embedder: Embedder
    policies: ModelPolicies
    retriever: LexicalRetriever
    recall: Recall
    tools: Registry
    mcp: McpToolbox
    tool_calls: ToolCalls
    tool_effects: ToolEffects
    children: Children
    json_prompts: JsonPrompts
    summary_prompt: str
    """What a model is told that summarises a conversation, with a place `{words}`."""
