-- name: admit
-- Take one request under each of the limits, in their order, or none: `refused` is the place of the one that refused.
SELECT refused, retry_after FROM rate_admit(%(organization_id)s, %(scopes)s::text[], %(subjects)s::text[], %(limits)s::int[]);

-- name: own
-- The organisation's own limits; what has no row has the default.
SELECT scope, per_minute FROM rate_limits WHERE organization_id = %(organization_id)s;

-- name: set_limit
-- An own limit; NULL is none.
INSERT INTO rate_limits (organization_id, scope, per_minute) VALUES (%(organization_id)s, %(scope)s, %(per_minute)s)
ON CONFLICT (organization_id, scope) DO UPDATE SET per_minute = EXCLUDED.per_minute, updated_at = now();

-- name: clear_limit
-- Back to the default.
DELETE FROM rate_limits WHERE organization_id = %(organization_id)s AND scope = %(scope)s;
