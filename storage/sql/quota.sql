-- name: reserve
-- Take tokens from today's budget and write the ledger entry, or neither: `granted` says which. A repeated entry_id takes nothing again.
WITH today AS (
    SELECT (now() AT TIME ZONE 'UTC')::date AS day
), budget AS (
    SELECT CASE WHEN count(*) = 0 THEN %(default_limit)s::bigint ELSE min(daily_tokens) END AS daily_tokens
    FROM quota_limits WHERE organization_id = %(organization_id)s
), known AS (
    SELECT day FROM usage_ledger WHERE entry_id = %(entry_id)s
), taken AS (
    INSERT INTO quota_days AS d (organization_id, day, used, reserved)
    SELECT %(organization_id)s, today.day, 0, %(tokens)s FROM today, budget
    WHERE (budget.daily_tokens IS NULL OR %(tokens)s <= budget.daily_tokens) AND NOT EXISTS (SELECT FROM known)
    ON CONFLICT (organization_id, day) DO UPDATE SET reserved = d.reserved + EXCLUDED.reserved
    WHERE (SELECT daily_tokens FROM budget) IS NULL
       OR d.used + d.reserved + EXCLUDED.reserved <= (SELECT daily_tokens FROM budget)
    RETURNING d.day, d.used, d.reserved
), entry AS (
    INSERT INTO usage_ledger (entry_id, organization_id, day, run_id, thread_id, user_id, agent, provider, model, status,
                              reserved, trace_id, expires_at)
    SELECT %(entry_id)s, %(organization_id)s, taken.day, %(run_id)s, %(thread_id)s, %(user_id)s, %(agent)s, %(provider)s,
           %(model)s, 'reserved', %(tokens)s, %(trace_id)s, now() + make_interval(secs => %(ttl_seconds)s)
    FROM taken
    RETURNING entry_id
)
SELECT EXISTS (SELECT FROM entry) OR EXISTS (SELECT FROM known) AS granted,
       coalesce((SELECT day FROM known), today.day) AS day, budget.daily_tokens,
       coalesce(taken.used, before.used, 0) AS used, coalesce(taken.reserved, before.reserved, 0) AS reserved,
       (today.day + 1)::timestamp AT TIME ZONE 'UTC' AS resets_at
FROM today CROSS JOIN budget
LEFT JOIN taken ON true
LEFT JOIN quota_days before ON before.organization_id = %(organization_id)s AND before.day = today.day;

-- name: commit
-- The call is over: its usage replaces its reservation, on the day it was reserved. Usage is charged also where the reservation had been released; once.
WITH entry AS (
    SELECT entry_id, organization_id, day, CASE WHEN status = 'reserved' THEN reserved ELSE 0 END AS held
    FROM usage_ledger WHERE entry_id = %(entry_id)s AND status <> 'committed' FOR UPDATE
), settled AS (
    UPDATE usage_ledger u SET status = 'committed', prompt = %(prompt)s, completion = %(completion)s, source = %(source)s,
        model = coalesce(%(model)s, u.model), settled_at = clock_timestamp()
    FROM entry WHERE u.entry_id = entry.entry_id RETURNING u.entry_id
)
UPDATE quota_days d SET reserved = d.reserved - entry.held, used = d.used + %(prompt)s + %(completion)s
FROM entry WHERE d.organization_id = entry.organization_id AND d.day = entry.day
RETURNING d.used, d.reserved;

-- name: release
-- The call never reached the provider: its reservation is void.
WITH entry AS (
    SELECT entry_id, organization_id, day, reserved FROM usage_ledger
    WHERE entry_id = %(entry_id)s AND status = 'reserved' FOR UPDATE
), settled AS (
    UPDATE usage_ledger u SET status = 'released', settled_at = clock_timestamp()
    FROM entry WHERE u.entry_id = entry.entry_id RETURNING u.entry_id
)
UPDATE quota_days d SET reserved = d.reserved - entry.reserved
FROM entry WHERE d.organization_id = entry.organization_id AND d.day = entry.day
RETURNING d.used, d.reserved;

-- name: release_run
-- Void what a run that is over still holds.
WITH entries AS (
    SELECT entry_id, organization_id, day, reserved FROM usage_ledger
    WHERE run_id = %(run_id)s AND status = 'reserved' ORDER BY entry_id FOR UPDATE
), settled AS (
    UPDATE usage_ledger u SET status = 'released', settled_at = clock_timestamp()
    FROM entries WHERE u.entry_id = entries.entry_id RETURNING u.entry_id
), moved AS (
    UPDATE quota_days d SET reserved = d.reserved - held.tokens
    FROM (SELECT organization_id, day, sum(reserved) AS tokens FROM entries GROUP BY organization_id, day) held
    WHERE d.organization_id = held.organization_id AND d.day = held.day RETURNING d.day
)
SELECT count(*)::int AS released FROM settled;

-- name: expired
-- (engine) Reservations nobody will settle any more.
SELECT entry_id, organization_id FROM usage_ledger
WHERE status = 'reserved' AND expires_at < now() ORDER BY expires_at LIMIT %(limit)s;

-- name: set_limit
-- An organisation's own limit; NULL is unlimited.
INSERT INTO quota_limits (organization_id, daily_tokens) VALUES (%(organization_id)s, %(daily_tokens)s)
ON CONFLICT (organization_id) DO UPDATE SET daily_tokens = EXCLUDED.daily_tokens, updated_at = now();

-- name: clear_limit
-- Back to the configured default.
DELETE FROM quota_limits WHERE organization_id = %(organization_id)s;

-- name: today
-- Where the organisation stands today.
SELECT today.day, CASE WHEN l.organization_id IS NULL THEN %(default_limit)s::bigint ELSE l.daily_tokens END AS daily_tokens,
       coalesce(d.used, 0) AS used, coalesce(d.reserved, 0) AS reserved,
       (today.day + 1)::timestamp AT TIME ZONE 'UTC' AS resets_at
FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS day) today
LEFT JOIN quota_limits l ON l.organization_id = %(organization_id)s
LEFT JOIN quota_days d ON d.organization_id = %(organization_id)s AND d.day = today.day;

-- name: usage
-- Committed tokens of the last days, by day, provider, model, agent and user.
SELECT day, provider, model, agent, user_id, count(*)::int AS calls, sum(prompt)::bigint AS prompt,
       sum(completion)::bigint AS completion, bool_and(source = 'provider') AS exact
FROM usage_ledger
WHERE organization_id = %(organization_id)s AND status = 'committed'
  AND day > (now() AT TIME ZONE 'UTC')::date - %(days)s::int
GROUP BY day, provider, model, agent, user_id
ORDER BY day DESC, provider, model, agent, user_id;
