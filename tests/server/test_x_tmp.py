from tests.server.conftest import *
from tests.server.test_turns import *
async def test_x(server):
    await server.upload("campaign.md", CAMPAIGN)
    thread = await server.sdk().threads.create()
    values = await ask(server, thread["thread_id"], "What is the name of the chief pilot of our Mars mission?")
    for m in values["messages"]: print(m["type"], m["content"], m.get("tool_calls"), m["response_metadata"])
    assert 0
