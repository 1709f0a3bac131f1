"""The results as one HTML page without scripts: the figures, then each failing case with its conversation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from evals.conversation import Citation, Exchange, ToolUse
from evals.metrics import BY_NAME
from evals.report import rows
from evals.runner import Played, Results
from evals.thresholds import Threshold
from evals.xquad import FIGURES

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #b3261e; --good: #1b7f3b; --accent: #2f6fb3 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7ddf9a; --accent: #8fc1ff } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1.5rem; overflow-wrap: break-word }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { margin: 2.5rem 0 .75rem; font-size: 1.2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
td:first-child { white-space: normal } small { opacity: .75 } td small { display: block; min-width: 18rem }
.ok { color: var(--good) } .short, .problem { color: var(--bad) } .short { font-weight: 600 }
details { border: 1px solid var(--line); border-radius: 8px; margin: .5rem 0; padding: .5rem .9rem }
summary { cursor: pointer } summary code { margin-right: .5rem }
.turn { border-left: 3px solid var(--accent); padding-left: .9rem; margin: .9rem 0 } .turn p { margin: .25rem 0 }
.who { font-weight: 600 } pre { background: var(--soft); padding: .6rem; border-radius: 6px; overflow-x: auto; white-space: pre-wrap }
.call { font-size: .9rem; margin: .3rem 0 } nav a { margin-right: 1rem; color: var(--accent) }
"""


def write(file: Path, results: Results, thresholds: Mapping[str, Threshold]) -> None:
    """The page, complete in itself, in UTF-8."""
    file.write_text(page(results, thresholds), "utf-8")


def page(results: Results, thresholds: Mapping[str, Threshold]) -> str:
    """The page as text. Everything that comes from cases, models and documents is escaped."""
    failing = results.failing
    suites = list(dict.fromkeys(one.case.suite for one in failing))
    played = len(results.played) - len(results.skipped)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Evals: {escape(results.model)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Evals: {escape(results.model)}</h1>",
        f"<p>{played} cases played in {results.seconds:.0f} s, {len(failing)} with something missing, "
        f"{len(results.skipped)} skipped.</p>",
        *(f"<p>{escape(notice)}</p>" for notice in results.notices),
        *(f"<p>Answered by {escape(m)} instead or too: {n} cases.</p>" for m, n in results.substitutes.items()),
        _figures(results, thresholds),
        "<nav>" + "".join(f'<a href="#{escape(suite)}">{escape(suite)}</a>' for suite in suites) + "</nav>",
    ]
    for suite in suites:
        parts.append(f'<h2 id="{escape(suite)}">{escape(suite)}</h2>')
        parts += [_case(one) for one in failing if one.case.suite == suite]
    if results.skipped:
        parts.append("<h2>Skipped</h2><ul>")
        parts += [
            f"<li><code>{escape(one.case.id)}</code> {escape(str(one.conversation.skipped))}</li>"
            for one in results.skipped
        ]
        parts.append("</ul>")
    parts.append("</body></html>")
    return "\n".join(parts)


def _figures(results: Results, thresholds: Mapping[str, Threshold]) -> str:
    lines = ["<div class=wide><table><tr><th>metric<th>all<th>en<th>ru<th>threshold<th></tr>"]
    for name, *cells, verdict in rows(results, thresholds):
        definition = BY_NAME[name].definition if name in BY_NAME else FIGURES[name]
        shown = "".join(f"<td>{escape(cell)}" for cell in cells)
        lines.append(
            f"<tr><td>{escape(name)}<small>{escape(definition)}</small>{shown}<td class={verdict or 'none'}>{verdict}</tr>"
        )
    return "\n".join([*lines, "</table></div>"])


def _case(played: Played) -> str:
    case, conversation = played.case, played.conversation
    expected = case.model_dump(mode="json", exclude_defaults=True, by_alias=True, exclude={"id", "suite", "steps"})
    problems = "".join(
        f'<p class="problem"><b>{escape(metric)}</b>: {escape(problem)}</p>' for metric, problem in played.problems
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in conversation.notes)
    return "\n".join(
        [
            f"<details id={escape(case.id, quote=True)}><summary><code>{escape(case.id)}</code>"
            f"{escape(case.question or case.steps[-1].thread)}</summary>",
            problems,
            *(_exchange(exchange) for exchange in conversation.exchanges),
            f"<p>Notes afterwards:</p><ul>{notes}</ul>" if notes and case.suite in ("memory", "injection") else "",
            f"<p>Expected:</p><pre>{_json(expected)}</pre></details>",
        ]
    )


def _exchange(exchange: Exchange) -> str:
    facts = [exchange.stop_reason or "", ", ".join(exchange.models), f"{exchange.seconds * 1000:.0f} ms"]
    said = f"<p>{_lines(exchange.answer)}</p>" if exchange.answer else ""
    if exchange.http_status is not None:
        facts = [f"{exchange.http_status}, in order: {', '.join(map(str, exchange.allowed))}"]
        said = f"<pre>{escape(exchange.answer[:1500])}</pre>"
    return "\n".join(
        [
            "<div class=turn>",
            f"<p><span class=who>{escape(exchange.user)} at {escape(exchange.organization)}</span> "
            f"<small>conversation {escape(exchange.thread)}</small></p><p>{_lines(exchange.asked)}</p>",
            *(_call(call) for call in exchange.calls),
            said,
            *(_cited(citation) for citation in exchange.citations),
            f"<p class=problem>{escape(exchange.error)}</p>" if exchange.error else "",
            f"<p><small>{escape(' · '.join(fact for fact in facts if fact))}</small></p></div>",
        ]
    )


def _call(call: ToolUse) -> str:
    return (
        f"<details class=call><summary>{escape(call.agent)} → <code>{escape(call.name)}</code> "
        f"{escape(call.status or 'no result')}</summary><pre>{_json(call.arguments)}\n\n{escape(call.result[:3000])}</pre></details>"
    )


def _cited(citation: Citation) -> str:
    mark = "" if citation.verbatim else " <span class=problem>not verbatim</span>"
    place = f"{citation.span.document or citation.title}, {citation.span.start}-{citation.span.end}"
    return f"<p><small>cites {escape(place)}{mark}: {escape(citation.quote)}</small></p>"


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.split("\n"))


def _json(value: Mapping[str, object] | Iterable[object]) -> str:
    return escape(json.dumps(value, ensure_ascii=False, indent=1))
