"""The extractive model over the sample organisation, through real retrieval: what a first visitor asks."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from domain.ids import OrganizationId
from domain.sources import render_notes, render_sources
from providers.extractive.model import ExtractiveChat, build
from retrieval.analyse import analyse
from retrieval.cite import number, resolve
from retrieval.demo import load_demo, read_demo
from retrieval.index import KnowledgeIndex
from retrieval.recall import Asked, Recall
from retrieval.search import LexicalRetriever
from storage.database import Database
from storage.documents import Documents
from storage.notes import Notes

ANSWERABLE = {
    "Какая неустойка за просрочку поставки по договору?": "0,1 %",
    "Какие пени за просрочку оплаты?": "0,05 %",
    "Какой размер предоплаты по договору поставки?": "30 %",
    "Какой гарантийный срок по договору?": "24 месяца",
    "Когда поставщик может расторгнуть договор?": "45 календарных",
    "Где рассматриваются споры по договору?": "Арбитражном суде",
    "Какой штраф за разглашение конфиденциальной информации?": "1 000 000",
    "Сколько лет действует соглашение о неразглашении?": "5 лет",
    "Сколько хранятся записи телефонных разговоров?": "90 дней",
    "Кто отвечает за обработку персональных данных?": "Анна Белова",
    "Сколько дней составляет ежегодный отпуск?": "28 календарных",
    "Какие суточные за границей?": "60 евро",
    "Какая конверсия была у осенней кампании?": "3,6 %",
    "Какой бюджет осенней кампании?": "1 750 000",
    "Сколько стоит Бриз 600?": "164 000",
    "Какая скидка при заказе от 50 установок?": "12 %",
    "Сколько стоит монтаж?": "18 500",
    "Какая сумма сделки с Волга Логистикой?": "9,8",
    "Кто принимает решение о закупке в Агро-Свет?": "Нина Фролова",
    "Сколько ватт потребляет Бриз 600?": "180 ватт",
    "Где находится основной склад?": "Твери",
    "What was the conversion rate of the spring campaign?": "4.2%",
    "What was the total budget of the spring campaign?": "2,273,000",
    "Which channel was the best in the spring campaign?": "7.8%",
    "How many deals did the spring campaign close?": "63 deals",
    "When does the summer campaign start?": "15 June",
    "Which deals are in the negotiation stage?": "TeploStroy",
    "What is our average deal size?": "2.35 million",
    "What is the win rate in the first quarter?": "28%",
    "Why did we lose deals?": "reason",
    "Who is the best performing sales manager?": "Olga Titova",
    "What is the total fee of the Helios agreement?": "86,400",
    "What law governs the services agreement?": "Finland",
    "How much notice is needed to terminate the services agreement?": "90 days",
    "How quickly must the contractor respond to a critical failure?": "4 hours",
    "How long are customer records kept?": "three years",
    "How soon do we notify customers of a data breach?": "72 hours",
    "How long does a refund take?": "10 business days",
    "What is the restocking fee?": "8%",
    "Who approves refunds above 300,000 roubles?": "Igor Lebedev",
    "How loud is the Breeze 600?": "34 dB",
    "How often should F7 filters be replaced?": "6 months",
    "When does the fiscal year start?": "1 April",
    "Какой адрес склада покупателя?": "Ярославль",
    "До какого числа действует договор?": "31 декабря 2026",
    "За сколько дней подаётся заявление на отпуск?": "14 дней",
    "Сколько заявок принесла рассылка?": "188",
    "Когда следующий звонок с ТеплоСтроем?": "14 апреля",
    "Кто ведёт юридические вопросы?": "Михаил Орлов",
    "Do we sell personal data?": "never sell",
    "Who is our data protection contact?": "Anna Belova",
    "What is the forecast for the second quarter?": "24 million",
}
UNANSWERABLE = [
    "What is the population of Mars?",
    "What is the CEO's favourite colour?",
    "Who won the football world cup in 2018?",
    "What was the conversion rate of the winter campaign?",
    "What is the price of the Breeze 1500?",
    "What is the salary of the sales manager?",
    "Which deals did we lose in Brazil?",
    "What does our contract with Gazprom say about penalties?",
    "How many parking places does the office have?",
    "What is the wifi password?",
    "Do we have a dress code?",
    "Какая неустойка по договору аренды?",
    "Какой любимый цвет генерального директора?",
    "Какая погода завтра в Твери?",
    "Сколько стоит Бриз 1500?",
    "Какая зарплата у менеджера по продажам?",
    "Сколько сотрудников в компании?",
    "Какой пароль от вайфая?",
    "Какая конверсия была у зимней кампании?",
    "Кто наш поставщик электроэнергии?",
    "Сколько спутников у Юпитера?",
    "Какие условия договора с Газпромом?",
    "Какой у нас ИНН?",
    "What is 2+2?",
    "What is our dental insurance plan?",
    "How many cars does the company own?",
    "What is Elena Sokolova's phone number?",
    "Когда день рождения у Ольги Титовой?",
    "Сколько стоит доставка в Китай?",
    "Write a poem about spring",
]


class Reader:
    """Asks as a specialist's first call does: six passages and all notes in the context."""

    def __init__(self, db: Database, organization_id: OrganizationId) -> None:
        self._recall = Recall(db, LexicalRetriever(Documents(db)))
        self._organization_id = organization_id
        self._model: ExtractiveChat = build(analyse)

    async def ask(self, question: str) -> tuple[AIMessage, int, int]:
        """The answer, how many of its markers resolve, how many don't."""
        known = await self._recall.about(Asked(self._organization_id, question, 6, 20), None)
        sources = number(known.passages, [])
        prompt = SystemMessage(
            "Organisation: North Wind. Today is 2026-11-21.\n\n"
            f"{render_notes(note.text for note in known.notes)}\n\n{render_sources(sources)}"
        )
        answer = self._model.invoke([prompt, HumanMessage(question)])
        resolved = resolve(answer.text, sources)
        return answer, len(resolved.citations), resolved.stripped


async def test_the_sample_organisation(db: Database) -> None:
    demo = read_demo()
    await load_demo(KnowledgeIndex(db), Notes(db, analyse), demo)
    reader = Reader(db, demo.organization_id)
    wrong = []
    for question, fact in ANSWERABLE.items():
        answer, cited, stripped = await reader.ask(question)
        if fact not in answer.text or stripped or not (cited or "memory" in answer.text or "памяти" in answer.text):
            wrong.append((question, answer.text, cited, stripped))
    for question in UNANSWERABLE:
        answer, cited, _ = await reader.ask(question)
        if answer.response_metadata.get("stop_reason") != "not_found" or cited:
            wrong.append((question, answer.text, cited, 0))
    assert wrong == [], "\n".join(map(str, wrong))
