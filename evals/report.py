"""The results as a table for the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.metrics import Measured
from evals.runner import Played, Results
from evals.thresholds import Threshold, missed
from evals.xquad import FIGURES

Row = tuple[str, str, str, str, str, str]


def values_of(results: Results) -> dict[str, float | None]:
    """Every figure by name, retrieval included."""
    return {**{name: one.value for name, one in results.metrics().items()}, **results.retrieval}


def rows(results: Results, thresholds: Mapping[str, Threshold]) -> list[Row]:
    """(metric, all, en, ru, threshold, verdict)."""
    values = values_of(results)
    short = missed(thresholds, values)
    both, english, russian = results.metrics(), results.metrics("en"), results.metrics("ru")
    table: list[Row] = []
    for name, measured in both.items():
        table.append(
            (
                name,
                _shown(measured),
                _shown(english.get(name)),
                _shown(russian.get(name)),
                str(thresholds.get(name, "")),
                _verdict(name, thresholds, short),
            )
        )
    for name, value in results.retrieval.items():
        table.append((name, f"{value:.3f}", "", "", str(thresholds.get(name, "")), _verdict(name, thresholds, short)))
    return table


def _verdict(name: str, thresholds: Mapping[str, Threshold], short: list[str]) -> str:
    return "short" if name in short else "ok" if name in thresholds else ""


def _shown(measured: Measured | None) -> str:
    if measured is None or measured.value is None:
        return "-"
    if measured.metric.kind == "count":
        return f"{measured.got} of {measured.of}"
    return f"{measured.value:.3f} ({measured.got}/{measured.of})"


def table(results: Results, thresholds: Mapping[str, Threshold]) -> str:
    """For the terminal."""
    lines: list[Row] = [("metric", "all", "en", "ru", "threshold", ""), *rows(results, thresholds)]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    played = len(results.played) - len(results.skipped)
    drawn.append(
        f"\n{results.model}: {played} cases played in {results.seconds:.0f} s, {len(results.failing)} with something "
        f"missing, {len(results.skipped)} skipped"
    )
    drawn += [f"skipped {count}: {why}" for why, count in _reasons(results).items()]
    drawn += [f"answered by {model} instead or too: {count} cases" for model, count in results.substitutes.items()]
    drawn += list(results.notices)
    return "\n".join(drawn)


def _reasons(results: Results) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for one in results.skipped:
        reasons[str(one.conversation.skipped)] = reasons.get(str(one.conversation.skipped), 0) + 1
    return reasons


def as_json(results: Results, thresholds: Mapping[str, Threshold]) -> dict[str, Any]:
    """Everything: figures, thresholds, and each case with its conversation."""
    values = values_of(results)
    return {
        "model": results.model,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(results.seconds, 1),
        "short": missed(thresholds, values),
        "notices": list(results.notices),
        "answered_by_others": results.substitutes,
        "metrics": {
            name: {
                "value": one.value,
                "got": one.got,
                "of": one.of,
                "kind": one.metric.kind,
                "definition": one.metric.definition,
                "threshold": str(thresholds[name]) if name in thresholds else None,
                "en": _value(results.metrics("en").get(name)),
                "ru": _value(results.metrics("ru").get(name)),
            }
            for name, one in results.metrics().items()
        },
        "retrieval": {
            name: {
                "value": value,
                "definition": FIGURES[name],
                "threshold": str(thresholds[name]) if name in thresholds else None,
            }
            for name, value in results.retrieval.items()
        },
        "cases": [_case(one) for one in results.played],
    }


def _value(measured: Measured | None) -> float | None:
    return None if measured is None else measured.value


def _case(played: Played) -> dict[str, Any]:
    return {
        "id": played.case.id,
        "suite": played.case.suite,
        "language": played.case.language,
        "passed": None if played.conversation.skipped is not None else played.passed,
        "problems": [{"metric": metric, "problem": problem} for metric, problem in played.problems],
        "expected": played.case.model_dump(mode="json", exclude_defaults=True, by_alias=True),
        **played.conversation.as_json(),
    }


def write_json(file: Path, results: Results, thresholds: Mapping[str, Threshold]) -> None:
    """UTF-8, indented; who reads the file meanwhile has the one before or this one."""
    written = file.with_suffix(".new")
    written.write_text(json.dumps(as_json(results, thresholds), ensure_ascii=False, indent=1), "utf-8")
    written.replace(file)
