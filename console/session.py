"""Who looks at the console: the token in the browser's session cookie, language and appearance in cookies beside it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode, urlsplit

import httpx
from fastapi import FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.api import Api, ApiError
from console.texts import LANGUAGES, Language, chosen_language

Theme = Literal["auto", "light", "dark"]
THEMES: Final[tuple[Theme, ...]] = get_args(Theme)
TOKEN: Final = "token"  # noqa: S105 - the name of a field
REFUSAL: Final = "refusal"
"""The field with the API's words about a token, for the next page: an address could hold anybody's words."""
MAX_TOKEN_CHARS: Final = 2600
"""What a browser still keeps of a cookie once it is signed and encoded."""
COOKIE: Final = "consilium_session"
ZONE_COOKIE: Final = "consilium_zone"
"""Set by the pages themselves."""
_LANGUAGE, _THEME = "consilium_language", "consilium_theme"
_YEAR: Final = 365 * 24 * 3600
_SOURCES: Final = (
    b"script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # the pages' framework compiles its templates in the browser
    b"img-src 'self' data: blob:",
    b"media-src 'self'",
    b"object-src 'none'",
    b"frame-src 'none'",
    b"frame-ancestors 'none'",
    b"form-action 'self'",
    b"base-uri 'self'",
)
"""What a page may load, should something of another's ever get into it: nothing that tells others anything."""
_GUARDS: Final = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"; ".join(_SOURCES)),
]
_REASONS: Final = {
    "expired": "expired",
    "malformed": "malformed",
    "missing": "empty",
    "signature": "signature",
    "unknown_key": "signature",
    "algorithm": "signature",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever is signed in. What the token says of them is shown only; the API alone decides what they may."""

    token: str
    user: str
    organization: str
    roles: tuple[str, ...]

    @property
    def manages(self) -> bool:
        """Whether they are likely to be allowed to change documents and notes."""
        return bool({"manager", "admin", "operator"} & set(self.roles))

    @property
    def administers(self) -> bool:
        """Whether they are likely to be allowed to change MCP servers."""
        return bool({"admin", "operator"} & set(self.roles))


@dataclass(frozen=True, slots=True)
class Preferences:
    """How the pages are to look."""

    language: Language
    theme: Theme
    zone: tzinfo = UTC
    """As far from UTC as the browser's clock."""


def visitor_of(session: Mapping[str, Any]) -> Visitor | None:
    """The visitor of a session; None where nobody is signed in."""
    token = session.get(TOKEN)
    if not isinstance(token, str) or not token:
        return None
    claims = _claims(token)
    roles = claims.get("roles") or [claims.get("role")]
    return Visitor(
        token,
        str(claims.get("user_id") or claims.get("sub") or "?"),
        str(claims.get("organization_id") or "?"),
        tuple(str(role) for role in roles if role) if isinstance(roles, list) else (),
    )


def preferences_of(request: Request) -> Preferences:
    """Of a request's cookies; the browser's language where none was chosen."""
    language, theme = request.cookies.get(_LANGUAGE), request.cookies.get(_THEME)
    if language not in LANGUAGES:
        language = chosen_language(request.headers.get("accept-language", ""))
    return Preferences(language, theme if theme in THEMES else "auto", _zone(request.cookies.get(ZONE_COOKIE)))


def _zone(minutes: str | None) -> tzinfo:
    """The zone that is so many minutes behind UTC, as browsers count; UTC where it isn't told."""
    told = int(minutes) if minutes and re.fullmatch(r"-?\d{1,3}", minutes) else 0
    return timezone(timedelta(minutes=-told))


def install(app: FastAPI, http: httpx.AsyncClient) -> None:
    """The addresses that sign in and out and keep preferences; `app` has sessions."""

    @app.post("/session", include_in_schema=False)
    async def sign_in(request: Request, token: str = Form("")) -> Response:
        """Keep a token that the API takes."""
        if not from_here(request):
            return Response("This form belongs to the console's own page.", 403)
        token = token.strip().strip("\"'").removeprefix("Bearer ").strip()
        if not token:
            return _to(request, "/sign-in", error="empty")
        if not token.isascii() or not token.isprintable():
            return _to(request, "/sign-in", error="malformed")
        if len(token) > MAX_TOKEN_CHARS:
            return _to(request, "/sign-in", error="too_long")
        try:
            await Api(http, token).call("GET", "/v1/policies")
        except ApiError as refused:
            request.session[REFUSAL] = refused.message[:300]
            return _to(request, "/sign-in", error=_why(refused))
        request.session[TOKEN] = token
        return _to(request, "/")

    @app.post("/session/end", include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        if not from_here(request):
            return Response("This form belongs to the console's own page.", 403)
        request.session.pop(TOKEN, None)
        return _to(request, "/sign-in")

    @app.get("/preferences", include_in_schema=False)
    async def prefer(request: Request, language: str = "", theme: str = "", back: str = "/") -> Response:
        """Keep a language or an appearance and go back to a page of ours."""
        there = urlsplit(back)
        local = back.startswith("/") and not back.startswith(("//", "/\\")) and not there.netloc and not there.scheme
        response = _to(request, back if local else "/")
        for name, value, known in ((_LANGUAGE, language, LANGUAGES), (_THEME, theme, THEMES)):
            if value in known:
                response.set_cookie(name, value, max_age=_YEAR, path=_root(request) or "/", samesite="lax")
        return response


def guard(app: FastAPI) -> None:
    """Keep the pages out of other sites' frames, their addresses out of other sites' logs, the cookies off plain http.

    To be called last, for it must be around what sets the cookies.
    """
    app.add_middleware(_Guard)


class _Guard:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        secure = scope.get("scheme") == "https"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = [
                    (name, _secure(value)) if secure and name == b"set-cookie" else (name, value)
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": [*sent, *_GUARDS]}
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


def _secure(cookie: bytes) -> bytes:
    return cookie if b"; secure" in cookie.lower() else cookie + b"; Secure"


def _why(refused: ApiError) -> str:
    if refused.code != "unauthenticated":
        return "unreachable" if refused.status is None else "refused"
    reason = str(refused.details.get("reason"))
    return "claims" if reason == "claims" else _REASONS.get(reason, "malformed")


def _root(request: Request) -> str:
    return request.headers.get("x-forwarded-prefix", "") + str(request.scope.get("root_path", ""))


def _to(request: Request, path: str, **query: str) -> Response:
    """Go to a page of the console, which lies wherever it was mounted."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}{path}{'?' if query else ''}{urlencode(query)}", 303)


def from_here(request: Request) -> bool:
    """Whether a page of this origin, or the visitor themselves, sent the request: nobody signs a visitor in or out from elsewhere."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _claims(token: str) -> dict[str, Any]:
    """What a token says, unverified; {} where it can't be read."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
