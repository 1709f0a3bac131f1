"""What is around every page, signing in and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # the frame
    "app": ("Consilium", "Consilium"),
    "nav.main": ("Главное меню", "Main menu"),
    "nav.chat": ("Диалоги", "Chat"),
    "nav.documents": ("Документы", "Documents"),
    "nav.notes": ("Память", "Memory"),
    "nav.skills": ("Навыки", "Skills"),
    "nav.tools": ("Инструменты", "Tools"),
    "nav.models": ("Модели", "Models"),
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
}
