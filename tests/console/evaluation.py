"""A small report of an evaluation, as `make eval` leaves it."""

from __future__ import annotations

from typing import Any

METRIC = {
    "value": 0.5,
    "got": 1,
    "of": 2,
    "kind": "share",
    "definition": "D.",
    "threshold": ">= 0.9",
    "en": 0.5,
    "ru": None,
}
EXCHANGE = {
    "user": "ann", "organization": "bakery", "asked": "Who?", "answer": "Ask the lawyer.", "stop_reason": "completed",
    "models": ["m/m"], "error": None, "calls": [{"agent": "main", "name": "switch_to_subagent", "status": "success"}],
}  # fmt: skip
CASE = {"suite": "routing", "language": "en", "exchanges": [EXCHANGE]}
REPORT: dict[str, Any] = {
    "model": "m/m", "finished_at": "2026-11-21T12:00:00+00:00", "seconds": 12.3, "short": ["routing_accuracy"],
    "notices": ["a notice"], "answered_by_others": {}, "metrics": {"routing_accuracy": METRIC, "new_metric": METRIC},
    "retrieval": {},
    "cases": [
        {**CASE, "id": "r-1", "passed": True, "problems": []},
        {**CASE, "id": "r-2", "passed": False, "problems": [{"metric": "routing_accuracy", "problem": "went to legal"}]},
    ],
}  # fmt: skip
