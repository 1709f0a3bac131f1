"""The organisation's work as a list: runs and documents, whoever may see them; a document that failed is read again."""

from __future__ import annotations

from typing import Any

from tests.serving import Served

ASKED: Any = {"messages": [{"role": "user", "content": "Which penalty?"}]}


async def test_runs_and_documents_are_listed_in_one_form(server: Served) -> None:
    good = await server.upload("contract.md", "# Penalty\n\n0.1 % a day.")
    bad = await server.upload("a.pdf", b"no pdf")
    client = server.sdk()
    thread = await client.threads.create(metadata={"title": "Penalties"})
    await client.runs.wait(thread["thread_id"], "supervisor", input=ASKED)
    async with server.http() as http:
        jobs = (await http.get("/v1/jobs")).json()["jobs"]
        run, failed, ready = jobs
        assert (run["kind"], run["status"], run["title"]) == ("agent.run", "succeeded", "Penalties")
        assert (run["attempts"], run["progress"], run["error"]) == (1, None, None)
        assert run["thread_id"] == thread["thread_id"]
        assert (failed["job_id"], failed["status"], failed["attempts"]) == (bad, "failed", None)
        assert failed["error"]["code"] == "document_unreadable"
        assert (ready["document_id"], ready["status"], ready["progress"], ready["version"]) == (good, "succeeded", 1, 1)

        async def listed(**params: Any) -> list[str]:
            answer = await http.get("/v1/jobs", params=params)
            return [one["job_id"] for one in answer.json()["jobs"]]

        assert await listed(kind="agent.run") == [run["job_id"]]
        assert await listed(status="failed") == [bad]
        assert await listed(kind="agent.run", status="failed") == []
        assert await listed(limit=1, offset=1) == [bad]
        assert (await http.get("/v1/jobs", params={"status": "lost"})).status_code == 422


async def test_members_see_their_own_and_nobody_anothers(server: Served) -> None:
    await server.upload("contract.md", "# Penalty\n\n0.1 % a day.")
    kim = server.sdk(user="kim", role="member")
    thread = await kim.threads.create()
    await kim.runs.wait(thread["thread_id"], "supervisor", input=ASKED)
    async with server.http(user="kim", role="member") as http:
        assert [one["kind"] for one in (await http.get("/v1/jobs")).json()["jobs"]] == ["agent.run"]
    async with server.http(user="mia", role="manager") as http:
        assert {one["created_by"] for one in (await http.get("/v1/jobs")).json()["jobs"]} == {"ann", "kim"}
    async with server.http("globex") as http:
        assert (await http.get("/v1/jobs")).json() == {"jobs": []}


async def test_a_document_that_failed_is_read_again(server: Served) -> None:
    bad, good = await server.upload("a.pdf", b"no pdf"), await server.upload("b.md", "# B\n\nText.")
    async with server.http() as http:
        again = await http.post(f"/v1/documents/{bad}/retry")
        assert (again.status_code, again.json()["status"], again.json()["error"]) == (202, "pending", None)
        refused = await http.post(f"/v1/documents/{good}/retry")
        assert (refused.status_code, refused.json()["details"]) == (409, {"status": "ready"})
    async with server.http(user="kim", role="member") as http:
        assert (await http.post(f"/v1/documents/{bad}/retry")).status_code == 403
    async with server.http("globex") as http:
        assert (await http.post(f"/v1/documents/{bad}/retry")).status_code == 404
