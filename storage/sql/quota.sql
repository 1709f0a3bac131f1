-- name: reserve
-- Take tokens under every limit that applies and write the ledger entry, or neither: `granted` says which. The disk isn't waited
-- for: what a crash of the database takes away, `commit` books all the same.
SELECT granted, day, scope, subject, daily_tokens, used, reserved, waits, resets_at
FROM set_config('synchronous_commit', 'off', true),
     quota_reserve(%(entry_id)s, %(organization_id)s, %(tokens)s, %(default_limit)s, %(user_id)s, %(agent)s, %(provider)s,
                   %(model)s, %(run_id)s, %(thread_id)s, %(trace_id)s, %(call_id)s, %(purpose)s, %(ttl_seconds)s);

-- name: commit
-- The call is over: its usage replaces its reservation, on the day it was reserved. Usage is charged also where the reservation had been released or is
-- lost; once.
SELECT quota_commit(%(entry_id)s, %(organization_id)s, %(day)s, %(tokens)s, %(user_id)s, %(agent)s, %(provider)s, %(model)s,
                    %(run_id)s, %(thread_id)s, %(trace_id)s, %(call_id)s, %(purpose)s, %(prompt)s, %(completion)s, %(source)s,
                    %(answered)s);

-- name: release
-- The calls never reached their providers: their reservations are void.
SELECT quota_release(%(entry_ids)s::uuid[]) AS released;

-- name: release_run
-- Void what a run that is over still holds.
SELECT quota_release(ARRAY(SELECT entry_id FROM usage_ledger WHERE run_id = %(run_id)s AND status = 'reserved')) AS released;

-- name: expired
-- (engine) Reservations nobody will settle any more.
SELECT organization_id, array_agg(entry_id) AS entry_ids FROM (
    SELECT organization_id, entry_id FROM usage_ledger
    WHERE status = 'reserved' AND expires_at < now() ORDER BY expires_at LIMIT %(limit)s
) e GROUP BY organization_id;

-- name: set_limit
-- An own limit; NULL is unlimited.
INSERT INTO quota_limits (organization_id, scope, subject, daily_tokens)
VALUES (%(organization_id)s, %(scope)s, %(subject)s, %(daily_tokens)s)
ON CONFLICT (organization_id, scope, subject) DO UPDATE SET daily_tokens = EXCLUDED.daily_tokens, updated_at = now();

-- name: clear_limit
-- Back to the default.
DELETE FROM quota_limits WHERE organization_id = %(organization_id)s AND scope = %(scope)s AND subject = %(subject)s;

-- name: today
-- Where the organisation stands today.
SELECT today.day, CASE WHEN l.organization_id IS NULL THEN %(default_limit)s::bigint ELSE l.daily_tokens END AS daily_tokens,
       coalesce(d.used, 0) AS used, coalesce(d.reserved, 0) AS reserved, l.organization_id IS NOT NULL AS own,
       (today.day + 1)::timestamp AT TIME ZONE 'UTC' AS resets_at,
       coalesce((SELECT action FROM quota_exhaustion WHERE organization_id = %(organization_id)s), 'refuse') AS on_exhausted
FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS day) today
LEFT JOIN quota_limits l ON l.organization_id = %(organization_id)s AND l.scope = 'organization'
LEFT JOIN quota_days d ON d.organization_id = %(organization_id)s AND d.day = today.day;

-- name: used_up
-- The first limit, of the organisation or the user, with nothing left of it; no row where there is none. A user whom nothing
-- was counted for today passes: the reservation will tell.
WITH today AS (
    SELECT (now() AT TIME ZONE 'UTC')::date AS day
), states AS (
    SELECT 'organization' AS scope, NULL AS subject, coalesce(d.used, 0) AS used, coalesce(d.reserved, 0) AS reserved,
           CASE WHEN l.organization_id IS NULL THEN %(default_limit)s::bigint ELSE l.daily_tokens END AS daily_tokens
    FROM today
    LEFT JOIN quota_limits l ON l.organization_id = %(organization_id)s AND l.scope = 'organization'
    LEFT JOIN quota_days d ON d.organization_id = %(organization_id)s AND d.day = today.day
    UNION ALL
    SELECT 'user', %(user_id)s, coalesce(d.used, 0), coalesce(d.reserved, 0), l.daily_tokens
    FROM today
    CROSS JOIN LATERAL (
        SELECT daily_tokens FROM quota_limits
        WHERE organization_id = %(organization_id)s AND scope = 'user' AND subject IN (%(user_id)s, '*')
        ORDER BY subject = %(user_id)s DESC LIMIT 1
    ) l
    LEFT JOIN quota_subject_days d ON d.organization_id = %(organization_id)s AND d.day = today.day AND d.scope = 'user'
        AND d.subject = %(user_id)s
)
SELECT s.scope, s.subject, s.daily_tokens, s.used, s.reserved, (today.day + 1)::timestamp AT TIME ZONE 'UTC' AS resets_at,
       EXISTS (SELECT FROM quota_exhaustion WHERE organization_id = %(organization_id)s AND action = 'wait') AS waits
FROM states s CROSS JOIN today
WHERE s.used + s.reserved >= s.daily_tokens
ORDER BY s.scope LIMIT 1;

-- name: subjects
-- Where a user stands today, and every model with a limit; with `everyone` also every user with a limit of their own, and '*'.
WITH today AS (
    SELECT (now() AT TIME ZONE 'UTC')::date AS day
), shown AS (
    SELECT scope, subject, daily_tokens, 'own' AS source FROM quota_limits
    WHERE organization_id = %(organization_id)s
      AND (scope = 'model' OR scope = 'user' AND (subject = %(user_id)s OR %(everyone)s::boolean))
    UNION ALL
    SELECT 'user', %(user_id)s, every.daily_tokens, CASE WHEN every.subject IS NOT NULL THEN 'default' END
    FROM (SELECT) AS one
    LEFT JOIN quota_limits every
        ON every.organization_id = %(organization_id)s AND every.scope = 'user' AND every.subject = '*'
    WHERE NOT EXISTS (SELECT FROM quota_limits WHERE organization_id = %(organization_id)s AND scope = 'user'
                      AND subject = %(user_id)s)
)
SELECT s.scope, s.subject, s.daily_tokens, s.source, (today.day + 1)::timestamp AT TIME ZONE 'UTC' AS resets_at,
       CASE WHEN s.subject = '*' THEN NULL ELSE coalesce(d.used, l.used, 0) END AS used,
       CASE WHEN s.subject = '*' THEN NULL ELSE coalesce(d.reserved, l.reserved, 0) END AS reserved
FROM shown s CROSS JOIN today
LEFT JOIN quota_subject_days d
    ON d.organization_id = %(organization_id)s AND d.day = today.day AND d.scope = s.scope AND d.subject = s.subject
LEFT JOIN LATERAL (
    SELECT (sum(u.prompt + u.completion) FILTER (WHERE u.status = 'committed'))::bigint AS used,
           (sum(u.reserved) FILTER (WHERE u.status = 'reserved'))::bigint AS reserved
    FROM usage_ledger u
    WHERE d.subject IS NULL AND u.organization_id = %(organization_id)s AND u.day = today.day
      AND CASE s.scope WHEN 'user' THEN u.user_id
                       ELSE u.provider || '/' || coalesce(u.reserved_model, u.model) END = s.subject
) l ON true
ORDER BY s.scope DESC, s.subject = %(user_id)s DESC, s.subject;

-- name: set_exhaustion
-- What happens when tokens are used up.
INSERT INTO quota_exhaustion (organization_id, action) VALUES (%(organization_id)s, %(action)s)
ON CONFLICT (organization_id) DO UPDATE SET action = EXCLUDED.action, updated_at = now();

-- name: usage
-- Committed tokens of the last days, by provider, model and what else is asked for.
SELECT CASE WHEN %(by_day)s::boolean THEN day END AS day, provider, model, CASE WHEN %(by_agent)s::boolean THEN agent END AS agent,
       CASE WHEN %(by_user)s::boolean THEN user_id END AS user_id, count(*)::int AS calls, sum(prompt)::bigint AS prompt,
       sum(completion)::bigint AS completion, bool_and(source = 'provider') AS exact
FROM usage_ledger
WHERE organization_id = %(organization_id)s AND status = 'committed'
  AND day > (now() AT TIME ZONE 'UTC')::date - %(days)s::int
  AND (%(only_user)s::text IS NULL OR user_id = %(only_user)s)
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1 DESC, 2, 3, 4, 5;

-- name: recent_completions
-- (engine) How long the latest answers of each agent and model were, in all organisations: counts, no content. Oldest first.
SELECT agent, provider, model, completion FROM (
    SELECT agent, provider, model, completion, settled_at,
           row_number() OVER (PARTITION BY agent, provider, model ORDER BY settled_at DESC) AS age
    FROM usage_ledger
    WHERE status = 'committed' AND purpose = 'answer' AND created_at > now() - make_interval(days => %(days)s)
) latest WHERE age <= %(each)s ORDER BY settled_at;
