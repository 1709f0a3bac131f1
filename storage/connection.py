"""A connection whose pipelines send when an answer is needed, not at every statement.

psycopg's own pipeline talks to the server after each `execute` and waits for BEGIN, for the end of the pipeline and for COMMIT
one by one: four round trips and a dozen waits of the event loop for a transaction of a few statements, which was half of the
processor time of a turn. Here statements wait in libpq's buffer until somebody fetches, commits or leaves the block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, AsyncPipeline
from psycopg.abc import PQGen
from psycopg.generators import send
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow


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
