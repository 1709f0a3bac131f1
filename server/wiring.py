"""All wiring on one screen: what the process is made of, in the order it is opened and closed."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from domain.breaker import BreakerPolicy
from domain.catalogue import load_catalogue
from domain.ids import organization_id
from domain.policy import ModelPolicy
from domain.settings import Settings, process_environment
from graphs.build import build_graphs
from graphs.skills import load_json_prompts, load_skills, load_summary_prompt
from jobs.engine import JobEngine
from nodes.conversation import reduce_messages
from nodes.runtime import Services
from providers.admission import Admission
from providers.breaker import Breakers
from providers.caller import Caller
from providers.chooser import Chooser
from providers.embedder import Embedder
from providers.estimate import OutputEstimates
from providers.latency import Latencies
from providers.registry import Providers
from retrieval.analyse import analyse
from retrieval.demo import load_demo, read_demo
from retrieval.index import KnowledgeIndex
from retrieval.queue import IngestQueue
from retrieval.recall import Recall
from retrieval.search import LexicalRetriever
from server.assistants import Assistants
from server.auth import Authenticator
from server.deps import AppState
from server.engine.closing import OpenCalls
from server.engine.engine import Engine
from server.engine.executor import Executor
from server.metrics import Metered, Metrics
from server.one_shot import record_call
from storage import embedded, migrate
from storage.approvals import Approvals
from storage.audit_log import AuditLog
from storage.breakers import BreakerStore
from storage.children import Children
from storage.database import Database, open_pool
from storage.documents import Documents
from storage.embedding_cache import EmbeddingCache
from storage.events import Events
from storage.isolation import assert_isolation
from storage.jobs import Jobs
from storage.mcp_servers import McpServers
from storage.model_calls import ModelCalls
from storage.notes import Notes
from storage.organizations import Organizations
from storage.policies import ModelPolicies
from storage.quota import QuotaLedger
from storage.rate import RateLimits, Rates
from storage.runs import Runs
from storage.saver import TenantSaver
from storage.skills import Skills
from storage.threads import Threads
from storage.tool_calls import ToolCalls
from storage.tool_effects import ToolEffects
from tools.documents import SearchDocuments
from tools.mcp.addresses import networks
from tools.mcp.config import load_operator_servers
from tools.mcp.servers import McpToolbox
from tools.mcp.sessions import McpLimits
from tools.memory import SaveOrganizationNote
from tools.registry import Registry
from tools.web_search import SearchDefaults, WebSearch

_DEFAULT_PROVIDERS = {"development": "deepseek", "production": "openai"}
"""Who is asked first where nobody wishes anything, by what the server is for."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What agents work with, in a server and in LangGraph Studio alike."""

    db: Database
    documents: Documents
    notes: Notes
    mcp_servers: McpServers
    index: KnowledgeIndex
    ingest: IngestQueue
    services: Services


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Database up and migrated, services made, documents being indexed, the sample organisation loaded where asked for."""
    async with _database(settings) as db:
        documents, index, notes = Documents(db), KnowledgeIndex(db), Notes(db, analyse)
        retriever, ingest = LexicalRetriever(documents), IngestQueue(index)
        catalogue = load_catalogue(settings.providers_file)
        environ = await asyncio.to_thread(process_environment)
        providers = Providers(catalogue, environ, analyse)
        mcp_servers = McpServers(db)
        mcp = _mcp(settings, mcp_servers, environ)
        caller = Caller(
            ledger=QuotaLedger(db, settings.daily_tokens),
            calls=ModelCalls(db),
            breakers=Breakers(BreakerStore(db), _breaker_policy(settings)),
            admission=Admission(catalogue.places()),
            latencies=Latencies(),
            estimates=OutputEstimates(),
            output_tokens=settings.reserve_output_tokens,
        )
        policies = ModelPolicies(db)
        web_search = _web_search(settings)
        default = ModelPolicy(provider=settings.default_provider or _DEFAULT_PROVIDERS[settings.environment])
        services = Services(
            skills=load_skills(),
            limits=settings.limits,
            catalogue=catalogue,
            providers=providers,
            caller=caller,
            chooser=Chooser(providers, policies, caller.breakers, caller.latencies, default),
            embedder=Embedder(providers, caller, EmbeddingCache(db, settings.embedding_cache_seconds)),
            policies=policies,
            retriever=retriever,
            recall=Recall(db, retriever),
            tools=Registry([SearchDocuments(retriever), web_search, SaveOrganizationNote(notes)]),
            mcp=mcp,
            tool_calls=ToolCalls(db),
            tool_effects=ToolEffects(db),
            children=Children(db),
            json_prompts=load_json_prompts(),
            summary_prompt=load_summary_prompt(),
        )
        caller.estimates.seed(await caller.ledger.recent_completions())
        await caller.breakers.start()
        await services.embedder.start()
        await ingest.start()
        warming = asyncio.create_task(providers.warm())
        try:
            if settings.demo:
                await load_demo(index, notes, read_demo())
            yield Parts(db, documents, notes, mcp_servers, index, ingest, services)
        finally:
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)
            await ingest.stop()
            await services.embedder.stop()
            await mcp.aclose()
            await caller.breakers.stop()
            await providers.aclose()
            await web_search.aclose()


def _web_search(settings: Settings) -> WebSearch:
    defaults = SearchDefaults(
        depth=settings.web_search_depth,
        results=settings.web_search_results,
        include_domains=settings.web_search_include_domains,
        exclude_domains=settings.web_search_exclude_domains,
        seconds=settings.web_search_seconds,
    )
    return WebSearch(settings.tavily_api_key, settings.tavily_base_url, defaults)


def _mcp(settings: Settings, store: McpServers, environ: Mapping[str, str]) -> McpToolbox:
    limits = McpLimits(
        connect_seconds=settings.mcp_connect_seconds,
        call_seconds=settings.mcp_call_seconds,
        ttl_seconds=settings.mcp_cache_seconds,
        max_tools=settings.mcp_max_tools,
    )
    sample = organization_id(read_demo().name) if settings.demo else None
    operators = load_operator_servers(settings.mcp_file, environ, sample)
    return McpToolbox(store, operators, limits, networks(settings.mcp_allowed_networks))


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[AppState]:
    """The state of a server: its parts, the graphs on our saver, the run engine."""
    async with open_parts(settings) as parts:
        db, services = parts.db, parts.services
        saver, events, threads = TenantSaver(db, {"messages": reduce_messages}), Events(db), Threads(db)
        graphs, skills = build_graphs(services, services.skills, saver), Skills(db, services.skills)
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        jobs = JobEngine(db, holder=holder, lease_seconds=settings.lease_seconds)
        executor = Executor(
            graphs,
            skills,
            jobs,
            events,
            OpenCalls(graphs, services.children, services.tool_calls, services.tool_effects),
            saver,
            services.caller.ledger,
            threads,
            lease_seconds=settings.lease_seconds,
            flush_seconds=settings.flush_seconds,
            turn_seconds=settings.limits.turn_seconds,
        )
        engine = Engine(
            jobs=jobs,
            executor=executor,
            runs=Runs(db),
            threads=threads,
            events=events,
            saver=saver,
            graphs=graphs,
            chooser=services.chooser,
            quota=services.caller.ledger,
            recall=services.recall,
            skills=skills,
            max_concurrent_runs=settings.max_concurrent_runs,
        )
        metrics, metered = _metrics(services, db)
        authenticator = Authenticator(settings)
        await engine.start()
        try:
            yield AppState(
                settings=settings,
                db=db,
                authenticator=authenticator,
                organizations=Organizations(db),
                documents=parts.documents,
                notes=parts.notes,
                mcp_servers=parts.mcp_servers,
                index=parts.index,
                ingest=parts.ingest,
                retriever=services.retriever,
                quota=services.caller.ledger,
                rates=RateLimits(
                    db,
                    Rates(
                        organization=settings.rate_organization_per_minute,
                        user=settings.rate_user_per_minute,
                        model=settings.rate_model_per_minute,
                    ),
                ),
                threads=threads,
                children=services.children,
                tool_calls=services.tool_calls,
                approvals=Approvals(db),
                jobs=Jobs(db),
                model_calls=services.caller.calls,
                metrics=metrics,
                metered=metered,
                skills=skills,
                audit_log=AuditLog(db),
                assistants=Assistants(graphs, skills),
                services=services,
                graphs=graphs,
                engine=engine,
            )
        finally:
            await engine.stop()
            await authenticator.aclose()


def _breaker_policy(settings: Settings) -> BreakerPolicy:
    seconds = settings.breaker_open_seconds
    return BreakerPolicy(
        settings.breaker_failures,
        seconds,
        longest_seconds=30 * seconds,
        longest_rest_seconds=settings.breaker_longest_rest_seconds,
    )


def _metrics(services: Services, db: Database) -> tuple[Metrics, Metered]:
    """The process's metrics, fed by every model call and every search."""
    defaults = {name: state.default_model for name, state in services.providers.snapshot().providers.items()}
    counted = Metrics(services.catalogue, defaults)
    metered = Metered(services.caller, tuple(defaults), db.pool)
    counted.registry.register(metered)
    services.caller.observers += [counted.call, record_call]
    services.retriever.observers.append(counted.retrieval)
    return counted, metered


@contextmanager
def owner_database(settings: Settings) -> Iterator[str]:
    """The owner's DSN of the database the settings name; the embedded server is up while the block runs."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = embedded.start(settings.data_dir.resolve() / "postgres")
    try:
        yield embedded.ensure_database(server, "consilium")
    finally:
        server.cleanup()


def application_dsn(settings: Settings, owner: str) -> str:
    """How the application logs in. The embedded server trusts the local login; elsewhere the owner's assumes the role."""
    user = None if settings.database_url is not None else "consilium_app"
    return settings.database_app_url or embedded.application_dsn(owner, user=user)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    """The database of the settings, migrated, with the application's pool open."""
    owning = owner_database(settings)
    owner = await asyncio.to_thread(owning.__enter__)
    try:
        dsn = application_dsn(settings, owner)
        await asyncio.to_thread(migrate.migrate, owner)
        await asyncio.to_thread(assert_isolation, dsn)
        async with open_pool(dsn, min_size=settings.pool_min, max_size=settings.pool_max) as pool:
            yield Database(pool)
    finally:
        await asyncio.to_thread(owning.__exit__, None, None, None)
