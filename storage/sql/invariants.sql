-- What must hold. Every query yields the violations: one row each, `subject` and `problem`; none where it holds.
-- Asked as the owner of the database, who sees all organisations.

-- name: i1_runs_are_accounted_for
-- Every accepted run is terminal, queued or leased.
SELECT r.run_id::text AS subject, 'status ' || r.status || ', but no job of it is in the queue' AS problem
FROM runs r
WHERE r.status IN ('pending', 'running')
  AND NOT EXISTS (SELECT FROM procrastinate_jobs j WHERE j.args->>'run_id' = r.run_id::text AND j.status IN ('todo', 'doing'));

-- name: i2_one_end
-- One terminal event a run that is over.
SELECT r.run_id::text AS subject, count(e.*) || ' terminal events' AS problem
FROM runs r LEFT JOIN run_events e ON e.run_id = r.run_id AND e.terminal
WHERE r.status NOT IN ('pending', 'running')
GROUP BY r.run_id HAVING count(e.*) <> 1;

-- name: i2_seq_gapless
-- The events of a thread count from 1 without a gap.
SELECT thread_id::text AS subject, 'after seq ' || before || ' comes ' || seq_first AS problem
FROM (SELECT thread_id, seq_first,
             coalesce(lag(seq_last) OVER (PARTITION BY thread_id ORDER BY seq_first), 0) AS before FROM run_events) e
WHERE seq_first <> before + 1;

-- name: i3_one_tool_message
-- Every tool call a model made has exactly one tool message in its conversation, as the log tells it: none has two, and none is
-- without where its run ended well, unless its thread waits for a decision.
WITH told AS (
    SELECT e.run_id, e.thread_id, event->'ns' AS ns, message
    FROM run_events e
    CROSS JOIN LATERAL jsonb_array_elements(e.events) event
    CROSS JOIN LATERAL jsonb_path_query(event, 'lax $.data.*.messages[*]') message
    WHERE event->>'method' = 'updates'
), answers AS (
    SELECT thread_id, ns, message->>'tool_call_id' AS id, count(DISTINCT message->>'id') AS messages
    FROM told WHERE message->>'type' = 'tool' GROUP BY 1, 2, 3
), calls AS (
    SELECT DISTINCT t.run_id, t.thread_id, t.ns, call->>'id' AS id
    FROM told t CROSS JOIN LATERAL jsonb_array_elements(t.message->'tool_calls') call WHERE t.message->>'type' = 'ai'
)
SELECT r.run_id || ' ' || c.id AS subject, coalesce(a.messages, 0) || ' tool messages' AS problem
FROM calls c JOIN runs r USING (run_id) JOIN threads t ON t.thread_id = c.thread_id LEFT JOIN answers a ON (a.thread_id, a.ns, a.id) = (c.thread_id, c.ns, c.id)
WHERE a.messages > 1 OR (a.messages IS NULL AND r.status = 'success' AND NOT t.interrupted);

-- name: i3_no_call_is_left_open
-- The record of every tool call of a run that is over says how it ended, or that it waits at its thread's interrupt.
SELECT c.run_id || ' ' || c.tool_call_id AS subject, 'status ' || c.status || ', run ' || r.status AS problem
FROM tool_calls c JOIN runs r USING (run_id) JOIN threads t ON t.thread_id = r.thread_id
WHERE r.status NOT IN ('pending', 'running') AND (c.status IN ('pending', 'running') OR c.result IS NULL)
  AND NOT (c.status = 'pending' AND t.interrupted);

-- name: i4_reserved_is_what_is_reserved
-- A day's reserved tokens are the sum of its open reservations.
SELECT d.organization_id || ' ' || d.day AS subject, 'reserved ' || d.reserved || ', open reservations ' || coalesce(u.held, 0) AS problem
FROM quota_days d LEFT JOIN (
    SELECT organization_id, day, sum(reserved) AS held FROM usage_ledger WHERE status = 'reserved' GROUP BY 1, 2
) u USING (organization_id, day)
WHERE d.reserved <> coalesce(u.held, 0);

-- name: i4_used_is_the_ledger
-- A day's used tokens are the sum of the ledger.
SELECT d.organization_id || ' ' || d.day AS subject, 'used ' || d.used || ', ledger ' || coalesce(u.spent, 0) AS problem
FROM quota_days d LEFT JOIN (
    SELECT organization_id, day, sum(prompt + completion) AS spent FROM usage_ledger WHERE status = 'committed' GROUP BY 1, 2
) u USING (organization_id, day)
WHERE d.used <> coalesce(u.spent, 0);

-- name: i4_subjects_are_the_ledger
-- A day's used and reserved tokens of a user and of a model are the sums of the ledger.
SELECT d.organization_id || ' ' || d.day || ' ' || d.scope || ' ' || d.subject AS subject,
       'used ' || d.used || ', ledger ' || coalesce(u.spent, 0) || '; reserved ' || d.reserved || ', open reservations ' || coalesce(u.held, 0) AS problem
FROM quota_subject_days d LEFT JOIN (
    SELECT l.organization_id, l.day, s.scope, s.subject, sum(l.prompt + l.completion) FILTER (WHERE l.status = 'committed') AS spent,
           sum(l.reserved) FILTER (WHERE l.status = 'reserved') AS held
    FROM usage_ledger l
    CROSS JOIN LATERAL (VALUES ('user', l.user_id), ('model', l.provider || '/' || coalesce(l.reserved_model, l.model))) s (scope, subject)
    GROUP BY 1, 2, 3, 4
) u USING (organization_id, day, scope, subject)
WHERE d.used <> coalesce(u.spent, 0) OR d.reserved <> coalesce(u.held, 0);

-- name: i4_nothing_is_held_when_idle
-- A run that is over holds no tokens.
SELECT u.entry_id::text AS subject, 'reserved ' || u.reserved || ' for run ' || r.run_id || ', which is ' || r.status AS problem
FROM usage_ledger u JOIN runs r USING (run_id)
WHERE u.status = 'reserved' AND r.status NOT IN ('pending', 'running');

-- name: i5_one_effect
-- One record a tool call of a run.
SELECT run_id || ' ' || tool_call_id AS subject, count(*) || ' records' AS problem
FROM tool_calls GROUP BY run_id, thread_id, tool_call_id HAVING count(*) > 1;

-- name: i5_one_effect_a_call
-- A tool call of a run has one effect.
SELECT run_id || ' ' || tool_call_id AS subject, count(*) || ' effects' AS problem
FROM tool_effects GROUP BY run_id, thread_id, tool_call_id HAVING count(*) > 1;

-- name: i5_an_interrupt_is_answered_once
-- What was decided about an interrupt is carried out by one run; one that was cancelled before it began doesn't count.
SELECT a.thread_id || ' ' || a.interrupt_id AS subject, count(*) || ' runs go on with it' AS problem
FROM approvals a JOIN runs r USING (run_id) WHERE NOT (r.status = 'interrupted' AND r.attempt = 0)
GROUP BY a.thread_id, a.interrupt_id HAVING count(*) > 1;

-- name: i6_organisations_agree
-- A row's organisation is its thread's.
SELECT r.run_id::text AS subject, 'run of ' || r.organization_id || ' on a thread of ' || t.organization_id AS problem
FROM runs r JOIN threads t USING (thread_id) WHERE r.organization_id <> t.organization_id
UNION ALL
SELECT c.thread_id, 'checkpoints without their thread' FROM (SELECT DISTINCT thread_id FROM checkpoints) c
WHERE NOT EXISTS (SELECT FROM threads t WHERE c.thread_id = t.organization_id || ':' || t.thread_id);

-- name: i7_holders_in_their_turn
-- Each holder of a run announces itself in the log with its attempt: their numbers rise, up to the last that was given out. One out
-- of its turn has written after it had lost the run.
SELECT run_id::text AS subject, 'attempt ' || attempt || ' wrote after attempt ' || before || ', given out are ' || given AS problem
FROM (
    SELECT e.run_id, (event #>> '{data,attempt}')::int AS attempt, r.attempt AS given,
           coalesce(lag((event #>> '{data,attempt}')::int) OVER (PARTITION BY e.run_id ORDER BY e.seq_first, place), 0) AS before
    FROM run_events e JOIN runs r USING (run_id)
    CROSS JOIN LATERAL jsonb_array_elements(e.events) WITH ORDINALITY AS one (event, place)
    WHERE event->>'method' = 'metadata'
) holders
WHERE attempt <= before OR attempt > given;

-- name: i7_nothing_after_the_end
-- Nothing of a run is written once it is over: then nobody holds it.
SELECT e.run_id::text AS subject, 'events from seq ' || e.seq_first || ' on, the end was at ' || ended.seq_last AS problem
FROM run_events e JOIN run_events ended ON ended.run_id = e.run_id AND ended.terminal
WHERE e.seq_first > ended.seq_last
UNION ALL
SELECT c.run_id || ' ' || c.tool_call_id, 'written at ' || greatest(c.created_at, c.finished_at) || ', over at ' || r.finished_at
FROM tool_calls c JOIN runs r USING (run_id)
WHERE greatest(c.created_at, c.finished_at) > r.finished_at;

-- name: i8_blobs_resolve
-- Every channel version of each head is there: inline in the checkpoint, as a blob, or to be replayed from writes.
WITH heads AS (
    SELECT DISTINCT ON (thread_id, checkpoint_ns) thread_id, checkpoint_ns, checkpoint_id, checkpoint
    FROM checkpoints ORDER BY thread_id, checkpoint_ns, checkpoint_id DESC
)
SELECT h.thread_id || ' ' || h.checkpoint_id AS subject, 'no blob of ' || v.key || ' ' || v.value AS problem
FROM heads h, jsonb_each_text(h.checkpoint->'channel_versions') v
WHERE h.checkpoint->'channel_values' ? v.key IS NOT TRUE
  AND v.key IN ('turn', 'sources', 'citations') -- `route` is in no checkpoint
  AND NOT EXISTS (SELECT FROM checkpoint_blobs b WHERE b.thread_id = h.thread_id AND b.checkpoint_ns = h.checkpoint_ns
                  AND b.channel = v.key AND b.version = v.value);
