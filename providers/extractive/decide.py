"""What the extractive model does at its turn: say something, or call tools. A pure function of what it reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from providers.extractive import delegation, evidence, figures, lookup
from providers.extractive.evidence import Quote
from providers.extractive.lexicon import Language, Lexicon
from providers.extractive.question import Concept, concepts, counted
from providers.extractive.turn import Outcome, Turn

SWITCH, FINISH, SEARCH, SAVE = "switch_to_subagent", "finish_subagent", "search_documents", "save_organization_note"
_OWN_NAME = re.compile(r"^Organisation: (.+?)\.(?:\s|$)", re.MULTILINE)
_KINDS = ("documents", "thanks", "bye", "greeting", "ok")
_MOST_TITLES = 3
_SHORT = 2
"""Content words up to which a question may lean on the one before."""


@dataclass(frozen=True, slots=True)
class Say:
    """The final text. `found` False where it says that there is no answer."""

    text: str
    found: bool = True


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]
    id: str


@dataclass(frozen=True, slots=True)
class CallTools:
    calls: list[ToolCall]
    found: bool = True


Decision = Say | CallTools


def decide(turn: Turn, lexicon: Lexicon, own_name: str = "") -> Decision:
    """The next step of the turn."""
    done = {outcome.name for outcome in turn.outcomes}
    if FINISH in done:
        return Say(next(str(o.arguments.get("summary", "")) for o in turn.outcomes if o.name == FINISH))
    if SWITCH in done:
        return _relay(turn, lexicon)
    if SAVE in done:
        return _confirm(turn, lexicon)
    if not turn.question:
        return Say(lexicon.say("no_question", turn.language))
    if SAVE in turn.tools and (fact := lexicon.fact_to_remember(turn.question)):
        return _call(turn, [(SAVE, {"text": fact})])
    if FINISH not in turn.tools and (kinds := lexicon.small_talk_of(turn.question)):
        return Say(_small_talk(kinds, turn, lexicon))
    asked = concepts(turn.question, lexicon, own_name=own_name)
    background = turn.background if _leans(turn, lexicon, asked) else ""
    leant_on = _of_background(background, asked, lexicon, own_name)
    if SWITCH in turn.tools and SEARCH not in done:
        agents = delegation.agents_of(turn.tools[SWITCH])
        tasks = delegation.choose(turn.question, background, agents, lexicon, own_name)
        if tasks:
            context = {"context": background} if background else {}
            return _call(turn, [(SWITCH, {"agent": t.agent, "task": t.question, **context}) for t in tasks])
    return _answer(turn, lexicon, asked, leant_on, background, searched=SEARCH in done)


def own_name_in(prompt: str) -> str:
    """The organisation's name as a prompt states it; empty where it doesn't."""
    match = _OWN_NAME.search(prompt)
    return match.group(1) if match else ""


def _of_background(background: str, asked: Sequence[Concept], lexicon: Lexicon, own_name: str) -> list[Concept]:
    """What the question leans on, at half the weight."""
    words = {concept.word.lower() for concept in asked}
    before = concepts(background, lexicon, own_name=own_name, strength=0.5)
    if any(concept.terms & lexicon.contrasts for concept in asked):  # "and the autumn one?" asks no more about spring
        before = [concept for concept in before if not concept.terms & lexicon.contrasts]
    return [concept for concept in before if concept.word.lower() not in words]


def _leans(turn: Turn, lexicon: Lexicon, asked: Sequence[Concept]) -> bool:
    if not turn.background:
        return False
    few = sum(concept.content for concept in asked) <= _SHORT
    return few and (lexicon.leans_back(turn.question) or len(turn.question.split()) <= 4)


def _answer(
    turn: Turn, lexicon: Lexicon, asked: list[Concept], leant_on: list[Concept], background: str, *, searched: bool
) -> Decision:
    looked = next((outcome for outcome in reversed(turn.outcomes) if outcome.name not in lookup.OWN), None)
    if (
        looked is None
        and not searched
        and not lexicon.is_task(turn.question)
        and (read := lookup.choose(turn.question, asked + leant_on, turn.tools, lexicon, turn.today))
    ):
        return _call(turn, [read])
    if looked is not None and looked.problem is None:
        told = lexicon.say("from_tool", turn.language, tool=lookup.short(looked.name))
        text = f"{told}\n\n{figures.show(looked.content, turn.language, lexicon)}"
        return _finish(turn, text, [], found=True)
    thing = counted(turn.question, lexicon)
    quotes = evidence.find(asked + leant_on, turn.sources, turn.notes, lexicon, thing=thing)
    if not quotes and leant_on:  # it may have stood by itself
        quotes = evidence.find(asked, turn.sources, turn.notes, lexicon, thing=thing)
    if not quotes and not searched and SEARCH in turn.tools:
        query = " ".join(f"{turn.question} {background}".split())[:1000]
        return _call(turn, [(SEARCH, {"query": query})])
    problem = next((o.problem for o in turn.outcomes if o.name == SEARCH and o.problem is not None), None)
    if quotes:
        text, found = compose(quotes, turn.language, lexicon), True
    elif problem is not None:
        text, found = lexicon.say("search_failed", turn.language, problem=problem), False
    else:
        text, found = _not_found(turn, lexicon), False
    if looked is not None:
        failed = lexicon.say("tool_failed", turn.language, tool=lookup.short(looked.name), problem=looked.problem or "")
        text = f"{text}\n\n{failed}" if found else failed
    if found and lexicon.is_task(turn.question):
        text = f"{lexicon.say('only_quotes', turn.language)}\n\n{text}"
    return _finish(turn, text, quotes, found=found)


def _finish(turn: Turn, text: str, quotes: Sequence[Quote], *, found: bool) -> Decision:
    """A specialist hands its result over, whoever speaks with people says it."""
    if FINISH in turn.tools:
        cited = sorted({quote.n for quote in quotes if quote.n is not None})
        return _call(turn, [(FINISH, {"summary": text, "citations": cited})], found=found)
    return Say(text, found)


def _not_found(turn: Turn, lexicon: Lexicon) -> str:
    """That there is no answer, or that this isn't to be had of it, and what is closest."""
    key = "only_quotes" if lexicon.is_task(turn.question) else "not_found"
    titles = list(dict.fromkeys(source.title for source in turn.sources))[:_MOST_TITLES]
    quoted = ", ".join(_quoted(title, turn.language) for title in titles)
    closest = lexicon.say("closest" if titles else "nothing_close", turn.language, titles=quoted)
    return f"{lexicon.say(key, turn.language)} {closest}"


def compose(quotes: Sequence[Quote], language: Language, lexicon: Lexicon) -> str:
    """The answer: a lead-in and the quotes, each with its source's number. Those of notes stand apart, without one; the
    best quote comes first."""
    parts = []
    groups = [
        ("from_documents", [q for q in quotes if q.n is not None]),
        ("from_notes", [q for q in quotes if q.n is None]),
    ]
    for key, chosen in reversed(groups) if quotes[:1] and quotes[0].n is None else groups:
        if chosen:
            quoted = [_quoted(q.text, language) + (f" [{q.n}]" if q.n is not None else "") for q in chosen]
            parts.append(f"{lexicon.say(key, language)} " + " ".join(quoted))
    return "\n\n".join(parts)


def _quoted(text: str, language: Language) -> str:
    """In quotation marks; those inside the text are turned into the inner ones of the language."""
    if language == "ru":
        return "«" + re.sub(r"[«“”]", "„", text).replace("»", "“") + "»" if re.search(r"[«»]", text) else f"«{text}»"
    return '"' + text.replace('"', "'") + '"'


def _relay(turn: Turn, lexicon: Lexicon) -> Say:
    """What the specialists reported, as it stands; each under its name where there are several."""
    reports = [outcome for outcome in turn.outcomes if outcome.name == SWITCH]
    texts = [_report(outcome, turn.language, lexicon) for outcome in reports]
    found = any(o.problem is None and not lexicon.is_not_found(o.content) for o in reports)
    if len(reports) == 1:
        return Say(texts[0], found)
    return Say("\n\n".join(f"{_title(o)}: {text}" for o, text in zip(reports, texts, strict=True)), found)


def _report(outcome: Outcome, language: Language, lexicon: Lexicon) -> str:
    if outcome.problem is not None:
        return lexicon.say("delegation_failed", language, agent=_title(outcome), problem=outcome.problem)
    return outcome.content.strip() or lexicon.say("not_found", language)


def _title(outcome: Outcome) -> str:
    return _pretty(str(outcome.arguments.get("agent", "specialist")))


def _pretty(agent: str) -> str:
    return agent.replace("_", " ").strip().capitalize()


def _confirm(turn: Turn, lexicon: Lexicon) -> Say:
    outcome = next(o for o in reversed(turn.outcomes) if o.name == SAVE)
    fact = str(outcome.arguments.get("text", ""))
    if outcome.problem is not None:
        return Say(lexicon.say("not_saved", turn.language, problem=outcome.problem))
    known = re.search(r"already|\"created\": ?false", outcome.content, re.IGNORECASE)
    return Say(lexicon.say("known" if known else "saved", turn.language, fact=fact))


def _small_talk(kinds: set[str], turn: Turn, lexicon: Lexicon) -> str:
    language = turn.language
    if not kinds & {"about", "how"}:
        return lexicon.say(next(kind for kind in _KINDS if kind in kinds), language)
    said = [lexicon.say("about", language)]
    if SWITCH in turn.tools:
        names = ", ".join(_pretty(agent.name) for agent in delegation.agents_of(turn.tools[SWITCH]))
        said.append(lexicon.say("agents", language, agents=names))
    return " ".join(said)


def _call(turn: Turn, calls: list[tuple[str, dict[str, Any]]], *, found: bool = True) -> CallTools:
    """Calls whose ids depend on the conversation alone: the same question gives the same ids, two in a turn differ."""
    made = []
    for i, (name, arguments) in enumerate(calls):
        seed = repr((turn.question, turn.background, len(turn.outcomes), i, name, sorted(arguments.items(), key=str)))
        made.append(
            ToolCall(name, arguments, "call_" + hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:24])
        )
    return CallTools(made, found)
