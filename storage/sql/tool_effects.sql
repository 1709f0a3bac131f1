-- name: begin
-- Something is about to be done: 'begun' where nothing is known of it, else what is.
WITH mine AS (
    INSERT INTO tool_effects (effect_id, organization_id, thread_id, run_id, tool_call_id, agent, name, user_id)
    VALUES (%(effect_id)s, %(organization_id)s, %(thread_id)s, %(run_id)s, %(tool_call_id)s, %(agent)s, %(name)s, %(user_id)s)
    ON CONFLICT (effect_id) DO NOTHING RETURNING effect_id)
SELECT 'begun' AS status, NULL::jsonb AS result FROM mine
UNION ALL SELECT status, result FROM tool_effects WHERE effect_id = %(effect_id)s;

-- name: complete
-- It is done, or refused: what came of it.
UPDATE tool_effects SET status = 'completed', result = %(result)s, finished_at = clock_timestamp()
WHERE effect_id = %(effect_id)s AND status = 'started';

-- name: unknown
-- The calls of a run of which it isn't known whether they were carried out.
SELECT tool_call_id FROM tool_effects WHERE run_id = %(run_id)s AND status = 'started';
