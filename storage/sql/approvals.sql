-- name: lock
-- The thread, locked until the transaction ends: whether it stands at an interrupt, whether another run than one that goes on with it
-- is under way or waits, and how many seconds of the turn have been waited for a decision.
SELECT t.interrupted,
       EXISTS (SELECT FROM runs r WHERE r.thread_id = t.thread_id AND r.status IN ('pending', 'running')
               AND NOT EXISTS (SELECT FROM approvals a WHERE a.run_id = r.run_id)) AS superseded,
       coalesce((SELECT r.waited_seconds + coalesce((r.kwargs->>'waited_seconds')::float, 0)
                        + extract(epoch FROM now() - r.finished_at)
                 FROM runs r WHERE r.thread_id = t.thread_id AND r.finished_at IS NOT NULL
                 ORDER BY r.finished_at DESC LIMIT 1), 0)::float AS waited_seconds
FROM threads t WHERE t.thread_id = %(thread_id)s FOR UPDATE OF t;

-- name: decided
-- Those of the interrupts that somebody has answered. An answer whose run was cancelled before it began doesn't count.
SELECT a.interrupt_id, a.decided_by, a.decided_at FROM approvals a
WHERE a.thread_id = %(thread_id)s AND a.interrupt_id = ANY (%(interrupt_ids)s)
  AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = a.run_id AND r.status = 'interrupted' AND r.attempt = 0);

-- name: add
-- An answer, with the run that goes on with it.
INSERT INTO approvals (organization_id, thread_id, interrupt_id, run_id, conversation_id, agent, decided_by, trace_id, actions)
VALUES (%(organization_id)s, %(thread_id)s, %(interrupt_id)s, %(run_id)s, %(conversation_id)s, %(agent)s, %(decided_by)s,
        %(trace_id)s, %(actions)s);

-- name: of_thread
-- The answers given in a conversation and in its children, oldest first.
SELECT interrupt_id, thread_id, conversation_id, run_id, agent, decided_by, decided_at, actions FROM approvals
WHERE thread_id = %(thread_id)s OR conversation_id = %(thread_id)s ORDER BY decided_at, interrupt_id;
