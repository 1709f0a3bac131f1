"""Usage and the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # usage
    "usage.title": ("Расход", "Usage"),
    "usage.lead": ("Токены, вызовы моделей и лимиты.", "Tokens, model calls and limits."),
    "usage.today": ("Сегодня", "Today"),
    "usage.of": ("{used} из {limit}", "{used} of {limit}"),
    "usage.unlimited": ("{used}, без ограничения", "{used}, no limit"),
    "usage.resets": ("обновится {at}", "renews {at}"),
    "usage.reserved": ("зарезервировано {n}", "{n} reserved"),
    "usage.days": ("{n} дней", "{n} days"),
    "usage.period": ("Период", "Period"),
    "usage.calls": ("Вызовы", "Calls"),
    "usage.tokens": ("Токены", "Tokens"),
    "usage.prompt": ("Запрос", "Prompt"),
    "usage.completion": ("Ответ", "Completion"),
    "usage.cost": ("Стоимость", "Cost"),
    "usage.cost_unknown": ("цена неизвестна", "price unknown"),
    "usage.by_model": ("По моделям", "By model"),
    "usage.by_agent": ("По агентам", "By agent"),
    "usage.by_user": ("По людям", "By person"),
    "usage.by_day": ("По дням", "By day"),
    "usage.limits": ("Лимиты", "Limits"),
    "usage.organization": ("Организация", "Organisation"),
    "usage.you": ("Вы", "You"),
    "usage.estimated": ("часть посчитана приблизительно", "partly estimated"),
    "usage.csv": ("Скачать CSV", "Download CSV"),
    "usage.empty": ("За это время вызовов не было.", "There were no calls in this time."),
    # the graph
    "graph.title": ("Граф", "The graph"),
    "graph.lead": (
        "Как устроены агенты и каким путём прошёл каждый ответ.",
        "How the agents are built, and which way each answer took.",
    ),
    "graph.thread": ("Диалог", "Conversation"),
    "graph.run": ("Ответ", "Answer"),
    "graph.decided": ("Решение человека", "A person's decision"),
    "graph.decision.approve": ("Разрешено: {name}", "Approved: {name}"),
    "graph.decision.edit": ("Разрешено с изменениями: {name}", "Approved with changes: {name}"),
    "graph.decision.reject": ("Отклонено: {name}", "Rejected: {name}"),
    "graph.waited": ("ждали {time}", "waited {time}"),
    "graph.decide": ("К диалогу", "To the conversation"),
    "graph.choose": (
        "Выберите диалог, чтобы увидеть путь его ответа.",
        "Choose a conversation to see the way its answer took.",
    ),
    "graph.no_runs": ("В этом диалоге ещё ничего не выполнялось.", "Nothing has run in this conversation yet."),
    "graph.path": ("Путь", "Path"),
    "graph.calls": ("Обращения к моделям", "Model calls"),
    "graph.ms": ("{n} мс", "{n} ms"),
    "graph.seconds": ("{n} с", "{n} s"),
    "graph.steps": ("шагов: {n}", "steps: {n}"),
    "graph.times": ("×{n}", "×{n}"),
    "graph.in_out": ("токены: {prompt} → {completion}", "{prompt} → {completion} tokens"),
    "graph.why": ("Почему эта модель", "Why this model"),
    "graph.excluded": ("Не подошли", "Ruled out"),
    "graph.attempt": ("Попытка {n}", "Attempt {n}"),
    "graph.legend": (
        "Сплошная линия — всегда, пунктир — по решению. Цветом выделен путь выбранного ответа, жёлтым — где решал человек.",
        "Solid: always; dashed: decided while it runs. The way of the chosen answer is coloured; yellow is where a person decided.",
    ),
    "graph.fit": ("Вписать", "Fit"),
    "graph.zoom_in": ("Крупнее", "Zoom in"),
    "graph.zoom_out": ("Мельче", "Zoom out"),
}
