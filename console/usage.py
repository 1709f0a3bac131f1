"""The usage page: tokens by day, model, agent and person, what they cost, the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from nicegui import ui

from console.agents import Agents
from console.context import Context
from console.texts import number
from console.theme import box, page_head, text

PERIODS: Final = (7, 30, 90)
_PROMPT, _COMPLETION = "#2f8fb3", "#8ac6db"
_GREY: Final = "#8a96a1"
"""Of the chart's letters and lines: readable on the light ground and on the dark one."""


class UsagePage:
    """What the organisation used."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._days = PERIODS[0]

    async def open(self) -> None:
        """Raises ApiError."""
        t = self._context.t
        quotas = await self._context.api.call("GET", "/v1/quotas")
        self._agents = await Agents.load(self._context.api, self._context.preferences.language)
        with box("page"):
            with box("row-line"):
                page_head(t("usage.title"), t("usage.lead"))
                periods = {days: t("usage.days", n=days) for days in PERIODS}
                choice = ui.toggle(periods, value=self._days, on_change=lambda event: self._choose(int(event.value)))
                choice.props(f'flat unelevated no-caps dense aria-label="{t("usage.period")}"').classes("segmented")
            self._limits(quotas)
            self._report = box("stack").style("gap:18px")
            await self._show()

    async def _choose(self, days: int) -> None:
        self._days = days
        with self._context.telling():
            await self._show()

    async def _show(self) -> None:
        by_day = await self._used("day")
        tables = {group: await self._used(group) for group in ("provider,model", "agent", "user")}
        self._report.clear()
        with self._report:
            self._totals(by_day["totals"])
            if not by_day["usage"]:
                text(self._context.t("usage.empty"), "card empty")
                return
            self._chart(by_day["usage"], by_day["today"]["day"])
            with box("cards").style("grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))"):
                self._table("usage.by_model", tables["provider,model"]["usage"], ("provider", "model"))
                self._table("usage.by_agent", tables["agent"]["usage"], ("agent",))
                self._table("usage.by_user", tables["user"]["usage"], ("user_id",))
            ui.button(self._context.t("usage.csv"), icon="download", on_click=self._csv, color=None).props(
                "flat no-caps"
            ).classes("outline").style("align-self:flex-start")

    async def _used(self, group: str) -> dict[str, Any]:
        params = {"days": self._days, "group_by": group}
        return dict(await self._context.api.call("GET", "/v1/usage", params=params))

    def _limits(self, quotas: Mapping[str, Any]) -> None:
        t = self._context.t
        text(t("usage.limits"), "section", "h3")
        with box("list"):
            for limit in quotas["limits"]:
                if limit["scope"] != "organization" and limit["daily_tokens"] is None and not limit["used"]:
                    continue
                with box("item").mark("limit"), box("grow"):
                    with box("row-line"):
                        text(self._subject(limit), "grow anywhere strong")
                        text(self._spent(limit), "small muted")
                    share = _share(limit)
                    if share is not None:
                        full = "full" if share >= 0.9 else ""
                        with box(f"bar tall {full}").style("margin:8px 0 4px").props("role=progressbar"):
                            box().style(f"width:{100 * share:.1f}%")
                    about = [t("usage.resets", at=self._context.moment(limit["resets_at"]))]
                    if limit["reserved"]:
                        about.append(t("usage.reserved", n=self._number(limit["reserved"])))
                    text(" · ".join(about), "faint small")

    def _subject(self, limit: Mapping[str, Any]) -> str:
        if limit["scope"] == "organization":
            return f"{self._context.t('usage.organization')} {self._context.visitor.organization}"
        return self._context.t("usage.you") if limit["subject"] == self._context.visitor.user else str(limit["subject"])

    def _spent(self, limit: Mapping[str, Any]) -> str:
        t = self._context.t
        used, most = self._number(limit["used"]), limit["daily_tokens"]
        return t("usage.unlimited", used=used) if most is None else t("usage.of", used=used, limit=self._number(most))

    def _number(self, value: int) -> str:
        return number(value, self._context.preferences.language)

    def _totals(self, totals: Mapping[str, Any]) -> None:
        t = self._context.t
        cost = totals["cost_micro_usd"]
        facts = (
            ("usage.calls", self._number(totals["calls"]), ""),
            ("usage.prompt", self._number(totals["prompt"]), "" if totals["exact"] else t("usage.estimated")),
            ("usage.completion", self._number(totals["completion"]), ""),
            (
                "usage.cost",
                "—" if cost is None else f"${cost / 1_000_000:.2f}",
                t("usage.cost_unknown") if cost is None else "",
            ),
        )
        with box("stats"):
            for key, value, remark in facts:
                with box("card stat"):
                    text(t(key), "small muted")
                    text(value, tag="b")
                    text(remark, "faint small")

    def _chart(self, rows: Sequence[Mapping[str, Any]], today: str) -> None:
        t = self._context.t
        last = date.fromisoformat(today)
        days = [(last - timedelta(days=back)).isoformat() for back in reversed(range(self._days))]
        used = {str(row["day"]): row for row in rows}
        series = [
            {
                "name": t(f"usage.{name}"),
                "type": "bar",
                "stack": "tokens",
                "barMaxWidth": 34,
                "itemStyle": {"color": colour, "borderRadius": 2},
                "data": [used.get(day, {}).get(name, 0) for day in days],
            }
            for name, colour in (("prompt", _PROMPT), ("completion", _COMPLETION))
        ]
        axis = {"axisLabel": {"color": _GREY}, "axisLine": {"lineStyle": {"color": _GREY}}}
        numbers = {
            "axisLabel": {"color": _GREY, ":formatter": "value => value.toLocaleString(document.documentElement.lang)"}
        }
        with box("card"):
            text(t("usage.by_day"), "field-name")
            ui.echart(
                {
                    "animation": False,
                    "textStyle": {"fontFamily": "inherit"},
                    "tooltip": {"trigger": "axis"},
                    "legend": {"bottom": 0, "textStyle": {"color": _GREY}, "icon": "circle"},
                    "grid": {"left": 8, "right": 8, "top": 14, "bottom": 34, "containLabel": True},
                    "xAxis": {
                        "type": "category",
                        "data": [f"{day[8:]}.{day[5:7]}" for day in days],
                        **axis,
                        "axisTick": {"show": False},
                    },
                    "yAxis": {"type": "value", **numbers, "splitLine": {"lineStyle": {"color": _GREY, "opacity": 0.2}}},
                    "series": series,
                }
            ).classes("chart").mark("usage-chart")

    def _table(self, title: str, rows: Sequence[Mapping[str, Any]], fields: tuple[str, ...]) -> None:
        t = self._context.t
        with box("card scroll-x"):
            text(t(title), "field-name")
            with box("table", "table"):
                with box("", "thead"), box("", "tr"):
                    text("", tag="th")
                    for key in ("usage.calls", "usage.tokens"):
                        text(t(key), "n", "th")
                with box("", "tbody"):
                    for row in sorted(rows, key=lambda one: -(one["prompt"] + one["completion"])):
                        with box("", "tr"):
                            names = dict.fromkeys(
                                self._agents.title(row[name]) if name == "agent" else str(row[name]) for name in fields
                            )
                            text(" / ".join(names), "anywhere", "td")
                            text(self._number(row["calls"]), "n", "td")
                            text(self._number(row["prompt"] + row["completion"]), "n", "td")

    async def _csv(self) -> None:
        with self._context.telling():
            answer = await self._context.api.raw("GET", "/v1/usage", params={"days": self._days, "format": "csv"})
            ui.download.content(answer.content, f"usage-{self._days}.csv", "text/csv")


def _share(limit: Mapping[str, Any]) -> float | None:
    """What of a limit is used, 0 to 1; None where there is no limit."""
    most = limit["daily_tokens"]
    if most is None:
        return None
    return 1.0 if most == 0 else min(1.0, (limit["used"] + limit["reserved"]) / most)
