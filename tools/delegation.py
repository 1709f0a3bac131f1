"""`switch_to_subagent` and `finish_subagent`: their schemas. nodes/delegate.py and nodes/tools.py carry them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.skills import Skill

SWITCH = "switch_to_subagent"
FINISH = "finish_subagent"


def switch_tool(specialists: Sequence[Skill]) -> dict[str, Any]:
    """The delegation tool over these specialists, in the OpenAI function format."""
    agents = "\n".join(f"- {skill.name}: {' '.join(skill.description.split())}" for skill in specialists)
    return {
        "type": "function",
        "function": {
            "name": SWITCH,
            "description": (
                "Hand a task over to a specialist. It works in a conversation of its own, sees only the task and context you "
                "give it, and its summary comes back as this call's result. Call it several times in one step to ask several "
                f"specialists at once.\n{agents}"
            ),
            "parameters": {
                "type": "object",
                "properties": {
                    "agent": {"type": "string", "enum": [skill.name for skill in specialists]},
                    "task": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 8000,
                        "description": "What to find out or do, complete in itself, in the user's language.",
                    },
                    "context": {
                        "type": "string",
                        "maxLength": 8000,
                        "default": "",
                        "description": "What the specialist must know from this conversation; it sees nothing else of it.",
                    },
                    "child_thread_id": {
                        "type": "string",
                        "description": "To continue an earlier consultation of this conversation, its id.",
                    },
                },
                "required": ["agent", "task"],
                "additionalProperties": False,
            },
        },
    }


def finish_tool() -> dict[str, Any]:
    """The tool by which a specialist ends its task, in the OpenAI function format."""
    return {
        "type": "function",
        "function": {
            "name": FINISH,
            "description": (
                "End the task and give your result to the supervisor. Call it when you are done; answer in plain text instead "
                "only to ask the user something you need."
            ),
            "parameters": {
                "type": "object",
                "properties": {
                    "summary": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 20000,
                        "description": "The complete result, in the user's language, with [n] after each statement that a "
                        "numbered source supports.",
                    },
                    "citations": {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 1},
                        "default": [],
                        "description": "The numbers of the sources the summary cites.",
                    },
                },
                "required": ["summary"],
                "additionalProperties": False,
            },
        },
    }
