"""The list of conversations, the chat, decisions, passages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # conversations
    "threads.new": ("Новый диалог", "New conversation"),
    "threads.search": ("Найти диалог", "Find a conversation"),
    "threads.empty": ("Здесь появятся ваши диалоги.", "Your conversations will be here."),
    "threads.nothing": ("Ничего не найдено.", "Nothing found."),
    "threads.archived": ("Архив", "Archived"),
    "threads.active": ("К диалогам", "Back to conversations"),
    "threads.untitled": ("Без названия", "Untitled"),
    "threads.rename": ("Переименовать", "Rename"),
    "threads.title": ("Название", "Title"),
    "threads.archive": ("В архив", "Archive"),
    "threads.unarchive": ("Вернуть из архива", "Take out of the archive"),
    "threads.export_md": ("Скачать как Markdown", "Download as Markdown"),
    "threads.export_json": ("Скачать как JSON", "Download as JSON"),
    "threads.delete": ("Удалить диалог?", "Delete the conversation?"),
    "threads.delete_text": (
        "«{title}» и всё, что в нём, будет удалено без возможности восстановления.",
        "“{title}” and everything in it will be gone for good.",
    ),
    "threads.actions": ("Действия: {title}", "Actions: {title}"),
    "threads.today": ("Сегодня", "Today"),
    "threads.yesterday": ("Вчера", "Yesterday"),
    "threads.week": ("За неделю", "This week"),
    "threads.earlier": ("Раньше", "Earlier"),
    # the chat
    "chat.welcome": ("Чем помочь?", "What can we look into?"),
    "chat.welcome_text": (
        "Спросите о документах и данных организации. Вопрос получит специалист, ответ придёт со ссылками на источники.",
        "Ask about your organisation's documents and data. A specialist takes the question; the answer comes with its sources.",
    ),
    "chat.example.1": (
        "Какая неустойка за просрочку поставки по договору?",
        "What is the penalty for late delivery under the contract?",
    ),
    "chat.example.2": (
        "Какая конверсия была у весенней кампании?",
        "What was the conversion rate of the spring campaign?",
    ),
    "chat.example.3": ("Какие сделки на этапе переговоров?", "Which deals are in the negotiation stage?"),
    "chat.ask": ("Напишите вопрос", "Ask a question"),
    "chat.hint": (
        "Enter — отправить, Shift+Enter — новая строка. Ответы ИИ стоит проверять по источникам.",
        "Enter sends, Shift+Enter breaks the line. Check what the AI says against the sources.",
    ),
    "chat.send": ("Отправить", "Send"),
    "chat.stop": ("Остановить", "Stop"),
    "chat.retry": ("Ответить заново", "Answer anew"),
    "chat.you": ("Вы", "You"),
    "chat.thinking": ("Думает…", "Thinking…"),
    "chat.working": ("{agent} работает…", "{agent} is working…"),
    "chat.stopped": ("Остановлено.", "Stopped."),
    "chat.failed": ("Не получилось ответить.", "There is no answer."),
    "chat.retracted": (
        "Начало ответа отозвано: {provider} прервался ({reason}). Отвечает другая модель.",
        "What you had seen was taken back: {provider} broke off ({reason}). Another model answers.",
    ),
    "chat.quota_wait": ("Токены закончились; продолжится {at}.", "Out of tokens; it goes on at {at}."),
    "chat.arguments": ("Аргументы", "Arguments"),
    "chat.result": ("Результат", "Result"),
    "chat.task": ("Задание", "Task"),
    "chat.report": ("Ответ специалиста", "The specialist's answer"),
    "chat.child_open": ("Открыть диалог специалиста", "Open the specialist's conversation"),
    "chat.child_of": (
        "Это диалог специалиста; писать можно в основном.",
        "This is a specialist's conversation; write in the main one.",
    ),
    "chat.to_parent": ("К основному диалогу", "To the main conversation"),
    "chat.sources": ("Источники", "Sources"),
    "chat.page": ("стр. {n}", "p. {n}"),
    "chat.local_only": ("не покидает контур", "stays on the premises"),
    "chat.tokens": ("токены: {n}", "{n} tokens"),
    "chat.quote": ("«{quote}»", "“{quote}”"),
    "chat.path": ("Путь в графе", "Path in the graph"),
    "chat.missing_answer": ("Ответа нет: диалог прервался.", "There is no answer: the conversation broke off."),
    "chat.extractive": (
        "Модель не настроена: ответ составлен из цитат.",
        "No model is configured: the answer is made of quotations.",
    ),
    "stop.not_found": ("В документах ответа не нашлось.", "The documents don't have the answer."),
    "stop.max_tool_steps": ("Достигнут предел шагов.", "The limit of steps was reached."),
    "stop.max_tool_errors": ("Слишком много ошибок инструментов.", "Too many tool errors."),
    "stop.max_delegations": ("Достигнут предел поручений.", "The limit of delegations was reached."),
    "stop.max_depth": ("Достигнут предел вложенности.", "The limit of nesting was reached."),
    "stop.deadline": ("Время вышло.", "Time ran out."),
    "stop.cancelled": ("Остановлено.", "Stopped."),
    "stop.quota_exceeded": ("Токены на сегодня израсходованы.", "Today's tokens are used up."),
    "stop.provider_failure": ("Модели не отвечают.", "The models don't answer."),
    # approvals
    "approval.title": ("Нужно ваше решение", "Your decision is needed"),
    "approval.text": ("Агент хочет выполнить действие «{name}».", "The agent wants to run “{name}”."),
    "approval.approve": ("Разрешить", "Approve"),
    "approval.reject": ("Отклонить", "Reject"),
    "approval.arguments": ("Аргументы (можно изменить)", "Arguments (you may change them)"),
    "approval.not_json": ("Это не JSON: {message}", "This is not JSON: {message}"),
    # a passage
    "passage.title": ("Цитата в документе", "The quotation in its document"),
    "passage.whole": ("Показать весь документ", "Show the whole document"),
    "passage.file": ("Скачать файл", "Download the file"),
    "passage.version": ("версия {n}", "version {n}"),
    "passage.gone": (
        "Документ удалён, цитата больше не открывается.",
        "The document has been deleted; the quotation doesn't open any more.",
    ),
}
