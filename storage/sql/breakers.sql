-- name: ensure
-- (engine) A provider's row, made at its first failure.
INSERT INTO provider_breakers (provider) VALUES (%(provider)s) ON CONFLICT (provider) DO NOTHING;

-- name: lock
-- (engine) The breaker and the database's clock, held until the change is written.
SELECT status, failures, open_seconds, retry_at, probe, updated_at AS changed_at, clock_timestamp() AS now
FROM provider_breakers WHERE provider = %(provider)s FOR UPDATE;

-- name: change
-- (engine) The new state; the other replicas are told.
WITH changed AS (
    UPDATE provider_breakers SET status = %(status)s, failures = %(failures)s, open_seconds = %(open_seconds)s,
        retry_at = %(retry_at)s, probe = %(probe)s, updated_at = clock_timestamp()
    WHERE provider = %(provider)s RETURNING provider, updated_at
)
SELECT pg_notify('consilium_breakers', provider), updated_at AS changed_at FROM changed;

-- name: all
-- (engine) Every breaker that is not as new, with the database's clock.
SELECT provider, status, failures, open_seconds, retry_at, probe, updated_at AS changed_at, clock_timestamp() AS now FROM provider_breakers;

-- name: listen
-- Hear of changes other replicas make.
LISTEN consilium_breakers;
