-- name: start
-- A tool call begins. A call repeated after a crash starts over in its own row.
INSERT INTO tool_calls (organization_id, run_id, thread_id, tool_call_id, agent, name, status, arguments)
VALUES (%(organization_id)s, %(run_id)s, %(thread_id)s, %(tool_call_id)s, %(agent)s, %(name)s, %(status)s, %(arguments)s)
ON CONFLICT (run_id, thread_id, tool_call_id) DO UPDATE
SET status = EXCLUDED.status, arguments = EXCLUDED.arguments, created_at = now(), finished_at = NULL;

-- name: adopt
-- Calls that waited for a decision are from now on those of the run that goes on with it.
UPDATE tool_calls SET run_id = %(run_id)s
WHERE thread_id = %(thread_id)s AND tool_call_id = ANY (%(tool_call_ids)s) AND status = 'pending' AND run_id <> %(run_id)s;

-- name: abandon_waiting
-- Calls of a conversation and of its children that nobody decided about are closed by the run that goes on without.
UPDATE tool_calls SET run_id = %(run_id)s, status = 'denied', result = %(result)s, finished_at = now()
WHERE status = 'pending' AND thread_id IN (
    SELECT t.thread_id FROM threads t WHERE t.thread_id = %(thread_id)s OR t.root_thread_id = %(thread_id)s);

-- name: finish
-- A tool call is over, with its result.
UPDATE tool_calls SET status = %(status)s, result = %(result)s, finished_at = now()
WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s AND tool_call_id = %(tool_call_id)s;

-- name: abandon
-- The calls a cancelled or failed run leaves open are over.
UPDATE tool_calls SET status = 'failed', result = %(result)s, finished_at = now()
WHERE run_id = %(run_id)s AND status IN ('pending', 'running');

-- name: by_thread
-- A conversation's tool calls, oldest first.
SELECT run_id, thread_id, tool_call_id, agent, name, status, arguments, result, created_at,
       (extract(epoch FROM finished_at - created_at) * 1000)::int AS duration_ms
FROM tool_calls WHERE thread_id = %(thread_id)s ORDER BY created_at, tool_call_id;
