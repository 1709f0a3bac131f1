"""Every word the console shows, in Russian and English, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, get_args

Language = Literal["ru", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
Words = Callable[..., str]
"""`t("key", name=value)`: the text of the key, its places filled in."""

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # the frame
    "app": ("Consilium", "Consilium"),
    "nav.main": ("Главное меню", "Main menu"),
    "nav.chat": ("Диалоги", "Chat"),
    "nav.documents": ("Документы", "Documents"),
    "nav.notes": ("Память", "Memory"),
    "nav.tools": ("Инструменты и модели", "Tools and models"),
    "nav.usage": ("Расход", "Usage"),
    "nav.graph": ("Граф", "Graph"),
    "menu.open": ("Открыть меню", "Open the menu"),
    "menu.account": ("Учётная запись", "Account"),
    "menu.language": ("Язык", "Language"),
    "menu.theme": ("Оформление", "Appearance"),
    "theme.auto": ("Как в системе", "As the system"),
    "theme.light": ("Светлое", "Light"),
    "theme.dark": ("Тёмное", "Dark"),
    "menu.sign_out": ("Выйти", "Sign out"),
    "menu.keys": ("Сочетания клавиш", "Keyboard shortcuts"),
    "skip": ("К содержимому", "Skip to content"),
    "role.member": ("сотрудник", "member"),
    "role.manager": ("менеджер", "manager"),
    "role.admin": ("администратор", "admin"),
    "role.operator": ("оператор", "operator"),
    "keys.new": ("новый диалог", "new conversation"),
    "keys.search": ("поиск диалога", "find a conversation"),
    "keys.ask": ("к вопросу", "to the question"),
    "keys.help": ("эта подсказка", "this help"),
    "keys.send": ("отправить", "send"),
    "keys.line": ("новая строка", "new line"),
    "keys.close": ("закрыть окно", "close a window"),
    "close": ("Закрыть", "Close"),
    "cancel": ("Отмена", "Cancel"),
    "save": ("Сохранить", "Save"),
    "delete": ("Удалить", "Delete"),
    "edit": ("Изменить", "Edit"),
    "copy": ("Копировать", "Copy"),
    "copied": ("Скопировано", "Copied"),
    "unknown": ("неизвестно", "unknown"),
    "none": ("нет", "none"),
    "unlimited": ("без ограничения", "no limit"),
    "not_found.title": ("Такой страницы нет", "There is no such page"),
    "not_found.text": (
        "Её могли удалить, или она принадлежит другому.",
        "It may have been deleted, or it is somebody else's.",
    ),
    # signing in
    "sign_in.title": ("Вход", "Sign in"),
    "sign_in.lead": (
        "Вставьте токен доступа. Он хранится только в этом браузере, до конца сеанса.",
        "Paste your access token. It is kept in this browser only, until the session ends.",
    ),
    "sign_in.token": ("Токен", "Token"),
    "sign_in.button": ("Войти", "Sign in"),
    "sign_in.help": (
        "Токен выдаёт администратор вашей организации или команда",
        "Your administrator issues tokens, as does the command",
    ),
    "sign_in.empty": ("Введите токен.", "Enter a token."),
    "sign_in.expired": (
        "Срок действия токена истёк. Попросите новый.",
        "The token has expired. Ask for a new one.",
    ),
    "sign_in.malformed": (
        "Это не похоже на токен: скопируйте его целиком, без кавычек.",
        "This is not a token: copy the whole of it, without quotes.",
    ),
    "sign_in.signature": (
        "Токен выдан не для этого сервера: подпись не подходит.",
        "The token was not issued for this server: its signature is wrong.",
    ),
    "sign_in.claims": (
        "В токене не хватает данных или они неверны: {message}",
        "Something in the token is missing or wrong: {message}",
    ),
    "sign_in.too_long": (
        "Токен слишком длинный, чтобы хранить его в браузере (больше {limit} знаков).",
        "The token is too long for the browser to keep (more than {limit} characters).",
    ),
    "sign_in.ended": ("Сеанс закончился. Войдите снова.", "Your session has ended. Sign in again."),
    "sign_in.refused": ("Токен не принят: {message}", "The token was refused: {message}"),
    # errors
    "error.unreachable": ("Сервер не отвечает. Попробуйте ещё раз.", "The server doesn't answer. Try again."),
    "error.forbidden": (
        "Недостаточно прав: нужна роль «{role}».",
        "You are not allowed to do this: it takes the role {role}.",
    ),
    "error.not_found": ("Не найдено: удалено или принадлежит другому.", "Not found: deleted, or somebody else's."),
    "error.quota_exceeded": (
        "Токены на сегодня израсходованы; лимит обновится {at}.",
        "Today's tokens are used up; the limit renews at {at}.",
    ),
    "error.rate_limited": (
        "Слишком много запросов. Повторите через {seconds} с.",
        "Too many requests. Try again in {seconds} s.",
    ),
    "error.too_large": ("Слишком большой: {message}", "Too large: {message}"),
    "error.other": ("{message}", "{message}"),
    "error.trace": ("Код для поддержки: {trace}", "Code for support: {trace}"),
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
    "chat.tokens": ("{n} токенов", "{n} tokens"),
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
    # statuses
    "status.running": ("выполняется", "running"),
    "status.waiting": ("в работе", "at work"),
    "status.pending": ("ждёт", "pending"),
    "status.succeeded": ("готово", "done"),
    "status.completed": ("готово", "done"),
    "status.active": ("ведёт диалог", "in conversation"),
    "status.failed": ("ошибка", "failed"),
    "status.denied": ("отклонено", "denied"),
    "status.success": ("успешно", "success"),
    "status.error": ("ошибка", "error"),
    "status.timeout": ("время вышло", "timed out"),
    "status.interrupted": ("прервано", "interrupted"),
    "status.parsing": ("чтение", "reading"),
    "status.indexing": ("индексация", "indexing"),
    "status.ready": ("готов", "ready"),
    # a passage
    "passage.title": ("Цитата в документе", "The quotation in its document"),
    "passage.whole": ("Показать весь документ", "Show the whole document"),
    "passage.file": ("Скачать файл", "Download the file"),
    "passage.version": ("версия {n}", "version {n}"),
    "passage.gone": (
        "Документ удалён, цитата больше не открывается.",
        "The document has been deleted; the quotation doesn't open any more.",
    ),
    # documents
    "documents.title": ("Документы", "Documents"),
    "documents.lead": (
        "По этим документам агенты отвечают на вопросы и цитируют их.",
        "Agents answer from these documents and quote them.",
    ),
    "documents.drop": ("Перетащите файлы сюда или выберите", "Drop files here, or choose them"),
    "documents.kinds": (
        "PDF, DOCX, HTML, Markdown, TXT, CSV · до {size}",
        "PDF, DOCX, HTML, Markdown, TXT, CSV · up to {size}",
    ),
    "documents.local_only": ("Не покидает контур (local_only)", "Must not leave the premises (local_only)"),
    "documents.local_only_help": (
        "Диалоги, которые прочли такой документ, больше не обращаются к облачным моделям.",
        "Conversations that have read such a document never use cloud models again.",
    ),
    "documents.labels": ("Метки", "Labels"),
    "documents.labels_hint": ("через запятую", "separated by commas"),
    "documents.search": ("Поиск по названию и меткам", "Find by title or label"),
    "documents.empty": ("Документов пока нет. Загрузите первый.", "No documents yet. Upload the first one."),
    "documents.uploaded": ("«{name}» загружен", "“{name}” is uploaded"),
    "documents.failed": ("«{name}»: {message}", "“{name}”: {message}"),
    "documents.rejected": ("Файл не принят: больше {size}.", "The file was not taken: more than {size}."),
    "documents.read_only": ("Загружать и менять документы могут менеджеры.", "Managers upload and change documents."),
    "documents.delete": ("Удалить документ?", "Delete the document?"),
    "documents.delete_text": (
        "«{title}» исчезнет из поиска, цитаты из него перестанут открываться.",
        "“{title}” will no longer be found, and quotations from it won't open.",
    ),
    "documents.next": ("Загрузить новую версию", "Upload a new version"),
    "documents.open": ("Открыть текст", "Open the text"),
    "documents.facts": ("{size} · фрагментов: {chunks}", "{size} · passages: {chunks}"),
    "documents.pages": ("страниц: {n}", "pages: {n}"),
    "documents.total": ("Всего: {n}", "{n} in all"),
    "documents.actions": ("Действия: {title}", "Actions: {title}"),
    # notes
    "notes.title": ("Память организации", "The organisation's memory"),
    "notes.lead": (
        "Факты, которые агенты помнят во всех диалогах. Не длиннее 500 знаков.",
        "Facts that agents remember in all conversations. At most 500 characters each.",
    ),
    "notes.new": ("Новый факт", "A new fact"),
    "notes.add": ("Запомнить", "Remember"),
    "notes.added": ("Запомнено", "Remembered"),
    "notes.empty": ("Память пуста.", "There is nothing in memory yet."),
    "notes.duplicate": ("Такой факт уже есть.", "This fact is already known."),
    "notes.by": ("{user}, {at}", "{user}, {at}"),
    "notes.by_agent": ("записал агент по просьбе {user}, {at}", "noted by an agent for {user}, {at}"),
    "notes.delete": ("Забыть этот факт?", "Forget this fact?"),
    "notes.search": ("Найти в памяти", "Search the memory"),
    "notes.read_only": ("Менять память могут менеджеры.", "Managers change the memory."),
    # tools and models
    "tools.title": ("Инструменты и модели", "Tools and models"),
    "tools.lead": (
        "Чем агенты пользуются и на чём работают.",
        "What agents use, and what they run on.",
    ),
    "tools.tools": ("Инструменты", "Tools"),
    "tools.models": ("Модели", "Models"),
    "tools.available": ("доступен", "available"),
    "tools.unavailable": ("недоступен", "unavailable"),
    "tools.side_effect": ("меняет данные", "changes data"),
    "tools.agents": ("Кому доступен: {agents}", "Used by {agents}"),
    "tools.parameters": ("Параметры", "Parameters"),
    "tools.default": ("по умолчанию", "default"),
    "health.usable": ("готов", "ready"),
    "health.unusable": ("не настроен", "not configured"),
    "health.open": ("отключён после ошибок", "switched off after failures"),
    "health.half_open": ("проверяется", "being probed"),
    "health.retry": ("проверка {at}", "next probe {at}"),
    "health.failures": ("ошибок подряд: {n}", "failures in a row: {n}"),
    "models.first_token": ("первый токен {ms} мс", "first token {ms} ms"),
    "models.context": ("контекст {n}", "context {n}"),
    "models.price": ("${prompt} / ${completion} за млн", "${prompt} / ${completion} per million"),
    "models.more": ("и ещё {n}", "and {n} more"),
    "location.cloud": ("облако", "cloud"),
    "location.local": ("локально", "local"),
    "location.embedded": ("встроен", "built in"),
    "capability.tools": ("инструменты", "tools"),
    "capability.vision": ("зрение", "vision"),
    "capability.reasoning": ("рассуждения", "reasoning"),
    "capability.structured_output": ("JSON по схеме", "JSON schema"),
    "capability.embeddings": ("эмбеддинги", "embeddings"),
    # usage
    "usage.title": ("Расход", "Usage"),
    "usage.lead": ("Токены, вызовы моделей и лимиты.", "Tokens, model calls and limits."),
    "usage.today": ("Сегодня", "Today"),
    "usage.of": ("{used} из {limit}", "{used} of {limit}"),
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
    "graph.in_out": ("{prompt} → {completion} токенов", "{prompt} → {completion} tokens"),
    "graph.why": ("Почему эта модель", "Why this model"),
    "graph.excluded": ("Не подошли", "Ruled out"),
    "graph.attempt": ("Попытка {n}", "Attempt {n}"),
    "graph.legend": (
        "Сплошная линия — всегда, пунктир — по решению. Цветом выделен путь выбранного ответа.",
        "Solid: always; dashed: decided while it runs. The way of the chosen answer is coloured.",
    ),
    "graph.fit": ("Вписать", "Fit"),
    "graph.zoom_in": ("Крупнее", "Zoom in"),
    "graph.zoom_out": ("Мельче", "Zoom out"),
}


def words(language: Language) -> Words:
    """The texts of one language. The function raises KeyError for a key that isn't there."""
    at = LANGUAGES.index(language)

    def text(key: str, **values: Any) -> str:
        return TEXTS[key][at].format(**values)

    return text


def chosen_language(accept: str) -> Language:
    """The first of ours in an Accept-Language header; English where there is none."""
    for part in accept.split(","):
        code = part.partition(";")[0].strip().lower().partition("-")[0]
        for language in LANGUAGES:
            if code == language:
                return language
    return "en"


def number(value: int, language: Language) -> str:
    """With thousands set apart as the language does."""
    return f"{value:,}".replace(",", "\u00a0" if language == "ru" else ",")


def size(value: int, language: Language) -> str:
    """Bytes as a person reads them."""
    units = ("Б", "КБ", "МБ") if language == "ru" else ("B", "KB", "MB")
    amount, at = float(value), 0
    while amount >= 1000 and at < len(units) - 1:
        amount, at = amount / 1024, at + 1
    shown = f"{amount:.0f}" if at == 0 or amount >= 10 else f"{amount:.1f}"
    return f"{shown.replace('.', ',') if language == 'ru' else shown}\u00a0{units[at]}"


def moment(value: str | None, language: Language) -> str:
    """A time of the API, in UTC, to the minute; the day alone where it isn't today's."""
    if not value:
        return ""
    at = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if at.date() == datetime.now(at.tzinfo).date():
        return f"{at:%H:%M} UTC"
    return f"{at:%d.%m.%Y}" if language == "ru" else f"{at:%d %b %Y}"
