-- name: find
-- The vectors that are known of these texts and have not expired.
SELECT sha256, vector FROM embedding_cache
WHERE organization_id = %(organization_id)s AND provider = %(provider)s AND model = %(model)s
  AND dimensions IS NOT DISTINCT FROM %(dimensions)s AND sha256 = ANY(%(hashes)s::bytea[]) AND expires_at > now();

-- name: keep
-- Keep vectors, or keep them longer. In the order of their hashes, so that two writers don't wait for each other in a circle.
INSERT INTO embedding_cache (organization_id, provider, model, dimensions, sha256, vector, expires_at)
SELECT %(organization_id)s, %(provider)s, %(model)s, %(dimensions)s, sha256, vector, now() + make_interval(secs => %(seconds)s)
FROM unnest(%(hashes)s::bytea[], %(vectors)s::bytea[]) AS given (sha256, vector)
ORDER BY sha256
ON CONFLICT (organization_id, provider, model, dimensions, sha256)
DO UPDATE SET vector = EXCLUDED.vector, expires_at = EXCLUDED.expires_at;

-- name: expired
-- (engine) Organisations with expired rows.
SELECT DISTINCT organization_id FROM embedding_cache WHERE expires_at <= now() LIMIT %(limit)s;

-- name: forget
-- Delete expired rows of one organisation.
WITH gone AS (
    DELETE FROM embedding_cache
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM embedding_cache
        WHERE organization_id = %(organization_id)s AND expires_at <= now() LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*)::int AS deleted FROM gone;
