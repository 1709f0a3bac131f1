"""What the API refuses, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "refused.at": ("«{field}»: {problem}", "“{field}”: {problem}"),
    "refused.required": ("заполните это поле.", "fill in this field."),
    "refused.least_chars": ("нужно знаков: не меньше {n}.", "at least {n} characters are needed."),
    "refused.most_chars": ("слишком длинно, знаков можно не больше {n}.", "too long; at most {n} characters."),
    "refused.most_bytes": ("слишком большой файл, можно не больше {size}.", "the file is too large; at most {size}."),
    "refused.least": ("укажите число не меньше {n}.", "give a number of at least {n}."),
    "refused.most": ("укажите число не больше {n}.", "give a number of at most {n}."),
    "refused.more": ("укажите число больше {n}.", "give a number over {n}."),
    "refused.less": ("укажите число меньше {n}.", "give a number under {n}."),
    "refused.most_items": ("выбрано слишком много, можно не больше {n}.", "too many are chosen; at most {n}."),
    "refused.integer": ("здесь нужно целое число.", "a whole number belongs here."),
    "refused.number": ("здесь нужно число.", "a number belongs here."),
    "refused.boolean": ("здесь нужно «да» или «нет».", "yes or no belongs here."),
    "refused.text": ("здесь нужен текст.", "a text belongs here."),
    "refused.one_of": ("выберите одно из: {names}.", "choose one of: {names}."),
    "refused.form": ("неверный вид: проверьте знаки и порядок.", "it doesn't have the right form."),
    "refused.date": ("укажите день, например 2026-11-21.", "give a day, such as 2026-11-21."),
    "refused.name": (
        "латинские буквы, цифры, дефис и подчёркивание; начните с буквы.",
        "Latin letters, digits, hyphens and underscores; begin with a letter.",
    ),
    "refused.extra": ("такого поля нет: {names}.", "there is no such field: {names}."),
    "refused.unknown": ("такого нет: {names}. Уберите или исправьте.", "there is no {names}. Take it out or mend it."),
    "refused.reserved": ("имя «{name}» занято системой, выберите другое.", "the name “{name}” is the system's own."),
    "refused.taken": ("имя «{name}» уже занято, выберите другое.", "the name “{name}” is taken; choose another."),
    "refused.url": (
        "укажите адрес, который начинается с http:// или https://.",
        "give an address that begins with http:// or https://.",
    ),
    "refused.url_password": (
        "уберите пароль из адреса: для него есть поле ключа доступа.",
        "take the password out of the address: there is a field for the access key.",
    ),
    "refused.private": (
        "это внутренний адрес. Разрешить его сеть может тот, кто обслуживает установку: CONSILIUM_MCP_ALLOWED_NETWORKS.",
        "an internal address. Whoever runs this installation can allow its network: CONSILIUM_MCP_ALLOWED_NETWORKS.",
    ),
    "refused.header": (
        "ключ не годится: латинские буквы, цифры и знаки, не больше 8000.",
        "the key won't do: printable ASCII, at most 8000 characters.",
    ),
    "refused.descriptions": (
        "вместе с описаниями других навыков слишком длинно (больше {n}). Сократите, или выключите другой навык.",
        "too long with the descriptions of the other skills (over {n}). Shorten it, or disable another skill.",
    ),
    "refused.file_kind": (
        "Такие файлы не читаются. Подойдут PDF, DOCX, HTML, Markdown, TXT, CSV.",
        "Such files aren't read. PDF, DOCX, HTML, Markdown, TXT and CSV are.",
    ),
    "refused.busy": (
        "В этом диалоге ещё идёт ответ. Дождитесь его или остановите.",
        "An answer is still under way here. Wait for it, or stop it.",
    ),
    "refused.skill_exists": (
        "Навык «{name}» уже есть: измените его или выберите другое имя.",
        "There is a skill “{name}” already: change it, or choose another name.",
    ),
    "refused.not_failed": (
        "Заново читается только документ с ошибкой.",
        "Only a document that failed is read again.",
    ),
    "refused.empty": ("Файл пуст.", "The file is empty."),
    "refused.encrypted": (
        "Файл защищён паролем: сохраните его без пароля и загрузите снова.",
        "The file is encrypted: save it without a password and upload it again.",
    ),
    "refused.damaged": (
        "Файл повреждён или другого вида, чем говорит его имя.",
        "The file is damaged, or of another kind than its name says.",
    ),
    "refused.no_text": (
        "В файле нет текста: похоже, это скан. Распознайте его и загрузите снова.",
        "There is no text in the file: it seems to be a scan. Recognise its text and upload it again.",
    ),
    "refused.too_long": ("В файле слишком много текста.", "The file holds too much text."),
    "refused.deadline": ("Время вышло. Спросите ещё раз или короче.", "Time ran out. Ask again, or ask for less."),
    "refused.models": ("Модели не ответили. Попробуйте позже.", "The models didn't answer. Try again later."),
    "refused.quota": ("Токены на сегодня израсходованы.", "Today's tokens are used up."),
    "refused.stopped": ("Остановлено.", "It was stopped."),
    "refused.effect": (
        "Неизвестно, выполнено ли действие: проверьте.",
        "Whether it was carried out is not known: look.",
    ),
    "refused.tool": ("Инструмент не справился.", "The tool failed."),
    "refused.fault": ("На сервере ошибка.", "The server failed."),
    # the names of the fields the console sends
    "named.name": ("Имя", "Name"),
    "named.text": ("Текст", "Text"),
    "named.title": ("Название", "Title"),
    "named.ru": ("Название по-русски", "Title in Russian"),
    "named.en": ("Название по-английски", "Title in English"),
    "named.labels": ("Метки", "Labels"),
    "named.file": ("Файл", "File"),
    "named.description": ("Когда его спрашивать", "When to ask it"),
    "named.prompt": ("Указания", "Instructions"),
    "named.tools": ("Инструменты", "Tools"),
    "named.mcp_servers": ("Серверы MCP", "MCP servers"),
    "named.model": ("Модель", "Model"),
    "named.passages": ("Фрагментов документов", "Passages of documents"),
    "named.notes": ("Фактов из памяти", "Facts of the memory"),
    "named.comment": ("Что изменилось", "What has changed"),
    "named.url": ("Адрес", "Address"),
    "named.agents": ("Кому доступен", "Used by"),
    "named.headers": ("Ключ доступа", "Access key"),
    "named.messages": ("Вопрос", "Question"),
    "named.message": ("Причина", "Reason"),
    "named.question": ("Вопрос", "Question"),
}
