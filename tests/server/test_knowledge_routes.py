"""Documents and notes over HTTP: uploads and their limits, roles, old versions, foreign ids."""

from __future__ import annotations

import httpx
import pytest

from domain.ids import new_id
from tests.serving import Served

CONTRACT = "# Сроки\n\nПени составляют 0,1 % в день.\n"


async def test_a_document_from_upload_to_deletion(server: Served) -> None:
    document_id = await server.upload("Договор.md", CONTRACT)
    async with server.http() as http:
        record = (await http.get(f"/v1/documents/{document_id}")).json()
        assert (record["status"], record["title"], record["version"], record["chunks"]) == ("ready", "Договор", 1, 1)
        listed = (await http.get("/v1/documents", params={"status": "ready"})).json()
        assert (listed["total"], listed["items"]) == (1, [record])
        (found,) = (await http.post("/v1/documents/search", json={"query": "какие пени?"})).json()["passages"]
        assert (found["document_id"], found["section"], found["page"]) == (document_id, "Сроки", None)

        again = await http.put(f"/v1/documents/{document_id}", files={"file": ("Договор.md", "# Новое\nДругое.")})
        assert (again.status_code, again.json()["version"]) == (202, 2)
        start = CONTRACT.index("Пени")
        url = f"/v1/documents/{document_id}/versions/1"
        opened = await http.get(f"{url}/passage", params={"start": start, "end": start + 4, "context": 3})
        assert opened.json() == {
            "document_id": document_id,
            "version": 1,
            "title": "Договор",
            "page": None,
            "section": "Сроки",
            "start": start,
            "end": start + 4,
            "text": "Пени",
            "before": "и\n\n",
            "after": " со",
        }
        assert (await http.get(f"{url}/text")).json()["text"] == CONTRACT
        content = await http.get(f"{url}/content")
        assert content.content == CONTRACT.encode()
        assert content.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%D0%94")

        assert (await http.delete(f"/v1/documents/{document_id}")).status_code == 204
        assert (await http.get(f"/v1/documents/{document_id}")).status_code == 404
        assert (await http.get(f"{url}/text")).status_code == 404


async def test_a_bad_file_says_why(server: Served) -> None:
    document_id = await server.upload("a.pdf", b"no pdf")
    async with server.http() as http:
        record = (await http.get(f"/v1/documents/{document_id}")).json()
    assert (record["status"], record["error"]["code"]) == ("failed", "document_unreadable")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"files": {"file": ("a.exe", b"MZ")}}, 415, "unsupported"),
        ({"files": {"other": ("a.txt", b"x")}}, 422, "invalid_input"),
        ({"data": {"file": "text"}}, 422, "invalid_input"),
        ({"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 422, "invalid_input"),
        ({"content": b"garbage", "headers": {"content-type": "multipart/form-data"}}, 422, "invalid_input"),
        ({"json": {"file": "x"}}, 422, "invalid_input"),
        ({"files": {"file": ("a.txt", b"x" * (25 * 2**20 + 1))}}, 413, "too_large"),
    ],
)
async def test_what_is_not_accepted(server: Served, sent: dict[str, object], status: int, code: str) -> None:
    async with server.http() as http:
        answer = await http.post("/v1/documents", **sent)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)
        assert (await http.get("/v1/documents")).json()["total"] == 0


async def test_a_body_of_undeclared_size_is_cut_off(server: Served) -> None:
    async def endless() -> object:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(60):
            yield b"x" * 2**20

    async with server.http() as http:
        try:
            answer = await http.post(
                "/v1/documents",
                content=endless(),  # type: ignore[arg-type]
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
            assert answer.status_code == 413
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            pass  # the server may hang up before the client has stopped sending
        assert (await http.get("/v1/documents")).json()["total"] == 0


async def test_members_read_and_managers_change(server: Served) -> None:
    document_id = await server.upload("a.md", CONTRACT)
    async with server.http(role="manager") as http:
        note_id = (await http.post("/v1/notes", json={"text": "Факт"})).json()["note_id"]
    async with server.http(role="member") as http:
        for path in ("/v1/documents", f"/v1/documents/{document_id}", "/v1/notes", f"/v1/notes/{note_id}"):
            assert (await http.get(path)).status_code == 200
        refused = [
            await http.post("/v1/documents", files={"file": ("a.txt", b"x")}),
            await http.put(f"/v1/documents/{document_id}", files={"file": ("a.txt", b"x")}),
            await http.delete(f"/v1/documents/{document_id}"),
            await http.post("/v1/notes", json={"text": "x"}),
            await http.patch(f"/v1/notes/{note_id}", json={"text": "x"}),
            await http.delete(f"/v1/notes/{note_id}"),
        ]
    for answer in refused:
        assert (answer.status_code, answer.json()["details"]["required_role"]) == (403, "manager")


async def test_a_foreign_id_answers_like_a_missing_one(server: Served) -> None:
    theirs = await server.upload("a.md", CONTRACT, organization="other")
    async with server.http("other") as http:
        note = (await http.post("/v1/notes", json={"text": "Их факт"})).json()["note_id"]
    async with server.http() as http:
        for path, foreign in (("documents", theirs), ("notes", note)):
            for verb, tail, more in (
                ("GET", "", {}),
                ("DELETE", "", {}),
                *([("PATCH", "", {"json": {"text": "x"}})] if path == "notes" else []),
                *([("PUT", "", {"files": {"file": ("a.txt", b"x")}})] if path == "documents" else []),
                *(
                    [("GET", f"/versions/1/{what}", {}) for what in ("text", "content", "passage?start=0&end=3")]
                    if path == "documents"
                    else []
                ),
            ):
                answers = []
                for one in (foreign, new_id(), "not-a-uuid"):
                    answer = await http.request(verb, f"/v1/{path}/{one}{tail}", **more)  # type: ignore[arg-type]
                    body = answer.json()
                    body.pop("trace_id")
                    answers.append((answer.status_code, str(body).replace(one, "ID")))
                assert answers == [answers[0]] * 3
                assert answers[0][0] == 404


async def test_a_note_over_http(server: Served) -> None:
    async with server.http(role="manager", user="mia") as http:
        made = await http.post("/v1/notes", json={"text": "Склад в Твери."})
        note = made.json()
        assert (made.status_code, note["created_by"], note["run_id"]) == (201, "mia", None)
        again = await http.post("/v1/notes", json={"text": "склад в твери"})
        assert (again.status_code, again.json()["details"]["note_id"]) == (409, note["note_id"])
        changed = await http.patch(f"/v1/notes/{note['note_id']}", json={"text": "Склад в Казани."})
        assert changed.json()["text"] == "Склад в Казани."
        assert (await http.get("/v1/notes")).json() == {"items": [changed.json()], "total": 1}
        for text in ("", "x" * 501, "?!"):
            assert (await http.post("/v1/notes", json={"text": text})).status_code == 422
        assert (await http.delete(f"/v1/notes/{note['note_id']}")).status_code == 204
        assert (await http.get(f"/v1/notes/{note['note_id']}")).status_code == 404
