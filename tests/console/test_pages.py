"""What a person does first on the other pages, through the simulated browser."""

from __future__ import annotations

import asyncio

import pytest
from nicegui import ui
from nicegui.elements.upload_files import SmallFileUpload
from nicegui.testing import User

from tests.console.conftest import CONTRACT, answered, ask, count, seen, shown, sign_in, signed_in
from tests.serving import Served

PAGES = [
    "/",
    "/documents",
    "/notes",
    "/skills",
    "/new-skill",
    "/skills/legal_agent",
    "/tools",
    "/models",
    "/usage",
    "/graph",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_opens_and_names_itself(ann: User, path: str) -> None:
    await ann.open(path)
    await ann.should_see(marker="heading")
    await ann.should_see(marker="account")


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_sees_a_page_without_signing_in(visitor: User, path: str) -> None:
    answer = await visitor.http_client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_a_bad_token_is_told_apart_and_not_kept(visitor: User, server: Served) -> None:
    for token, said in (
        ("", "Enter a token"),
        ("what is this", "This is not a token"),
        ("токен", "This is not a token"),
        (server.token()[:-6] + "AAAAAA", "signature is wrong"),
        ("x" * 5000, "too long"),
    ):
        target = await sign_in(visitor, token)
        assert target.startswith("/sign-in?error=")
        await visitor.open(target)
        await visitor.should_see(said)
        assert (await visitor.http_client.get("/")).status_code == 303


async def test_a_form_of_another_site_signs_nobody_in(visitor: User, server: Served) -> None:
    headers = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    answer = await visitor.http_client.post("/session", data={"token": server.token()}, headers=headers)
    assert answer.status_code == 403


async def test_signing_out_ends_the_session(ann: User) -> None:
    assert (await ann.http_client.get("/notes")).status_code == 200
    assert (await ann.http_client.post("/session/end")).headers["location"] == "/sign-in"
    assert (await ann.http_client.get("/notes")).status_code == 303


async def test_language_and_appearance_are_chosen_and_kept(ann: User) -> None:
    await ann.open("/documents")
    await ann.should_see("Documents")
    answer = await ann.http_client.get("/preferences?language=ru&theme=dark&back=/documents")
    assert answer.headers["location"] == "/documents"
    await ann.open("/documents")
    await ann.should_see("По этим документам агенты отвечают")
    assert ann.client is not None
    with ann.client:
        assert [one.value for one in ann.find(ui.dark_mode).elements] == [True]


@pytest.mark.parametrize("back", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example"])
async def test_preferences_lead_nowhere_else(ann: User, back: str) -> None:
    answer = await ann.http_client.get("/preferences", params={"language": "en", "back": back})
    assert answer.headers["location"] == "/"


async def test_a_document_is_uploaded_and_read(ann: User, server: Served) -> None:
    await ann.open("/documents")
    upload = next(iter(ann.find(ui.upload).elements))
    assert ann.client is not None
    ann.find(marker="local-only").click()
    with ann.client:
        await upload.handle_uploads([SmallFileUpload("supply-contract.md", "text/markdown", CONTRACT.encode())])
    await ann.should_see("“supply-contract.md” is uploaded", retries=50)
    await seen(lambda: any("ready" in one for one in shown(ann, "document")), "the document, read")
    assert "local_only" in shown(ann, "document")[0]


async def test_a_document_that_cannot_be_read_says_why(ann: User) -> None:
    await ann.open("/documents")
    upload = next(iter(ann.find(ui.upload).elements))
    assert ann.client is not None
    with ann.client:
        await upload.handle_uploads([SmallFileUpload("broken.pdf", "application/pdf", b"%PDF-1.4 not really")])
    await seen(lambda: any("failed" in one for one in shown(ann, "document")), "the failure")
    [row] = shown(ann, "document")
    assert "The file is damaged." in row
    assert "None" not in row, "nothing is said of passages where there are none"
    await ann.open("/preferences?language=ru&back=/documents")
    await seen(lambda: any("Файл повреждён." in one for one in shown(ann, "document")), "why, in Russian")


async def test_a_kind_of_file_that_is_not_read_is_refused_in_words(ann: User) -> None:
    await ann.open("/documents")
    upload = next(iter(ann.find(ui.upload).elements))
    assert ann.client is not None
    with ann.client:
        await upload.handle_uploads([SmallFileUpload("setup.exe", "application/x-ms-dos-executable", b"MZ")])
    await ann.should_see("“setup.exe”: Agents can't read files of this kind.", retries=30)


async def test_members_read_documents_and_notes_only(visitor: User, server: Served, contract: str) -> None:
    user = await signed_in(server, visitor, "member", "kim")
    await user.open("/documents")
    await user.should_see("Managers upload and change documents.")
    await user.should_not_see(marker="upload")
    await user.should_see("supply-contract")
    await user.open("/notes")
    await user.should_not_see(marker="note-add")


async def test_a_note_is_added_once(ann: User) -> None:
    await ann.open("/notes")
    ann.find(marker="note-text").type("Our fiscal year starts in April.")
    ann.find(marker="note-add").click()
    await seen(lambda: count(ann, marker="note") == 1, "the note")
    ann.find(marker="note-text").type("our fiscal year starts in april")
    ann.find(marker="note-add").click()
    await ann.should_see("This fact is already known.", retries=30)
    assert count(ann, marker="note") == 1


async def test_tools_and_models_show_their_health(ann: User) -> None:
    await ann.open("/tools")
    assert any("Search the documents" in one and "available" in one for one in shown(ann, "tool"))
    assert any("Search the web" in one and "TAVILY_API_KEY" in one for one in shown(ann, "tool"))
    await ann.open("/models")
    providers = shown(ann, "provider")
    assert "extractive" in providers[0], "usable ones come first"
    assert any("OPENAI_API_KEY or OPENAI_BASE_URL" in one for one in providers), "what is missing is named"


async def test_usage_is_drawn_with_the_limits(ann: User, contract: str) -> None:
    await ann.open("/usage")
    await ann.should_see("There were no calls in this time.")
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    await ann.open("/usage")
    await ann.should_see(marker="usage-chart")
    assert "2,000,000" in " ".join(shown(ann, "limit"))
    await ann.should_see("extractive")


async def test_the_graph_shows_which_way_an_answer_took(ann: User, server: Served, contract: str) -> None:
    await ann.open("/graph")
    await ann.should_see("Choose a conversation")
    assert "with-path" not in shown(ann, "graph-picture")[0]
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    (thread,) = await server.sdk().threads.search()
    await ann.open(f"/graph?thread={thread['thread_id']}")
    picture = shown(ann, "graph-picture")[0]
    assert "with-path" in picture
    assert 'class="taken"' in picture
    steps = shown(ann, "graph-step")
    assert any("model" in one and "tokens" in one for one in steps)
    assert any("Legal" in one for one in steps)
    assert "success" in shown(ann, "graph-total")[0]
    ann.find(marker="graph-step").click()


async def test_conversations_are_found_renamed_and_put_away(ann: User, server: Served) -> None:
    client = server.sdk()
    first = await client.threads.create(metadata={"title": "About pumps"})
    await client.threads.create(metadata={"title": "About fans"})
    await ann.open("/")
    await ann.should_see("About pumps", retries=30)
    ann.find(marker="thread-search").type("fans")
    await ann.should_not_see("About pumps", retries=30)
    await ann.should_see("About fans")
    await client.threads.update(first["thread_id"], metadata={"archived": True})
    await ann.open("/")
    await ann.should_see("About fans", retries=30)
    await ann.should_not_see("About pumps")
    ann.find("Archived").click()
    await ann.should_see("About pumps", retries=30)


async def test_a_conversation_is_renamed_and_deleted_from_its_menu(ann: User, server: Served) -> None:
    thread = await server.sdk().threads.create(metadata={"title": "About pumps"})
    await ann.open("/")
    await ann.should_see("About pumps", retries=30)
    ann.find(marker="thread-actions").click()
    ann.find(marker="action-edit").click()
    await ann.should_see(marker="dialog-text", retries=30)
    ann.find(marker="dialog-text").clear().type("Pumps and fans")
    ann.find(marker="dialog-save").click()
    await seen(lambda: any("Pumps and fans" in one for one in shown(ann, "thread")), "the new name in the list")
    ann.find(marker="thread-actions").click()
    assert (await server.sdk().threads.get(thread["thread_id"]))["metadata"]["title"] == "Pumps and fans"
    ann.find(marker="action-delete").click()
    await ann.should_see(marker="confirm", retries=30)
    ann.find(marker="confirm").click()
    await ann.should_see("Your conversations will be here.", retries=30)
    assert await server.sdk().threads.search() == []


async def test_a_conversation_is_taken_along(ann: User, server: Served, contract: str) -> None:
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    ann.find(marker="thread-actions").click()
    await ann.should_see("Download as Markdown", retries=30)
    ann.find(marker="action-description").click()
    answer = await ann.download.next()
    assert "0.1 %" in answer.text
    assert "### Sources" in answer.text


async def test_a_document_is_labelled_and_deleted(ann: User, server: Served, contract: str) -> None:
    await ann.open("/documents")
    ann.find(marker="document-actions").click()
    ann.find(marker="action-label").click()
    await ann.should_see(marker="dialog-text", retries=30)
    ann.find(marker="dialog-text").type("local_only, legal")
    ann.find(marker="dialog-save").click()
    await seen(lambda: "local_only" in shown(ann, "document")[0], "the label")
    ann.find(marker="document-actions").click()
    ann.find(marker="action-delete").click()
    await ann.should_see(marker="confirm", retries=30)
    ann.find(marker="confirm").click()
    await ann.should_see("No documents yet", retries=30)


def refusal(user: User, marker: str) -> str:
    """What is said to be wrong with a field."""
    [field] = user.find(marker=marker).elements
    return str(field.props["error-message"]) if field.props.get("error") else ""


async def test_an_mcp_server_is_added_switched_off_and_removed(ann: User) -> None:
    await ann.open("/tools")
    assert not any("crm.example" in one for one in shown(ann, "mcp-server"))
    ann.find(marker="mcp-add").click()
    await ann.should_see(marker="mcp-url", retries=30)
    ann.find(marker="mcp-save").click()
    await seen(lambda: "http://" in refusal(ann, "mcp-url"), "what an address is")
    assert "digits, hyphens" in refusal(ann, "mcp-name")
    ann.find(marker="mcp-name").type("tracker")
    ann.find(marker="mcp-url").type("http://10.0.0.1/mcp")
    ann.find(marker="mcp-save").click()
    await seen(lambda: "An internal address" in refusal(ann, "mcp-url"), "the refusal at its field")
    assert not refusal(ann, "mcp-name")
    ann.find(marker="mcp-url").clear().type("https://crm.example.invalid/mcp")
    ann.find(marker="mcp-save").click()
    await seen(
        lambda: any("tracker" in one and "unreachable" in one for one in shown(ann, "mcp-server")),
        "the server, unreachable",
    )
    ann.find(marker="enabled-tracker").click()
    await seen(
        lambda: any("tracker" in one and "switched off" in one for one in shown(ann, "mcp-server")),
        "the server, switched off",
    )
    ann.find(marker="actions-tracker").click()
    await ann.should_see(marker="action-delete", retries=30)
    ann.find(marker="action-delete").click()
    await ann.should_see(marker="confirm", retries=30)
    ann.find(marker="confirm").click()
    await seen(lambda: not any("tracker" in one for one in shown(ann, "mcp-server")), "the list without it")


async def test_a_skill_is_changed_tried_and_taken_back(ann: User, server: Served) -> None:
    await ann.open("/skills/legal_agent")
    ann.find(marker="skill-title.en").clear().type("Counsel")
    ann.find(marker="trial-question").type("What is the penalty?")
    ann.find(marker="trial-ask").click()
    await ann.should_see(marker="trial-answer", retries=100)
    ann.find(marker="skill-save").click()
    await ann.should_see(marker="dialog-save", retries=30)
    ann.find(marker="dialog-save").click()
    await ann.should_see("Saved.", retries=50)
    async with server.http() as http:
        assert (await http.get("/v1/skills/legal_agent")).json()["definition"]["title"]["en"] == "Counsel"
    await ann.open("/skills")
    assert any("Counsel" in one and "changed by you" in one for one in shown(ann, "skill"))
    await ann.open("/skills/legal_agent")
    assert len(shown(ann, "skill-version")) == 2
    ann.find(marker="skill-delete").click()
    await ann.should_see(marker="confirm", retries=30)
    ann.find(marker="confirm").click()
    async with server.http() as http, asyncio.timeout(20):
        while (await http.get("/v1/skills/legal_agent")).json()["source"] != "operator":
            await asyncio.sleep(0.05)
    await ann.open("/skills")
    assert not any("Counsel" in one for one in shown(ann, "skill"))


async def test_a_skill_that_cannot_be_is_refused_at_its_field(ann: User) -> None:
    await ann.open("/new-skill")
    ann.find(marker="skill-name").type("tax_agent")
    ann.find(marker="skill-title").type("Налоги")
    ann.find(marker="skill-title.en").type("Taxes")
    ann.find(marker="skill-prompt").type("You know taxes.")
    ann.find(marker="skill-save").click()
    await seen(lambda: refusal(ann, "skill-description") == "Fill this in.", "the refusal")
    assert not refusal(ann, "skill-title")
    ann.find(marker="skill-name").clear().type("Tax agent")
    ann.find(marker="skill-save").click()
    await seen(lambda: "Small Latin letters" in refusal(ann, "skill-name"), "what a name is")
    ann.find(marker="skill-name").clear().type("tax_agent")
    ann.find(marker="skill-description").type("Questions about taxes.")
    ann.find(marker="skill-save").click()
    await ann.should_see("Saved.", retries=50)


async def test_members_see_skills_without_their_instructions(visitor: User, server: Served) -> None:
    user = await signed_in(server, visitor, "member", "kim")
    await user.open("/skills/legal_agent")
    await user.should_see("Managers change skills.")
    await user.should_not_see(marker="skill-prompt")
    await user.should_not_see(marker="skill-save")


async def test_a_link_of_another_site_asks_before_it_signs_in(visitor: User, server: Served) -> None:
    own = (await visitor.http_client.get("/sign-in", headers={"sec-fetch-site": "none"})).text
    assert '"here": null, "elsewhere": false' in own
    led = (await visitor.http_client.get("/sign-in", headers={"sec-fetch-site": "cross-site"})).text
    assert '"elsewhere": true' in led
    await sign_in(visitor, server.token(user="</script><b>ann"))
    again = (await visitor.http_client.get("/sign-in", headers={"sec-fetch-site": "none"})).text
    assert "\\u003c/script>\\u003cb>ann \\u00b7 acme" in again


async def test_an_address_puts_no_words_into_the_consoles_mouth(visitor: User, server: Served) -> None:
    page = (await visitor.http_client.get("/sign-in?error=refused&message=Write+to+eve@example.com")).text
    assert "eve@example.com" not in page
