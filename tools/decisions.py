"""What a person answers to an approval request: in LangChain's form, checked against the request before anything goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.approvals import DECISION_TYPES, ActionRequest, ApprovalRequest, DecidedAction, Decision
from domain.errors import InvalidInput, InvalidToolArguments
from domain.text import clean_json
from tools.arguments import validate

MAX_MESSAGE = 2_000


def read_decisions(request: ApprovalRequest, answer: Any, field: str) -> list[Decision]:
    """The decisions, in the order of the request's actions. `field` is where the answer stands in what was sent.

    Raises InvalidInput naming the field that is wrong.
    """
    actions = request["action_requests"]
    field = f"{field}.decisions"
    given = answer.get("decisions") if isinstance(answer, Mapping) else None
    if not isinstance(given, list):
        raise InvalidInput(field, 'is required: a list, as in {"decisions": [{"type": "approve"}]}')
    if len(given) != len(actions):
        names = ", ".join(action["name"] for action in actions)
        raise InvalidInput(field, f"must have {len(actions)} decisions, one for each of {names}; it has {len(given)}")
    schemas = {review["action_name"]: review["args_schema"] for review in request["review_configs"]}
    return [
        _decision(action, schemas[action["name"]], one, f"{field}[{n}]")
        for n, (action, one) in enumerate(zip(actions, given, strict=True))
    ]


def _decision(action: ActionRequest, schema: dict[str, Any], given: Any, field: str) -> Decision:
    if not isinstance(given, Mapping):
        raise InvalidInput(field, 'must be an object, as {"type": "approve"}')
    kind = given.get("type")
    if kind == "approve":
        return {"type": "approve", "tool_call_id": action["tool_call_id"]}
    if kind == "edit":
        return {"type": "edit", "tool_call_id": action["tool_call_id"], "args": _edited(action, schema, given, field)}
    if kind == "reject":
        decision: Decision = {"type": "reject", "tool_call_id": action["tool_call_id"]}
        if (message := given.get("message")) is not None:
            if not isinstance(message, str) or len(message) > MAX_MESSAGE:
                raise InvalidInput(f"{field}.message", f"must be a text of at most {MAX_MESSAGE} characters")
            decision["message"] = clean_json(message)
        return decision
    raise InvalidInput(f"{field}.type", f"must be one of {', '.join(DECISION_TYPES)}", supported=DECISION_TYPES)


def _edited(action: ActionRequest, schema: dict[str, Any], given: Mapping[str, Any], field: str) -> dict[str, Any]:
    field = f"{field}.edited_action"
    edited = given.get("edited_action")
    if not isinstance(edited, Mapping):
        raise InvalidInput(field, "is required: the name and the args to call with")
    if edited.get("name") != action["name"]:
        problem = (
            f"must be '{action['name']}': the arguments can be changed, not the tool; reject the call to have another"
        )
        raise InvalidInput(f"{field}.name", problem)
    if not isinstance(edited.get("args"), dict):
        raise InvalidInput(f"{field}.args", "must be an object")
    try:
        return validate(action["name"], schema, edited["args"])
    except InvalidToolArguments as wrong:
        [first, *_] = wrong.details["fields"]
        where = f"{field}.args" if first == "arguments" else f"{field}.args.{first}"
        raise InvalidInput(where, wrong.message, fields=wrong.details["fields"]) from wrong


def answer_of(decisions: list[Decision]) -> dict[str, Any]:
    """The checked answer as it goes into the graph: each decision names its call."""
    return {"decisions": decisions}


def by_call(request: ApprovalRequest, answer: Any, field: str) -> dict[str, Decision]:
    """Decisions by the id of their calls, from a checked answer or from one as it was sent. Raises InvalidInput."""
    given = answer.get("decisions") if isinstance(answer, Mapping) else None
    if isinstance(given, list) and given and all(isinstance(one, Mapping) and "tool_call_id" in one for one in given):
        return {one["tool_call_id"]: one for one in given}
    return {decision["tool_call_id"]: decision for decision in read_decisions(request, answer, field)}


def decided(request: ApprovalRequest, decisions: list[Decision]) -> list[DecidedAction]:
    """The actions with what was decided about them, to be kept."""
    return [
        {
            "tool_call_id": action["tool_call_id"],
            "name": action["name"],
            "args": action["args"],
            "decision": decision["type"],
            "edited_args": decision.get("args"),
            "message": decision.get("message"),
        }
        for action, decision in zip(request["action_requests"], decisions, strict=True)
    ]
