"""The conversation page: ask, follow the answer, stop it, ask for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from langgraph_sdk.schema import StreamPart
from nicegui import background_tasks, ui
from nicegui.events import GenericEventArguments

from console.agents import Agents
from console.api import ApiError
from console.context import Context
from console.conversations import first_title, title_of
from console.decision import actions_of
from console.frame import Frame
from console.theme import box, icon_button, text
from console.transcript import Turn, turns_of
from console.turn_view import TurnView

REDRAW_SECONDS: Final = 0.08
"""How often a growing answer is sent to the browser, at most."""
MAX_CHARS: Final = 100_000
# Enter sends what the field holds at that moment; an input method that is composing keeps its Enter.
_ENTER: Final = "(e) => { if (e.shiftKey || e.isComposing) return; e.preventDefault(); emit(e.target.value); }"


class Chat:
    """One open conversation. Without `thread_id` it comes into being with the first question."""

    def __init__(self, context: Context, agents: Agents, around: Frame, thread_id: str | None) -> None:
        self._context, self._agents, self._frame = context, agents, around
        self.thread_id = thread_id
        self._views: list[TurnView] = []
        self._following: asyncio.Task[None] | None = None
        self._stopping = False
        with box("chat"):
            with box("chat-scroll").props("tabindex=-1"):
                self._column = box("chat-column").props("role=log")
            self._composer = box("composer")
            self._composer.set_visibility(False)
        with self._composer:
            self._draw_composer()
        ui.context.client.on_delete(self._leave)

    async def open(self) -> None:
        """Draw the conversation as it stands; one that is at work is followed."""
        if self.thread_id is None:
            self._welcome()
            self._composer.set_visibility(True)
            return
        with self._context.telling():
            thread = await self._context.api.call("GET", f"/threads/{self.thread_id}")
            runs = await self._context.api.call("GET", f"/threads/{self.thread_id}/runs", params={"limit": 100})
            self._draw_past(thread, runs)

    def _draw_past(self, thread: dict[str, Any], runs: list[dict[str, Any]]) -> None:
        t = self._context.t
        child = thread.get("parent_thread_id")
        turns = turns_of((thread.get("values") or {}).get("messages") or [])
        by_question = {message_id: run for run in reversed(runs) for message_id in _asked(run)}
        for turn in turns:
            run = by_question.get(str(turn.message_id))
            turn.run_id = run["run_id"] if run is not None else None
        at_work = next((run for run in runs if run["status"] in ("pending", "running")), None)
        if at_work is not None and turns and turns[-1].answer is None:
            turns.pop()
        if turns and at_work is None and (asked := _interrupts(thread)):
            turns[-1].status, turns[-1].interrupts = "waiting", asked
        with self._column:
            for turn in turns:
                self._views.append(self._view(turn))
            if child:
                with box("notice row-line"):
                    text(t("chat.child_of"), "grow")
                    ui.link(t("chat.to_parent"), f"/chat/{child}")
            elif not turns and at_work is None:
                self._welcome()
        for view in self._views[:-1] if not child else self._views:
            view.settle()
        self._composer.set_visibility(not child)
        if at_work is not None:
            self._follow(Turn(_question(at_work)), self._context.api.join(str(self.thread_id), at_work["run_id"]))

    def _view(self, turn: Turn) -> TurnView:
        return TurnView(
            self._context,
            self._agents,
            turn,
            thread_id=lambda: self.thread_id,
            on_retry=self._retry,
            on_decision=self._decide,
        )

    def _welcome(self) -> None:
        t = self._context.t
        with self._column, box("welcome") as self._greeting:
            text(t("chat.welcome"), tag="h2")
            text(t("chat.welcome_text"), tag="p")
            with box("examples"):
                for n in (1, 2, 3):
                    example = t(f"chat.example.{n}")
                    with box("", "button").props("type=button").mark("example") as button:
                        text(example, tag="span")
                    button.on("click", lambda example=example: self.ask(example))

    def _draw_composer(self) -> None:
        t = self._context.t
        with box("composer-box"):
            self.field = ui.textarea(placeholder=t("chat.ask")).props(
                f'autogrow borderless dense rows=1 maxlength={MAX_CHARS} aria-label="{t("chat.ask")}" autofocus'
            )
            self.field.mark("question")
            self.field.on("keydown.enter", self._entered, js_handler=_ENTER)
            self._send = icon_button("arrow_upward", t("chat.send"), lambda: self.ask(self.field.value), "solid round")
            self._send.mark("send")
            self._stop = icon_button("stop", t("chat.stop"), self._cancel, "outline round").mark("stop")
            self._stop.set_visibility(False)
        text(t("chat.hint"), "composer-hint")

    async def _entered(self, event: GenericEventArguments) -> None:
        await self.ask(str(event.args or ""))

    async def ask(self, question: str | None) -> None:
        """Put a question; while one is being answered nothing happens."""
        question = (question or "").strip()
        if not question or self._following is not None:
            return
        self.field.set_value("")
        with self._context.telling():
            if self.thread_id is None:
                await self._begin(question)
            for view in self._views:
                view.settle()
            self._follow(Turn(question), self._context.api.run(str(self.thread_id), text=question))
            return
        self.field.set_value(question)

    async def _begin(self, question: str) -> None:
        title = first_title(question)
        thread = await self._context.api.call("POST", "/threads", json={"metadata": {"title": title}})
        self.thread_id = str(thread["thread_id"])
        self._greeting.delete()
        self._frame.conversations.current = self.thread_id
        # By itself it would leave out where the console is mounted.
        ui.run_javascript(f"history.replaceState(history.state, '', window.path_prefix + '/chat/{self.thread_id}')")
        self._frame.heading.set_text(title)
        ui.page_title(f"{title} · {self._context.t('app')}")
        await self._frame.conversations.show()

    async def _retry(self) -> None:
        """Answer the newest question anew, from where it came in."""
        if self._following is not None or not self._views:
            return
        with self._context.telling():
            checkpoint = await self._context.api.last_input(str(self.thread_id))
            old = self._views.pop()
            old.root.delete()
            question = old.turn.question
            stream = (
                self._context.api.run(str(self.thread_id), text=question)
                if checkpoint is None
                else self._context.api.run(str(self.thread_id), checkpoint_id=checkpoint)
            )
            self._follow(Turn(question), stream)

    async def _decide(self, answer: Any) -> None:
        """Go on with a run that waits for a person; what else waits goes on waiting."""
        if self._following is not None:
            return
        view = self._views[-1]
        asked, view.turn.interrupts, view.turn.status = view.turn.interrupts, [], "running"
        self._follow(view.turn, self._context.api.run(str(self.thread_id), resume=answer), view, asked)

    async def _cancel(self) -> None:
        view = self._views[-1]
        if view.turn.run_id is None or self._stopping:
            return
        self._stopping = True
        with self._context.telling():
            await self._context.api.cancel(str(self.thread_id), view.turn.run_id)

    def _follow(
        self,
        turn: Turn,
        parts: AsyncGenerator[StreamPart, None],
        view: TurnView | None = None,
        asked: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Show a run as it goes. `asked` is what was decided to go on with it."""
        if view is None:
            with self._column:
                view = self._view(turn)
            self._views.append(view)
        self._working(True)
        with self._column:
            ui.run_javascript("window.consiliumToEnd?.()")
        self._following = background_tasks.create(self._read(view, parts, asked), name="follow a run")

    async def _read(
        self, view: TurnView, parts: AsyncGenerator[StreamPart, None], asked: Sequence[Mapping[str, Any]]
    ) -> None:
        turn, drawn = view.turn, 0.0
        try:
            async with aclosing(parts):
                async for part in parts:
                    turn.read(part.event, part.data)
                    if time.monotonic() - drawn >= REDRAW_SECONDS:
                        drawn = time.monotonic()
                        with self._column:
                            view.update()
        except ApiError as error:
            if asked and error.status is not None and error.status < 500:
                self._refused(turn, error, asked)
            else:
                turn.status, turn.error = "failed", {"error_code": error.code, "message": self._context.explain(error)}
        finally:
            self._following, self._stopping = None, False
        if turn.status == "running":
            turn.status = "done" if turn.answer is not None else "stopped"
        with self._column:
            view.update()
            self._working(False)
        await self._frame.conversations.show()

    def _refused(self, turn: Turn, error: ApiError, asked: Sequence[Mapping[str, Any]]) -> None:
        """A decision wasn't taken: it is asked for again, unless somebody else has decided."""
        t = self._context.t
        with self._column:
            if error.status == 409:
                ui.notify(t("approval.decided"), type="warning")
                ui.navigate.to(f"/chat/{self.thread_id}")
            else:
                field = str(error.details.get("field"))
                meant = [one for one in asked if f".{one.get('id')}." in field]
                names = [action.name for one in meant for action in actions_of(one.get("value"))]
                self._context.tell(error, tools=names)
        turn.status, turn.interrupts = "waiting", list(asked)

    def _working(self, working: bool) -> None:
        self._send.set_visibility(not working)
        self._stop.set_visibility(working)

    def _leave(self) -> None:
        """The page is closed: nobody reads any more. The run goes on."""
        if self._following is not None:
            self._following.cancel()


def heading(context: Context, thread: dict[str, Any] | None) -> str:
    """The page's title."""
    return context.t("threads.new") if thread is None else title_of(thread, context.t)


def _interrupts(thread: dict[str, Any]) -> list[Any]:
    """What the conversation waits for, of all its tasks."""
    return [one for several in (thread.get("interrupts") or {}).values() for one in several]


def _asked(run: dict[str, Any]) -> list[str]:
    """The ids of the messages a run began with."""
    given = (run.get("kwargs") or {}).get("input") or {}
    messages = given.get("messages") if isinstance(given, dict) else None
    return [str(one.get("id")) for one in messages or [] if isinstance(one, dict)]


def _question(run: dict[str, Any]) -> str:
    given = (run.get("kwargs") or {}).get("input") or {}
    messages = given.get("messages") if isinstance(given, dict) else None
    return str((messages or [{}])[-1].get("content") or "")
