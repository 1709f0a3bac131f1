"""`web_search`: pages of the public web, found by Tavily. They become numbered sources, citable like documents.

What is searched for leaves the premises: in a conversation that must stay there the tool refuses.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel, ValidationError
from tavily import AsyncTavilyClient
from tavily.errors import TimeoutError as TavilyTimeout

from domain.errors import ToolError, ToolProtocolError, ToolRateLimited, ToolRejected, ToolTimedOut, ToolUnavailable
from domain.ids import ChunkId
from domain.knowledge import Passage
from domain.settings import SearchDepth
from domain.text import clean
from tools.base import ToolContext, ToolOutput

KEY = "TAVILY_API_KEY"
MAX_ANSWER_BYTES = 4_000_000
MAX_CHARS = 16_000
"""Of what is quoted of all pages together, shared evenly, so that the last one is not cut off in the result."""
MAX_PAGE_CHARS = 4000
"""Of what is quoted of one page."""


@dataclass(frozen=True, slots=True)
class SearchDefaults:
    """What holds where an agent doesn't say, and the operator's bounds: with `include_domains` only these and their
    subdomains are searched, `exclude_domains` never."""

    depth: SearchDepth = "basic"
    results: int = 5
    include_domains: Sequence[str] = ()
    exclude_domains: Sequence[str] = ()
    seconds: float = 20.0


class _Page(BaseModel):
    """One result of Tavily's. `content` is what it quotes of the page."""

    url: str
    title: str | None = None
    content: str | None = None
    score: float | None = None
    published_date: str | None = None


class WebSearch:
    """Search the web. Without a key it is unavailable; with one, `aclose` gives its connections back."""

    name = "web_search"
    description = (
        "Search the public web for what the organisation's own documents can't hold: news, markets, prices, laws, other "
        "companies. Returns numbered sources; cite them as [n]. The query goes to an outside service: put no personal data "
        "and nothing confidential into it."
    )
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 2,
                "maxLength": 400,
                "description": "Keywords or a question, in the language of the pages wanted.",
            },
            "depth": {
                "type": "string",
                "enum": ["basic", "advanced"],
                "description": "advanced reads the pages more closely and is slower.",
            },
            "max_results": {"type": "integer", "minimum": 1, "maximum": 20, "description": "How many pages at most."},
            "topic": {"type": "string", "enum": ["general", "news", "finance"], "default": "general"},
            "time_range": {
                "type": "string",
                "enum": ["day", "week", "month", "year"],
                "description": "Only pages this recent.",
            },
            "include_domains": {
                "type": "array",
                "items": {"type": "string", "minLength": 3, "maxLength": 253},
                "maxItems": 20,
                "description": "Search these domains only, such as example.com.",
            },
            "exclude_domains": {
                "type": "array",
                "items": {"type": "string", "minLength": 3, "maxLength": 253},
                "maxItems": 20,
                "description": "Leave these domains out.",
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    side_effect = False
    outside = True
    idempotent = True

    def __init__(
        self, api_key: str | None, base_url: str = "https://api.tavily.com", defaults: SearchDefaults | None = None
    ) -> None:
        self._defaults = defaults or SearchDefaults()
        self._http: httpx.AsyncClient | None = None
        self._tavily: AsyncTavilyClient | None = None
        if api_key:
            self._http = httpx.AsyncClient(
                base_url=base_url, headers={"Accept-Encoding": "identity"}, event_hooks={"response": [_check]}
            )
            self._tavily = AsyncTavilyClient(api_key, client=self._http)

    def unavailable(self) -> str | None:
        return None if self._tavily is not None else f"There is no key of Tavily: set {KEY} and start again."

    async def aclose(self) -> None:
        """Give the connections back."""
        if self._http is not None:
            await self._http.aclose()

    async def call(self, context: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        """Raises ToolTimedOut, ToolUnavailable, ToolRateLimited, ToolRejected or ToolProtocolError, or ToolError where
        the conversation or the operator's domains forbid the search."""
        if context.local_only:
            raise ToolError(
                "Not searched: this conversation has read documents that must not leave the premises, and a query would "
                "carry them to an outside service. Answer from the sources at hand.",
                reason="local_only",
            )
        found = await self._search(arguments)
        share = min(MAX_PAGE_CHARS, MAX_CHARS // max(len(found), 1))
        pages = [page for page in (_cleaned(one, share) for one in found) if page is not None]
        if found and not pages:
            raise ToolProtocolError("Tavily answered with results of which none has an address and a text.")
        if not pages:
            return ToolOutput("No page of the web was found.")
        listed = [f"- {page.url}{f' ({page.published_date})' if page.published_date else ''}" for page in pages]
        return ToolOutput("\n".join([f"{len(pages)} web pages", *listed]), [_passage(page) for page in pages])

    async def _search(self, arguments: dict[str, Any]) -> list[_Page]:
        if self._tavily is None:
            raise ToolError(self.unavailable() or "", tool=self.name)
        defaults = self._defaults
        request = {
            "query": arguments["query"],
            "search_depth": arguments.get("depth", defaults.depth),
            "max_results": arguments.get("max_results", defaults.results),
            "topic": arguments.get("topic", "general"),
            "time_range": arguments.get("time_range"),
            "include_domains": self._included(arguments.get("include_domains", [])) or None,
            "exclude_domains": [*defaults.exclude_domains, *arguments.get("exclude_domains", [])] or None,
        }
        try:
            async with asyncio.timeout(defaults.seconds):
                answer = await self._tavily.search(**request, timeout=defaults.seconds)
        except (TavilyTimeout, TimeoutError):
            raise ToolTimedOut(
                f"The web search did not answer within {defaults.seconds:g} s; try again, or with depth basic.",
                seconds=defaults.seconds,
            ) from None
        except httpx.HTTPError as failed:  # its text may name what is inside the operator's network
            raise ToolUnavailable(f"The web search can't be reached ({type(failed).__name__}).") from None
        except (ValueError, TypeError, AttributeError):
            raise ToolProtocolError("The web search did not answer in Tavily's form; check TAVILY_BASE_URL.") from None
        return _results(answer)

    def _included(self, wanted: Sequence[str]) -> list[str]:
        """The wanted domains as far as the operator allows them; all the operator's where none is wanted."""
        allowed = self._defaults.include_domains
        if not allowed or not wanted:
            return list(wanted or allowed)
        kept = [one for one in wanted if any(_within(one, domain) for domain in allowed)]
        if not kept:
            raise ToolError(f"Only these domains may be searched here: {', '.join(allowed)}.", allowed=list(allowed))
        return kept


def _within(domain: str, allowed: str) -> bool:
    one, whole = domain.strip().lower().rstrip("."), allowed.strip().lower().rstrip(".")
    return one == whole or one.endswith(f".{whole}")


async def _check(response: httpx.Response) -> None:
    """Called with the head of each answer: bounds the body, and raises what its status means."""
    response.stream = _Bounded(response.stream)
    status = response.status_code
    if status == 200:
        return
    await response.aclose()
    if status == 401:
        raise ToolRejected(f"Tavily refuses the key; the operator must correct {KEY}.", http_status=status)
    if status in (403, 432, 433):
        raise ToolRejected(
            f"Tavily refuses the search: the plan of {KEY} is used up or has no right to it.", http_status=status
        )
    if status == 429:
        after = response.headers.get("retry-after", "")
        seconds = int(after) if after.isascii() and after.isdigit() else None
        when = "later" if seconds is None else f"in {seconds} s"
        raise ToolRateLimited(f"Too many searches of the web; try again {when}.", retry_after=seconds)
    if status in (400, 422):
        raise ToolError("Tavily can't search for that; simplify the query and leave options out.", http_status=status)
    if status >= 500:
        raise ToolUnavailable(f"Tavily has a fault of its own (HTTP {status}); try again later.", http_status=status)
    raise ToolProtocolError(f"Tavily answered with HTTP {status}; check TAVILY_BASE_URL.", http_status=status)


class _Bounded(httpx.AsyncByteStream):
    """A body of at most MAX_ANSWER_BYTES. Raises ToolProtocolError for a longer one."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        assert isinstance(stream, httpx.AsyncByteStream), "the client is asynchronous"
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        async for part in self._stream:
            length += len(part)
            if length > MAX_ANSWER_BYTES:
                raise ToolProtocolError(
                    f"Tavily's answer is over {MAX_ANSWER_BYTES} bytes; ask for fewer results.", limit=MAX_ANSWER_BYTES
                )
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _results(answer: Any) -> list[_Page]:
    results = answer.get("results") if isinstance(answer, dict) else None
    # the client puts an empty list where there was none; Tavily repeats the query
    if not isinstance(results, list) or (not results and "query" not in answer):
        raise ToolProtocolError("The web search answered without results in Tavily's form; check TAVILY_BASE_URL.")
    pages = []
    for result in results:
        try:
            pages.append(_Page.model_validate(result))
        except ValidationError:
            pages.append(_Page(url=""))  # counted, and left out for having no address
    return pages


def _cleaned(page: _Page, max_chars: int) -> _Page | None:
    """The page with what can be stored and shown; None without an http(s) address or a text."""
    url, content = clean(page.url).strip(), clean(page.content or "").strip()[:max_chars]
    if not url.lower().startswith(("https://", "http://")) or any(char.isspace() for char in url) or not content:
        return None
    title = " ".join(clean(page.title or "").split())[:300] or url
    published = " ".join(clean(page.published_date or "").split())[:40] or None
    return _Page(url=url[:2000], title=title, content=content, score=page.score, published_date=published)


def _passage(page: _Page) -> Passage:
    """The same text of the same page is the same passage, so that it has one number in a turn."""
    text = page.content or ""
    return Passage(
        chunk_id=ChunkId(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{page.url}\n{text}"))),
        document_id=None,
        version=None,
        url=page.url,
        title=page.title or page.url,
        start=0,
        end=len(text),
        text=text,
        score=page.score or 0.0,
    )
