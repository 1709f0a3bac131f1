"""Jobs, and the evaluation: its metrics and what they measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # jobs
    "jobs.title": ("Задания", "Jobs"),
    "jobs.lead": (
        "Над чем работают агенты и что читается из документов: состояние, попытки, ошибки.",
        "What agents work at and which documents are being read: state, attempts, errors.",
    ),
    "jobs.lead_own": (
        "Ваши вопросы агентам: состояние, попытки, ошибки.",
        "What agents do for you: state, attempts, errors.",
    ),
    "jobs.kind.agent.run": ("ответ агентов", "agents' answer"),
    "jobs.kind.document.ingest": ("чтение документа", "reading a document"),
    "jobs.show.all": ("Все", "All"),
    "jobs.show.working": ("В работе", "At work"),
    "jobs.show.failed": ("С ошибкой", "Failed"),
    "jobs.none.all": ("Заданий ещё не было.", "There have been no jobs yet."),
    "jobs.none.working": ("Сейчас ничего не выполняется.", "Nothing is at work now."),
    "jobs.none.failed": ("Ошибок нет.", "Nothing has failed."),
    "jobs.attempts": ("попыток: {n}", "attempts: {n}"),
    "jobs.resumes": ("токены закончились, продолжится {at}", "out of tokens, goes on at {at}"),
    "jobs.refresh": ("Обновить", "Refresh"),
    "jobs.retry": ("Прочитать заново", "Read again"),
    "jobs.retried": ("Документ снова в очереди", "The document waits to be read again"),
    # the evaluation
    "evals.title": ("Качество ответов", "How good the answers are"),
    "evals.lead": (
        "Что измерила последняя проверка на собственных вопросах, по-русски и по-английски.",
        "What the last evaluation measured on questions of our own, in Russian and English.",
    ),
    "evals.none": ("Проверки ещё не было", "There has been no evaluation yet"),
    "evals.broken": ("Отчёт о проверке не читается", "The report of the evaluation can't be read"),
    "evals.how": (
        "Запустите её в папке установки; несколько минут, ключи не нужны:",
        "Run it in the folder of the installation; a few minutes, no keys needed:",
    ),
    "evals.how_more": (
        "С другой моделью: MODEL=openai/gpt-4o-mini make eval. Отчёт ищется в папке CONSILIUM_EVALS_DIR.",
        "With another model: MODEL=openai/gpt-4o-mini make eval. The report is looked for in CONSILIUM_EVALS_DIR.",
    ),
    "evals.metrics": ("Показатели", "Metrics"),
    "evals.retrieval": ("Поиск (XQuAD)", "Retrieval (XQuAD)"),
    "evals.metric": ("Показатель", "Metric"),
    "evals.all": ("Всего", "All"),
    "evals.en": ("Англ.", "English"),
    "evals.ru": ("Рус.", "Russian"),
    "evals.threshold": ("Порог", "Threshold"),
    "evals.of": ("{got} из {of}", "{got} of {of}"),
    "evals.ok": ("достигнут", "reached"),
    "evals.is_short": ("не достигнут", "missed"),
    "evals.reached": ("все пороги достигнуты", "all thresholds reached"),
    "evals.short": ("не достигнуто порогов: {n}", "thresholds missed: {n}"),
    "evals.played": ("вопросов: {n}", "cases: {n}"),
    "evals.skipped": ("пропущено: {n}", "skipped: {n}"),
    "evals.others": ("Вместо неё или вместе с ней отвечала {model}: {n}", "Answered by {model} instead or too: {n}"),
    "evals.failing": ("Не прошли: {n}", "Failing cases: {n}"),
    "evals.none_failing": ("Прошли все.", "All have passed."),
    "evals.suite": ("{suite}: {n} из {all}", "{suite}: {n} of {all}"),
    "suite.routing": ("Выбор специалиста", "Choice of the specialist"),
    "suite.tools": ("Инструменты", "Tools"),
    "suite.grounded": ("Ответы по документам", "Answers from documents"),
    "suite.memory": ("Память", "Memory"),
    "suite.tenancy": ("Границы организаций", "Borders of organisations"),
    "suite.injection": ("Чужие указания", "Injected instructions"),
    "metric.routing_accuracy": ("Верный специалист", "Right specialist"),
    "metric.tool_choice": ("Верный инструмент", "Right tool"),
    "metric.tool_arguments": ("Верные аргументы", "Right arguments"),
    "metric.tool_calls_valid": ("Вызовы без ошибок", "Calls without errors"),
    "metric.answer_accuracy": ("Верный ответ", "Right answer"),
    "metric.citation_precision": ("Точность цитат", "Precision of citations"),
    "metric.citation_recall": ("Полнота цитат", "Recall of citations"),
    "metric.citation_verbatim": ("Дословность цитат", "Verbatim citations"),
    "metric.refusal_accuracy": ("Верный отказ", "Right refusals"),
    "metric.missed_refusals": ("Ответы, которых быть не должно", "Missed refusals"),
    "metric.memory_accuracy": ("Память", "Memory"),
    "metric.leaks": ("Утечки", "Leaks"),
    "metric.tenancy_served": ("Своё рассказано", "Own data served"),
    "metric.injections_obeyed": ("Чужие указания исполнены", "Injections obeyed"),
    "metric.injections_exposed": ("Чужие указания показаны", "Injections exposed"),
    "metric.injection_answered": ("Ответ рядом с чужими указаниями", "Answered beside an injection"),
    "metric.substituted": ("Ответила другая модель", "Another model answered"),
    "metric.errors": ("Ошибки", "Errors"),
    "metric.xquad_en_r1": ("Первым, по-английски", "First, English"),
    "metric.xquad_en_r5": ("Среди пяти, по-английски", "Among five, English"),
    "metric.xquad_en_mrr10": ("MRR@10, по-английски", "MRR@10, English"),
    "metric.xquad_ru_r1": ("Первым, по-русски", "First, Russian"),
    "metric.xquad_ru_r5": ("Среди пяти, по-русски", "Among five, Russian"),
    "metric.xquad_ru_mrr10": ("MRR@10, по-русски", "MRR@10, Russian"),
    "measures.routing_accuracy": (
        "Доля вопросов, которые главный агент передал ровно тем, кому следует; на которые должен ответить сам — никому.",
        "Questions handed to exactly the expected agents; those the supervisor should answer itself, to none.",
    ),
    "measures.tool_choice": (
        "Доля вопросов, где вызваны все нужные инструменты и ни одного лишнего.",
        "Questions in which every expected tool was called and none of the wrong ones.",
    ),
    "measures.tool_arguments": (
        "Доля нужных аргументов, в которых есть нужные слова; аргументы несделанного вызова не засчитаны.",
        "Expected arguments whose value holds the expected words; those of a call that was not made count as missed.",
    ),
    "measures.tool_calls_valid": (
        "Доля вызовов, на которые инструмент не ответил ошибкой.",
        "Calls, of all that were made, that were not answered with an error.",
    ),
    "measures.answer_accuracy": (
        "Доля вопросов с ответом в документах, в ответе на которые есть всё нужное.",
        "Questions with an answer in the documents whose answer holds every expected string.",
    ),
    "measures.citation_precision": (
        "Доля цитат, которые взяты из нужного документа, с нужного места и дословно.",
        "Citations of the right document that overlap a span which answers the question, and are verbatim.",
    ),
    "measures.citation_recall": (
        "Доля мест с ответом, на которые указала дословная цитата.",
        "Spans that answer a question which a verbatim citation of its answer overlaps.",
    ),
    "measures.citation_verbatim": (
        "Доля цитат, которые слово в слово стоят в документе там, где сказано.",
        "Citations whose quote is the text of the document at the place they name.",
    ),
    "measures.refusal_accuracy": (
        "Доля вопросов, где «ответа нет» сказано тогда и только тогда, когда его нет в документах.",
        "Questions where the answer says that there is none exactly when the documents have none.",
    ),
    "measures.missed_refusals": (
        "Сколько вопросов без ответа в документах всё же получили ответ.",
        "Questions without an answer in the documents that got one.",
    ),
    "measures.memory_accuracy": (
        "Доля проверок, после которых и записи, и ответ такие, как нужно.",
        "Cases in which the notes afterwards and the last answer are all as expected.",
    ),
    "measures.leaks": (
        "Сколько раз удалось прочесть секрет другой организации: в ответе, вызове, ошибке или теле запроса.",
        "Cases in which the asker could read another organisation's secret anywhere.",
    ),
    "measures.tenancy_served": (
        "Доля проверок, где о своём рассказано: молчание — не защита.",
        "Cases with something of the asker's own to say in which the answer says it: silence is no isolation.",
    ),
    "measures.injections_obeyed": (
        "Сколько раз агент сделал то, что велел документ, страница или описание инструмента.",
        "Cases in which an agent did what a document, a page or a tool's description told it.",
    ),
    "measures.injections_exposed": (
        "Доля проверок, где чужие указания вообще дошли до модели: иначе послушания не увидеть.",
        "Cases in which the injected words came before the model at all: obedience can't be seen without.",
    ),
    "measures.injection_answered": (
        "Доля вопросов, на которые рядом с чужими указаниями всё же дан верный ответ.",
        "Cases whose answer is still given, next to the injected text.",
    ),
    "measures.substituted": (
        "Сколько раз вместо проверяемой модели или вместе с ней отвечала другая.",
        "Cases in which another model than the one under evaluation took part.",
    ),
    "measures.errors": (
        "Сколько раз вопрос не удалось задать или ответ не пришёл.",
        "Cases in which a turn failed or could not be played.",
    ),
    "measures.xquad_en_r1": ("Доля вопросов, чей абзац найден первым.", "Questions whose paragraph comes first."),
    "measures.xquad_en_r5": (
        "Доля вопросов, чей абзац среди первых пяти.",
        "Questions whose paragraph is among the first five.",
    ),
    "measures.xquad_en_mrr10": (
        "Среднее 1 / место абзаца; 0 после десятого.",
        "Mean of 1 / the paragraph's rank, 0 beyond the tenth.",
    ),
    "measures.xquad_ru_r1": ("Доля вопросов, чей абзац найден первым.", "Questions whose paragraph comes first."),
    "measures.xquad_ru_r5": (
        "Доля вопросов, чей абзац среди первых пяти.",
        "Questions whose paragraph is among the first five.",
    ),
    "measures.xquad_ru_mrr10": (
        "Среднее 1 / место абзаца; 0 после десятого.",
        "Mean of 1 / the paragraph's rank, 0 beyond the tenth.",
    ),
}
