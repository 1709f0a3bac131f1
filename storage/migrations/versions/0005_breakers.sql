-- One row a provider that has failed: the breaker all replicas share. It belongs to no organisation; only the engine's role sees it.
CREATE TABLE provider_breakers (
    provider text PRIMARY KEY,
    status text NOT NULL DEFAULT 'closed' CHECK (status IN ('closed', 'open', 'half_open')),
    failures int NOT NULL DEFAULT 0 CHECK (failures >= 0),
    open_seconds double precision,
    retry_at timestamptz,
    probe text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'half_open') = (probe IS NOT NULL)),
    CHECK ((status = 'closed') = (retry_at IS NULL))
);
ALTER TABLE provider_breakers ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_breakers FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON provider_breakers TO consilium_engine USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_breakers TO consilium_engine;
