"""The page of quality: what the last evaluation measured, against what it should be, and each case that failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from console.context import Context
from console.naming import tool_title
from console.texts import TEXTS, number
from console.theme import box, page_head, text

MAX_CASES: Final = 200


class EvalsPage:
    """The figures with their definitions, the suites, the failing cases; without a report, how to make one."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        told = await context.api.call("GET", "/v1/evals")
        with box("page"):
            page_head(t("evals.title"), t("evals.lead"))
            if told["report"] is None:
                self._none(told)
            else:
                self._report(told["report"])

    def _none(self, told: Mapping[str, Any]) -> None:
        t = self._context.t
        with box("card stack empty-card").mark("evals-none"):
            ui.icon("fact_check", size="34px").classes("faint")
            text(t("evals.broken" if told["problem"] else "evals.none"), "strong", "h2")
            if told["problem"]:
                text(str(told["problem"]), "small muted anywhere")
            text(t("evals.how"), "muted")
            text(str(told["command"]), "code", "pre").props("tabindex=0")
            text(t("evals.how_more"), "faint small")

    def _report(self, report: Mapping[str, Any]) -> None:
        t = self._context.t
        self._totals(report)
        for notice in report["notices"]:
            text(str(notice), "notice small")
        for model, n in report["answered_by_others"].items():
            text(t("evals.others", model=model, n=n), "notice warn small")
        text(t("evals.metrics"), "section", "h2")
        self._metrics(report["metrics"], report["short"])
        if report["retrieval"]:
            text(t("evals.retrieval"), "section", "h2")
            self._metrics(report["retrieval"], report["short"], languages=False)
        text(t("evals.failing", n=len(report["failing"])), "section", "h2")
        if not report["failing"]:
            text(t("evals.none_failing"), "card empty")
        for suite in report["suites"]:
            self._suite(suite, [case for case in report["failing"] if case["suite"] == suite["suite"]])

    def _totals(self, report: Mapping[str, Any]) -> None:
        t = self._context.t
        played = sum(one["passed"] + one["failing"] for one in report["suites"])
        skipped = sum(one["skipped"] for one in report["suites"])
        verdict, colour = ("evals.short", "bad") if report["short"] else ("evals.reached", "good")
        with box("row-line").mark("evals-total"):
            text(t(verdict, n=len(report["short"])), f"chip {colour}", "span")
            text(str(report["model"]), "chip mono", "span")
            text(t("evals.played", n=number(played, self._context.preferences.language)), "chip", "span")
            if skipped:
                text(t("evals.skipped", n=skipped), "chip warn", "span")
            text(t("graph.seconds", n=round(report["seconds"])), "chip", "span")
            if report["finished_at"]:
                text(self._context.moment(report["finished_at"]), "chip", "span")

    def _metrics(self, metrics: Mapping[str, Any], short: list[str], *, languages: bool = True) -> None:
        t = self._context.t
        with box("card scroll-x"), box("table evals-table", "table"):
            with box("", "thead"), box("", "tr"):
                text(t("evals.metric"), tag="th")
                for key in ("evals.all", *(("evals.en", "evals.ru") if languages else ()), "evals.threshold"):
                    text(t(key), "n", "th")
            with box("", "tbody"):
                for name, metric in metrics.items():
                    self._metric(name, metric, name in short, languages)

    def _metric(self, name: str, metric: Mapping[str, Any], short: bool, languages: bool) -> None:
        t = self._context.t
        with box("short" if short else "", "tr").mark("metric"):
            with box("", "td"):
                text(t(f"metric.{name}") if f"metric.{name}" in TEXTS else name, "strong")
                about = f"measures.{name}"
                text(t(about) if about in TEXTS else str(metric["definition"]), "faint small")
                text(name, "faint mono")
            with _labelled(t("evals.all")):
                text(self._value(metric, metric["value"]), "strong")
                if metric["of"] is not None:
                    text(t("evals.of", got=metric["got"], of=metric["of"]), "faint small")
            for language in ("en", "ru") if languages else ():
                with _labelled(t(f"evals.{language}")):
                    text(self._value(metric, metric[language]))
            with _labelled(t("evals.threshold")):
                if metric["threshold"]:
                    bound = str(metric["threshold"]).replace(">=", "≥").replace("<=", "≤")
                    text(self._local(bound), "small")
                    text(t("evals.is_short" if short else "evals.ok"), f"chip {'bad' if short else 'good'}", "span")
                else:
                    text("—", "faint")

    def _value(self, metric: Mapping[str, Any], value: float | None) -> str:
        if value is None:
            return "—"
        return str(round(value)) if metric["kind"] == "count" else self._local(f"{value:.3f}")

    def _local(self, value: str) -> str:
        return value.replace(".", ",") if self._context.preferences.language == "ru" else value

    def _suite(self, suite: Mapping[str, Any], failing: list[Mapping[str, Any]]) -> None:
        if not failing:
            return
        t, name = self._context.t, str(suite["suite"])
        shown = t(f"suite.{name}") if f"suite.{name}" in TEXTS else name
        played = suite["passed"] + suite["failing"]
        with box("stack").style("gap:6px"):
            text(t("evals.suite", suite=shown, n=len(failing), all=played), "field-name")
            for case in failing[:MAX_CASES]:
                self._case(case)

    def _case(self, case: Mapping[str, Any]) -> None:
        asked = case["exchanges"][-1]["asked"] if case["exchanges"] else case["id"]
        with ui.expansion().props("dense").classes("step").mark("eval-case") as fold:
            with fold.add_slot("header"), box("step-head"):
                text(str(case["id"]), "mono faint").style("flex:none")
                text(str(asked), "one-line grow")
        built: list[bool] = []

        def opened(wanted: bool) -> None:
            # Most are never opened, and there may be many.
            if wanted and not built:
                built.append(True)
                with fold:
                    self._conversation(case)

        fold.on_value_change(lambda event: opened(bool(event.value)))

    def _conversation(self, case: Mapping[str, Any]) -> None:
        t = self._context.t
        for one in case["problems"]:
            key = f"metric.{one['metric']}"
            with box("notice bad small"):
                text(t(key) if key in TEXTS else str(one["metric"]), "strong")
                text(str(one["problem"]), "anywhere")
        for exchange in case["exchanges"]:
            with box("exchange stack").style("gap:6px"):
                text(f"{exchange['user']} · {exchange['organization']}", "faint small")
                text(str(exchange["asked"]), "strong anywhere")
                for call in exchange["calls"]:
                    status = f" · {call['status']}" if call["status"] else ""
                    text(f"{call['agent']} → {tool_title(call['name'], t)}{status}", "mono muted anywhere")
                if exchange["answer"]:
                    text(str(exchange["answer"]), "code")
                if exchange["error"]:
                    text(str(exchange["error"]), "notice bad small")
                facts = [str(exchange["stop_reason"] or ""), ", ".join(exchange["models"])]
                text(" · ".join(fact for fact in facts if fact), "faint small")


def _labelled(label: str) -> ui.element:
    """A cell that says what it is where there is no room for a head."""
    return box("n", "td").props(f'data-label="{label}"')
