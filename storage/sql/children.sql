-- name: open
-- A child conversation begins, or is taken up again by its parent.
INSERT INTO threads (thread_id, organization_id, user_id, parent_thread_id, parent_tool_call_id, root_thread_id, agent,
                     child_status, checkpoint_ns, metadata)
SELECT %(thread_id)s, p.organization_id, p.user_id, p.thread_id, %(tool_call_id)s, coalesce(p.root_thread_id, p.thread_id),
       %(agent)s, 'waiting', %(checkpoint_ns)s, %(metadata)s
FROM threads p WHERE p.thread_id = %(parent_thread_id)s
ON CONFLICT (thread_id) DO UPDATE SET child_status = 'waiting', checkpoint_ns = EXCLUDED.checkpoint_ns,
    parent_tool_call_id = EXCLUDED.parent_tool_call_id, updated_at = now()
RETURNING thread_id;

-- name: get
-- A child of this parent.
SELECT thread_id, agent, child_status, checkpoint_ns, parent_tool_call_id FROM threads
WHERE thread_id = %(thread_id)s AND parent_thread_id = %(parent_thread_id)s;

-- name: set_status
-- A child's new state.
UPDATE threads SET child_status = %(status)s, updated_at = now()
WHERE thread_id = %(thread_id)s AND child_status IS NOT NULL RETURNING thread_id;

-- name: fail_waiting
-- The children a cancelled or failed run was working in are over.
UPDATE threads SET child_status = 'failed', updated_at = now()
WHERE root_thread_id = %(thread_id)s AND child_status = 'waiting';

-- name: waiting
-- The children a run is working in: where their state lies.
SELECT thread_id, checkpoint_ns FROM threads WHERE root_thread_id = %(thread_id)s AND child_status = 'waiting';
