"""Skills of the operator: graphs/skills.yaml, prompts as files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from domain.errors import ConfigurationError
from domain.skills import MAIN, Skill
from providers.structured import JsonPrompts

DIRECTORY = Path(__file__).parent


def load_skills(path: Path = DIRECTORY / "skills.yaml") -> dict[str, Skill]:
    """The skills by name, `main` among them. Raises ConfigurationError naming the entry, the field and the fix."""
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))["skills"]
    skills = {skill.name: skill for skill in (_skill(path, entry) for entry in entries)}
    if MAIN not in skills:
        raise ConfigurationError(f"{path}: the skill '{MAIN}' is missing; it is the supervisor")
    return skills


def load_json_prompts() -> JsonPrompts:
    """What models are told where their answer is to be JSON."""
    answer, schema, repair = (
        (DIRECTORY / "prompts" / name).read_text("utf-8") for name in ("json.md", "json_schema.md", "json_repair.md")
    )
    return JsonPrompts(answer, schema, repair)


def load_summary_prompt() -> str:
    """What a model is told that summarises a conversation."""
    return (DIRECTORY / "prompts" / "summary.md").read_text("utf-8").strip()


def _skill(path: Path, entry: dict[str, Any]) -> Skill:
    name = entry.get("name", "?")
    prompt = path.parent / "prompts" / str(entry.get("prompt"))
    try:
        return Skill.model_validate({**entry, "prompt": prompt.read_text("utf-8")})
    except FileNotFoundError as missing:
        raise ConfigurationError(f"{path}: skill '{name}': its prompt {prompt} does not exist; write it") from missing
    except ValidationError as wrong:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in wrong.errors())
        raise ConfigurationError(f"{path}: skill '{name}': {problems}") from wrong
