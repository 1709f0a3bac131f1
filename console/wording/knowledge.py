"""Documents and the memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
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
    "documents.local_only": (
        "Эти файлы не должны покидать контур организации",
        "These files must not leave the premises",
    ),
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
    "documents.unsupported": (
        "Файлы такого вида агенты не читают. Подойдут PDF, DOCX, HTML, Markdown, TXT, CSV.",
        "Agents can't read files of this kind. PDF, DOCX, HTML, Markdown, TXT and CSV will do.",
    ),
    "unreadable.empty": ("Файл пуст.", "The file is empty."),
    "unreadable.no_text": (
        "В файле нет текста: похоже, это скан. Распознайте его (OCR) и загрузите снова.",
        "The file holds no text; it looks like a scan. Run it through OCR and upload it again.",
    ),
    "unreadable.not_pdf": ("Это не PDF, хотя файл так назван.", "This is not a PDF, though the file is called one."),
    "unreadable.not_docx": ("Это не DOCX, или файл повреждён.", "This is not a DOCX, or the file is damaged."),
    "unreadable.not_text": ("Это не текст, хотя файл так назван.", "This is not text, though the file is called so."),
    "unreadable.encrypted": (
        "Файл защищён паролем или это старый .doc. Сохраните его как PDF или DOCX без пароля.",
        "The file has a password, or is an old .doc. Save it as a PDF or a DOCX without one.",
    ),
    "unreadable.damaged": ("Файл повреждён.", "The file is damaged."),
    "unreadable.too_large": (
        "В файле слишком много текста или страниц. Разделите его.",
        "The file holds too much text or too many pages. Split it.",
    ),
    "unreadable.unknown": (
        "Файл не удалось прочитать; причина — в журнале сервера.",
        "The file could not be read; the server's log has the reason.",
    ),
    "documents.rejected": ("Файл не принят: больше {size}.", "The file was not taken: more than {size}."),
    "documents.read_only": ("Загружать и менять документы могут менеджеры.", "Managers upload and change documents."),
    "documents.delete": ("Удалить документ?", "Delete the document?"),
    "documents.delete_text": (
        "«{title}» исчезнет из поиска, цитаты из него перестанут открываться.",
        "“{title}” will no longer be found, and quotations from it won't open.",
    ),
    "documents.next": ("Загрузить новую версию", "Upload a new version"),
    "documents.open": ("Открыть текст", "Open the text"),
    "documents.chunks": ("фрагментов: {n}", "passages: {n}"),
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
}
