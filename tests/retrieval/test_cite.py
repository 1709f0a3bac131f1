"""Citations: which markers hold, what they cite, and that streaming changes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.ids import ChunkId, DocumentId
from domain.knowledge import Passage, Source
from retrieval.cite import CitationFilter, merge, number, renumber, resolve, to_content_blocks

CONTRACT = (
    "7.2. За просрочку поставки Поставщик уплачивает неустойку в размере 0,1 % от стоимости за каждый день.\n"
    "7.3. За просрочку оплаты Покупатель уплачивает пени — 10,5 % годовых."
)
REPORT = 'The conversion rate was **4.2%**. The "best" channel was e-mail, and it cost us 410 roubles per lead.'


def passage(chunk_id: str, text: str, start: int = 100) -> Passage:
    return Passage(
        chunk_id=ChunkId(chunk_id),
        document_id=DocumentId(f"document-{chunk_id}"),
        version=2,
        title=f"Title {chunk_id}",
        page=3,
        section="A › B",
        start=start,
        end=start + len(text),
        text=text,
        score=1.5,
    )


SOURCES = number([passage("a", CONTRACT), passage("b", REPORT)])


@pytest.mark.parametrize(
    ("answer", "shown", "stripped"),
    [
        ("Да [1].", "Да [1].", 0),
        ("Да [9].", "Да.", 1),
        ("Да [9] и нет", "Да и нет", 1),
        ("Да [1, 9] и [2;1]", "Да [1] и [2][1]", 1),
        ("Да [1-2]", "Да [1][2]", 0),
        ("Да [1–2] [9]", "Да [1][2]", 1),
        ("Да[9], нет", "Да, нет", 1),
        ("[0] a", " a", 1),
        # quotations
        ("«неустойку в размере 0,1% от стоимости» [1]", "«неустойку в размере 0,1% от стоимости» [1]", 0),
        ("«неустойку в размере 0,2% от стоимости» [1].", "«неустойку в размере 0,2% от стоимости».", 1),
        ("«неустойку в размере 0,1 % от стоимости» [2]", "«неустойку в размере 0,1 % от стоимости»", 1),
        ("«неустойку в размере 0,1 % от стоимости» [1][2]", "«неустойку в размере 0,1 % от стоимости» [1]", 1),
        ("“THE CONVERSION RATE WAS 4.2%” [2]", "“THE CONVERSION RATE WAS 4.2%” [2]", 0),
        ('"The conversion rate was 14.2%" [2]', '"The conversion rate was 14.2%"', 1),
        ('"onversion rate was 4.2%" [2]', '"onversion rate was 4.2%"', 1),
        ('"The conversion rate was 4" [2]', '"The conversion rate was 4"', 1),
        ("„the 'best' channel was e‑mail“. [2]", "„the 'best' channel was e‑mail“. [2]", 0),
        ("**«За просрочку поставки ... неустойку»** [1]", "**«За просрочку поставки ... неустойку»** [1]", 0),
        ("«уплачивает неустойку […] За просрочку поставки» [1]", "«уплачивает неустойку […] За просрочку поставки»", 1),
        ("> неустойку в размере\n> 0,1 % от стоимости\n\n[1]", "> неустойку в размере\n> 0,1 % от стоимости\n\n[1]", 0),
        ("> неустойку в размере 0,3 %\n\n[1]", "> неустойку в размере 0,3 %\n\n", 1),
        ("> неустойку в размере 0,3 %\n> — Договор [1]", "> неустойку в размере 0,3 %\n> — Договор", 1),
        ("«0,5 %» [1]", "«0,5 %» [1]", 0),  # too short to be a quotation
        ("Он сказал «что-то совсем иное», но пени 10,5 % [1]", "Он сказал «что-то совсем иное», но пени 10,5 % [1]", 0),
        # not markers
        ("see [1](http://x) and [text](u)", "see [1](http://x) and [text](u)", 0),
        ("- [x] done [ ] todo [] [2024] [a1] \\[9]", "- [x] done [ ] todo [] [2024] [a1] \\[9]", 0),
        ("`a[9]` and ``b`[9]`` [9]!", "`a[9]` and ``b`[9]``!", 1),
        ("```py\nx[9]\n```\n[9] end", "```py\nx[9]\n```\n end", 1),
        ("a stray ` here [9]\nnext [9].", "a stray ` here [9]\nnext.", 1),
        ("unfinished [1", "unfinished [1", 0),
        ("[[1]]", "[[1]]", 0),
    ],
)
def test_which_markers_hold(answer: str, shown: str, stripped: int) -> None:
    resolved = resolve(answer, SOURCES)
    assert (resolved.text, resolved.stripped) == (shown, stripped)


def test_a_citation_spans_its_quote_and_its_marker() -> None:
    resolved = resolve("Ответ: «За просрочку поставки … за каждый день». [1] Ещё [2].", SOURCES)
    first, second = resolved.citations
    assert first.quote == CONTRACT[first.start - 100 : first.end - 100]
    assert first.quote.startswith("За просрочку поставки Поставщик")
    assert first.quote.endswith("за каждый день")
    assert (first.n, first.page, first.section, first.version, first.title) == (1, 3, "A › B", 2, "Title a")
    assert [resolved.text[c.answer_start : c.answer_end] for c in (first, second)] == ["[1]", "[2]"]


def test_without_a_quotation_the_best_sentence_is_cited() -> None:
    (cited,) = resolve("Было холодно. Пени за просрочку оплаты составляют 10,5 % [1].", SOURCES).citations
    assert cited.quote == "7.3. За просрочку оплаты Покупатель уплачивает пени — 10,5 % годовых."


def test_without_any_shared_word_the_whole_passage_is_cited() -> None:
    (cited,) = resolve("Nothing alike [1].", SOURCES).citations
    assert (cited.start, cited.end, cited.quote) == (100, 100 + len(CONTRACT), CONTRACT)


def test_only_text_from_a_bracket_on_is_held() -> None:
    stream = CitationFilter(SOURCES)
    assert stream.feed("Да ") == "Да"
    assert stream.feed("и нет") == " и нет"
    assert stream.feed(" [") == ""
    assert stream.feed("1") == ""
    assert stream.feed("]") == ""
    assert stream.feed(".") == " [1]."
    assert stream.feed(" [x") == " [x"
    assert stream.flush() == ""


QUOTES = ["«неустойку в размере 0,1 % от стоимости»", "«неустойку в размере 7 %»", "The conversion rate was 4.2%"]
MARKERS = ["[1]", "[2]", "[9]", "[1, 2]", "[x]"]
PIECES = st.sampled_from([*QUOTES, *MARKERS, *'[]1`. >"(\\*,-\n\t', "```\n", "слово"])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join), st.data())
def test_how_the_answer_is_cut_changes_nothing(answer: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=12)))
    stream = CitationFilter(SOURCES)
    edges = [0, *cuts, len(answer)]
    shown = "".join(stream.feed(answer[a:b]) for a, b in pairwise(edges)) + stream.flush()
    resolved = resolve(answer, SOURCES)
    assert (shown, stream.citations, stream.stripped) == (resolved.text, resolved.citations, resolved.stripped)
    for cited in resolved.citations:
        assert shown[cited.answer_start : cited.answer_end] == f"[{cited.n}]"
        source = SOURCES[cited.n - 1]
        assert source.text[cited.start - source.start : cited.end - source.start] == cited.quote


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abв []12,«»\n`>.-", max_size=60))
def test_without_sources_only_markers_go(answer: str) -> None:
    resolved = resolve(answer, [])
    assert resolved.citations == []
    if not resolved.stripped:
        assert resolved.text == answer


def test_numbers_stay_with_their_chunk() -> None:
    first = number([passage("a", "x"), passage("b", "y")])
    again = number([passage("c", "z"), passage("a", "x")], first)
    assert [(source.chunk_id, source.n) for source in again] == [("c", 3), ("a", 1)]
    assert [source.n for source in merge(first, again)] == [1, 2, 3]


def test_the_same_chunk_twice_is_one_number() -> None:
    assert [source.n for source in number([passage("a", "x"), passage("a", "x")])] == [1, 1]


def test_content_blocks() -> None:
    resolved = resolve("Пени 10,5 % [1].", SOURCES)
    (block,) = to_content_blocks(resolved.text, resolved.citations)
    (annotation,) = block["annotations"]
    cited = resolved.citations[0]
    assert (block["type"], block["text"]) == ("text", "Пени 10,5 % [1].")
    assert annotation["type"] == "citation"
    assert annotation["url"] == f"/v1/documents/document-a/versions/2/passage?start={cited.start}&end={cited.end}"
    assert annotation["cited_text"] == cited.quote
    assert block["text"][annotation["start_index"] : annotation["end_index"]] == "[1]"
    assert annotation["extras"] == {
        "n": 1,
        "document_id": "document-a",
        "version": 2,
        "page": 3,
        "section": "A › B",
        "start": cited.start,
        "end": cited.end,
    }


def test_a_child_answers_in_its_parents_numbers() -> None:
    parent = number([passage(f"p{n}", "x") for n in range(10)] + [passage("b", REPORT)])
    child: list[Source] = SOURCES
    resolved = resolve("Раз [1], два [2], снова [1].", child)
    moved = renumber(resolved.text, resolved.citations, child, parent)
    assert moved.text == "Раз [12], два [11], снова [12]."
    assert [source.n for source in moved.sources] == list(range(1, 13))
    again = resolve(moved.text, moved.sources)
    assert (again.text, again.citations) == (moved.text, moved.citations)
