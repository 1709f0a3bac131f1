"""The first turn, through the official SDK."""

from __future__ import annotations

from tests.serving import Served

CONTRACT = """# Договор поставки № 17

## 7. Ответственность сторон

7.1. Стороны несут ответственность в соответствии с законодательством.

7.2. За просрочку поставки товара Поставщик уплачивает Покупателю неустойку в размере 0,1 % от стоимости непоставленного
товара за каждый день просрочки, но не более 10 % от его стоимости.
"""
QUESTION = "Какая неустойка за просрочку поставки по договору?"


async def test_a_delegated_turn_is_cited_and_its_child_is_a_thread(server: Served) -> None:
    document_id = await server.upload("dogovor.md", CONTRACT)
    client = server.sdk()
    thread = await client.threads.create()
    events = [
        part
        async for part in client.runs.stream(
            thread["thread_id"],
            "supervisor",
            input={"messages": [{"role": "user", "content": QUESTION}]},
            stream_mode=["values", "updates", "messages-tuple", "custom"],
            stream_subgraphs=True,
        )
    ]
    names = [part.event for part in events]
    assert names[0] == "metadata"
    assert any(name.startswith("updates|legal_agent:") for name in names)
    state = await client.threads.get_state(thread["thread_id"])
    answer = state["values"]["messages"][-1]
    assert "0,1 %" in answer["content"][0]["text"]
    annotation = answer["content"][0]["annotations"][0]
    assert annotation["extras"]["document_id"] == document_id
    citation = state["values"]["citations"][0]
    async with server.http() as http:
        opened = (await http.get(annotation["url"])).json()
        children = (await http.get(f"/v1/threads/{thread['thread_id']}/children")).json()["children"]
    assert opened["text"] == citation["quote"]
    assert [child["agent"] for child in children] == ["legal_agent"]
    child = await client.threads.get_state(children[0]["thread_id"])
    assert child["values"]["messages"][0]["content"] == QUESTION
    assert children[0]["child_status"] == "completed"
