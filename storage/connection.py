"""A connection that talks to the server as seldom as can be.

`batch` is one transaction of statements that are known beforehand, in one round trip. A `pipeline` is for those that depend on
each other: it sends when an answer is needed, not at every statement.

psycopg's own pipeline talks to the server after each `execute` and waits for BEGIN, for the end of the pipeline and for COMMIT
one by one: four round trips and a dozen waits of the event loop for a transaction of a few statements, which was half of the
processor time of a turn. Here statements wait in libpq's buffer until somebody fetches, commits or leaves the block.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncPipeline
from psycopg._queries import PostgresQuery
from psycopg.abc import PQGen
from psycopg.abc import Transformer as Conversion
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow

Params = Sequence[Any] | Mapping[str, Any]
Statement = tuple[str, Params]
"""SQL with its parameters."""
NAMED_AT_MOST = 1000
"""Prepared statements of a connection. Each named query has a few, by the types of its parameters."""


class BatchingPipeline(AsyncPipeline):
    """Queues statements; `fetch*`, `commit` and the end of the block send them. Errors of a statement show there, too."""

    begun = False
    """Whether a transaction began since the last sync: once all results were fetched libpq takes the connection to be idle."""

    def _communicate_gen(self) -> PQGen[None]:
        while self.command_queue:
            self.command_queue.popleft()()
        return
        yield  # a generator, as its callers expect

    def _sync_gen(self) -> PQGen[None]:
        self._enqueue_sync()
        yield from self._communicate_gen()
        yield from send(self.pgconn)
        yield from self._fetch_gen(flush=False)

    def _exit_gen(self) -> PQGen[None]:
        # after a commit nothing is under way: another sync would be another round trip
        active = self.pgconn.transaction_status == TransactionStatus.ACTIVE
        if self.command_queue or self.result_queue or active or self.begun:
            self.begun = False  # the sync makes libpq know that there is a transaction
            yield from super()._exit_gen()


class BatchingConnection(AsyncConnection[DictRow]):
    """Of the pool. Statements outside of a pipeline go as usual."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._numbers = itertools.count()
        self._conversion = Transformer(self)
        """Of all batches: a new one would look for the way of every type anew."""

    async def batch(self, statements: Sequence[Statement], *, unread: int = 0) -> list[list[DictRow]]:
        """The rows of each statement but the first `unread`; all are committed, or none. Must be called outside of a transaction.

        Raises what the first that failed raised. The transaction is the one every pipeline is until its sync, so that it needs
        neither BEGIN nor COMMIT: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
        """
        async with self.lock:
            self._check_connection_ok()
            return await self.wait(self._batch_gen(statements, unread))

    def _batch_gen(self, statements: Sequence[Statement], unread: int) -> PQGen[list[list[DictRow]]]:
        queries: list[PostgresQuery] = []
        for sql, params in statements:
            query = PostgresQuery(self._conversion)
            query.convert(sql.encode(), params)
            queries.append(query)
        pgconn = self.pgconn
        pgconn.enter_pipeline_mode()
        # for every answer to come: the key of the statement it prepares, or None for rows
        expected: list[tuple[bytes, tuple[int, ...]] | None] = []
        fresh: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        for query in queries:
            key = query.query, query.types
            name = self._names.get(key) or fresh.get(key)
            if name is None:
                # the nameless one is prepared anew each time; a number is never given twice
                named = len(self._names) + len(fresh) < NAMED_AT_MOST
                name = f"batch_{next(self._numbers)}".encode() if named else b""
                if name:
                    fresh[key] = name
                pgconn.send_prepare(name, query.query, param_types=query.types)
                expected.append(key)
            pgconn.send_query_prepared(name, query.params, param_formats=query.formats)
            expected.append(None)
        pgconn.pipeline_sync()
        yield from send(pgconn)
        pgconn.consume_input()  # where the server took our core it has answered by now, and there is nothing to wait for
        results: list[PGresult] = []
        failed: PGresult | None = None
        for prepared in expected:
            (result,) = yield from fetch_many(pgconn)
            if result.status == ExecStatus.FATAL_ERROR:
                failed = failed or result
            elif result.status != ExecStatus.PIPELINE_ABORTED:
                if prepared is None:
                    results.append(result)
                elif prepared in fresh:
                    self._names[prepared] = fresh[prepared]
        yield from fetch_many(pgconn)  # the sync's
        pgconn.exit_pipeline_mode()
        if failed is not None:
            raise error_from_result(failed, encoding=pgconn._encoding)
        return [_rows(self._conversion, result) for result in results[unread:]]

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        """None is all statements of the connection, those of batches too: psycopg has them dropped after a rollback."""
        if name is None:
            self._names.clear()
        yield from super()._deallocate(name)

    def _start_query(self) -> PQGen[None]:
        if self._pipeline is None:
            yield from super()._start_query()
        elif (
            isinstance(self._pipeline, BatchingPipeline)
            and not (self._autocommit or self._pipeline.begun)
            and self.pgconn.transaction_status == TransactionStatus.IDLE
        ):
            # goes with the first statements: if one fails the server skips the rest and leaves the transaction failed
            self._pipeline.begun = True
            yield from self._exec_command(self._get_tx_start_command())

    def _commit_gen(self) -> PQGen[None]:
        if not isinstance(self._pipeline, BatchingPipeline) or not self._pipeline.begun:
            yield from super()._commit_gen()
            return
        self._pipeline.begun = False
        yield from self._exec_command(b"COMMIT")
        yield from self._pipeline._sync_gen()

    def _rollback_gen(self) -> PQGen[None]:
        # psycopg forgets its prepared statements then, and has the server forget all there are
        forgotten = bool(self._prepared._names)
        yield from super()._rollback_gen()
        if forgotten:
            self._names.clear()

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[AsyncPipeline]:
        async with self.lock:
            self._check_connection_ok()
            pipeline = self._pipeline
            if pipeline is None:
                pipeline = self._pipeline = BatchingPipeline(self)
        try:
            async with pipeline:
                yield pipeline
        finally:
            if pipeline.level == 0:
                async with self.lock:
                    self._pipeline = None


def _rows(conversion: Conversion, result: PGresult) -> list[DictRow]:
    if result.status != ExecStatus.TUPLES_OK:
        return []
    names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    conversion.set_pgresult(result)
    return conversion.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))
