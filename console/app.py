"""The console's application and its pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from nicegui import Client, ui
from nicegui import app as pages

from console import session
from console.agents import Agents
from console.api import Api, ApiError, open_http
from console.chat import Chat, heading
from console.context import Context
from console.documents import DocumentsPage
from console.evals import EvalsPage
from console.frame import brand, frame
from console.graph import GraphPage
from console.jobs import JobsPage
from console.models import ModelsPage
from console.notes import NotesPage
from console.session import COOKIE, preferences_of, visitor_of
from console.sign_in import sign_in_page
from console.skill_page import SkillPage
from console.skills import NEW, SkillsPage
from console.texts import words
from console.theme import BRAND, FAVICON, box, dress, text
from console.tools import ToolsPage
from console.usage import UsagePage


def create_console(url: str, secret: str, path: str) -> FastAPI:
    """The console of the server at `url`, to be mounted at `path`. Once in a process: NiceGUI has one application."""
    http = open_http(url)
    register(http)
    pages.add_exception_handler(404, _missing)
    pages.colors(**BRAND)
    pages.on_shutdown(http.aclose)
    host = FastAPI(openapi_url=None)
    ui.run_with(
        host,
        title="Consilium",
        favicon=FAVICON,
        dark=None,
        tailwind=False,
        reconnect_timeout=20,
        show_welcome_message=False,
        storage_secret=secret,
        # Until the browser is closed, and never for the API's own addresses.
        session_middleware_kwargs={"session_cookie": COOKIE, "path": path, "max_age": None, "same_site": "lax"},
    )
    session.guard(host)
    return host


def register(http: httpx.AsyncClient) -> None:
    """Make the pages of NiceGUI's application; they call the server that `http` leads to."""
    session.install(pages, http)

    @ui.page("/sign-in", response_timeout=30)
    def sign_in(request: Request, error: str = "") -> None:
        message = str(request.session.pop(session.REFUSAL, ""))
        visitor, elsewhere = visitor_of(request.session), not session.from_here(request)
        sign_in_page(preferences_of(request), error, message, here=visitor, elsewhere=elsewhere)

    @ui.page("/", response_timeout=30)
    async def new_chat(request: Request) -> Response | None:
        return await _chat(request, http, None)

    @ui.page("/chat/{thread_id}", response_timeout=30)
    async def chat(request: Request, thread_id: str) -> Response | None:
        return await _chat(request, http, thread_id)

    @ui.page("/documents", response_timeout=30)
    async def documents(request: Request) -> Response | None:
        return await _page(request, http, "documents", lambda context: DocumentsPage(context).open())

    @ui.page("/notes", response_timeout=30)
    async def notes(request: Request) -> Response | None:
        return await _page(request, http, "notes", lambda context: NotesPage(context).open())

    @ui.page("/skills", response_timeout=30)
    async def skills(request: Request) -> Response | None:
        return await _page(request, http, "skills", lambda context: SkillsPage(context).open())

    @ui.page("/skills/{name}", response_timeout=30)
    async def skill(request: Request, name: str) -> Response | None:
        return await _page(request, http, "skills", lambda context: SkillPage(context, name).open())

    @ui.page(NEW, response_timeout=30)
    async def new_skill(request: Request) -> Response | None:
        return await _page(request, http, "skills", lambda context: SkillPage(context, None).open())

    @ui.page("/tools", response_timeout=30)
    async def tools(request: Request) -> Response | None:
        return await _page(request, http, "tools", lambda context: ToolsPage(context).open())

    @ui.page("/models", response_timeout=30)
    async def models(request: Request) -> Response | None:
        return await _page(request, http, "models", lambda context: ModelsPage(context).open())

    @ui.page("/usage", response_timeout=30)
    async def usage(request: Request) -> Response | None:
        return await _page(request, http, "usage", lambda context: UsagePage(context).open())

    @ui.page("/jobs", response_timeout=30)
    async def jobs(request: Request) -> Response | None:
        return await _page(request, http, "jobs", lambda context: JobsPage(context).open())

    @ui.page("/evals", response_timeout=30)
    async def evals(request: Request) -> Response | None:
        return await _page(request, http, "evals", lambda context: EvalsPage(context).open())

    @ui.page("/graph", response_timeout=30)
    async def graph(request: Request, thread: str | None = None, run: str | None = None) -> Response | None:
        return await _page(request, http, "graph", lambda context: GraphPage(context, thread, run).open())


def _context(request: Request, http: httpx.AsyncClient) -> Context | None:
    visitor = visitor_of(request.session)
    if visitor is None:
        return None
    preferences = preferences_of(request)
    return Context(Api(http, visitor.token), visitor, preferences, words(preferences.language), ui.context.client)


def _to_sign_in(request: Request, ended: bool = False) -> Response:
    if ended:
        request.session.pop(session.TOKEN, None)
    return RedirectResponse(f"{request.scope.get('root_path', '')}/sign-in{'?error=ended' if ended else ''}", 303)


def _path(request: Request) -> str:
    """The page's address within the console, with its query."""
    path = request.url.path.removeprefix(str(request.scope.get("root_path", "")))
    return f"{path or '/'}{'?' if request.url.query else ''}{request.url.query}"


async def _page(
    request: Request, http: httpx.AsyncClient, name: str, build: Callable[[Context], Awaitable[None]]
) -> Response | None:
    context = _context(request, http)
    if context is None:
        return _to_sign_in(request)
    with frame(context, name, context.t(f"nav.{name}"), path=_path(request)):
        try:
            await build(context)
        except ApiError as error:
            if error.status == 401:
                return _to_sign_in(request, ended=True)
            _failed(context, error)
    return None


async def _chat(request: Request, http: httpx.AsyncClient, thread_id: str | None) -> Response | None:
    context = _context(request, http)
    if context is None:
        return _to_sign_in(request)
    try:
        agents = await Agents.load(context.api, context.preferences.language)
        thread = await context.api.call("GET", f"/threads/{thread_id}") if thread_id is not None else None
    except ApiError as error:
        if error.status == 401:
            return _to_sign_in(request, ended=True)
        with frame(context, "chat", context.t("nav.chat"), path=_path(request)):
            _failed(context, error)
        return None
    with frame(context, "chat", heading(context, thread), path=_path(request), thread_id=thread_id) as around:
        await Chat(context, agents, around, thread_id).open()
    return None


async def _missing(request: Request, error: Exception) -> Response:
    """Any other address."""
    if "/_nicegui" in request.url.path:
        return Response(status_code=404)
    preferences = preferences_of(request)
    t = words(preferences.language)
    with Client(ui.page(""), request=request) as client:
        dress(preferences)
        ui.page_title(t("not_found.title"))
        with box("gate", "main"), box("gate-card"):
            brand(t("app"))
            text(t("not_found.title"), tag="h1")
            ui.link(t("nav.chat"), "/")
    return client.build_response(request, 404)


def _failed(context: Context, error: ApiError) -> None:
    """A page that can't be shown says why."""
    missing = error.status in (404, 422)
    with box("page"), box("card empty stack"):
        text(context.t("not_found.title") if missing else context.explain(error), tag="h2").style("font-size:18px")
        if missing:
            text(context.t("not_found.text"), "muted")
        ui.link(context.t("threads.new"), "/")
