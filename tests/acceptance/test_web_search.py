"""The web as a source: an agent searches it, cites a page, and the answer's citation opens that page."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.conftest import Serving
from tests.tools.tavily import KEY, PAGES, serve_tavily
from tests.upstream.reply import Call, Reply
from tests.upstream.server import Upstream

QUOTE = "kept the key rate at 15.5 percent"


def policy(body: dict[str, Any]) -> Reply:
    if body["messages"][-1]["role"] != "tool":
        return Reply(calls=[Call("web_search", json.dumps({"query": "key rate", "topic": "news"}))])
    told = json.loads(body["messages"][-1]["content"])
    if told["status"] == "error":
        return Reply([told["error"]["code"]])
    assert f'url="{PAGES[1]["url"]}"' in told["content"]
    return Reply([f"The board “{QUOTE}” [1], they say it “fell to 3 percent” [2]."])


def names(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body.get("tools", [])}


async def test_a_page_of_the_web_is_cited(serving: Serving) -> None:
    with Upstream(policy) as upstream:
        async with (
            serve_tavily() as tavily,
            serving(
                upstream, TAVILY_API_KEY=KEY, TAVILY_BASE_URL=tavily.url, CONSILIUM_WEB_SEARCH_RESULTS="2"
            ) as server,
        ):
            thread = (await server.sdk().threads.create())["thread_id"]
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": "What is the key rate?"}]}
            await server.sdk().runs.wait(thread, "supervisor", input=asked)
            values: dict[str, Any] = dict((await server.sdk().threads.get_state(thread))["values"])
            assert values["messages"][-1]["content"][0]["text"] == (
                f"The board “{QUOTE}” [1], they say it “fell to 3 percent”."
            )
            [citation] = values["citations"]
            assert (citation["url"], citation["quote"]) == (PAGES[0]["url"], QUOTE)
            assert (citation["document_id"], citation["version"]) == (None, None)
            [annotation] = values["messages"][-1]["content"][0]["annotations"]
            assert annotation["url"] == PAGES[0]["url"]
            assert tavily.requests[0]["topic"] == "news"
            assert tavily.requests[0]["max_results"] == 2
            async with server.http() as http:
                answer = await http.post(
                    "/v1/chat/completions",
                    json={"model": "supervisor", "messages": [{"role": "user", "content": "What is the key rate?"}]},
                )
                [note] = answer.json()["choices"][0]["message"]["annotations"]
                assert note["url_citation"]["url"] == PAGES[0]["url"]
                tools = {tool["name"]: tool for tool in (await http.get("/v1/tools")).json()["tools"]}
            assert (tools["web_search"]["available"], tools["web_search"]["unavailable_reason"]) == (True, None)
            assert KEY not in json.dumps([upstream.requests, values, tools])
            # a wrong key costs the call, not the turn
            tavily.answers.append((401, {}, b"{}"))
            ended: dict[str, Any] = dict(await server.sdk().runs.wait(None, "supervisor", input=asked))  # type: ignore[arg-type]
            assert ended["messages"][-1]["content"][0]["text"] == "tool_rejected"


async def test_without_a_key_models_do_not_see_it(serving: Serving) -> None:
    with Upstream(lambda body: Reply(["Fine."])) as upstream:
        async with serving(upstream) as server:
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": "What is the key rate?"}]}
            await server.sdk().runs.wait(None, "supervisor", input=asked)
            assert "search_documents" in names(upstream.requests[0])
            assert "web_search" not in names(upstream.requests[0])
            async with server.http() as http:
                tools = {tool["name"]: tool for tool in (await http.get("/v1/tools")).json()["tools"]}
            assert tools["web_search"]["available"] is False
            assert "TAVILY_API_KEY" in tools["web_search"]["unavailable_reason"]
