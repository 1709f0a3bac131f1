-- name: insert
-- A call is over. A repeated id changes nothing.
INSERT INTO model_calls (call_id, organization_id, run_id, thread_id, user_id, trace_id, agent, purpose, outcome, provider, model,
                         error_code, latency_ms, detail)
VALUES (%(call_id)s, %(organization_id)s, %(run_id)s, %(thread_id)s, %(user_id)s, %(trace_id)s, %(agent)s, %(purpose)s,
        %(outcome)s, %(provider)s, %(model)s, %(error_code)s, %(latency_ms)s, %(detail)s)
ON CONFLICT (call_id) DO NOTHING;

-- name: by_run
-- A run's calls, oldest first.
SELECT call_id, organization_id, run_id, thread_id, user_id, trace_id, agent, purpose, outcome, provider, model, error_code,
       latency_ms, detail, created_at
FROM model_calls WHERE run_id = %(run_id)s ORDER BY created_at, call_id;

-- name: by_trace
-- The calls of a request, with those of the runs it started, oldest first; of one user only where one is given.
SELECT call_id, organization_id, run_id, thread_id, user_id, trace_id, agent, purpose, outcome, provider, model, error_code,
       latency_ms, detail, created_at
FROM model_calls
WHERE trace_id = %(trace_id)s AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s::text)
ORDER BY created_at, call_id LIMIT %(limit)s;

-- name: unrecorded
-- Ledger entries of a run whose call never ended here: under way now, or lost with the process that made it.
SELECT u.entry_id, u.call_id, u.thread_id, u.agent, u.purpose, u.provider, u.model, u.status, u.reserved, u.prompt, u.completion,
       u.source, u.created_at, u.settled_at
FROM usage_ledger u
WHERE u.run_id = %(run_id)s AND NOT EXISTS (SELECT FROM model_calls c WHERE c.call_id = u.call_id)
ORDER BY u.created_at, u.entry_id;
