"""The thresholds of evals/thresholds.yaml against what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from domain.errors import ConfigurationError
from evals.metrics import BY_NAME
from evals.xquad import FIGURES

FILE = Path(__file__).resolve().parent / "thresholds.yaml"


@dataclass(frozen=True, slots=True)
class Threshold:
    """`at_least` for shares, `at_most` for counts."""

    at_least: float | None = None
    at_most: float | None = None

    def reached(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


def read(model: str, file: Path = FILE) -> dict[str, Threshold]:
    """The thresholds for a model: those for `any`, and its own over them. Raises ConfigurationError for a metric that
    doesn't exist."""
    content = yaml.safe_load(file.read_text("utf-8"))
    merged = {**content.get("any", {}), **content.get(model, {})}
    unknown = [name for name in merged if name not in BY_NAME and name not in FIGURES]
    if unknown:
        raise ConfigurationError(f"{file.name} names metrics that don't exist: {', '.join(unknown)}", metrics=unknown)
    return {name: Threshold(**bounds) for name, bounds in merged.items()}


def missed(thresholds: Mapping[str, Threshold], values: Mapping[str, float | None]) -> list[str]:
    """The metrics that fall short. What was not measured falls short of nothing."""
    found = []
    for name, threshold in thresholds.items():
        value = values.get(name)
        if value is not None and not threshold.reached(value):
            found.append(name)
    return found
