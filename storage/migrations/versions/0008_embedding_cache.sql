-- Embeddings by the hash of their text, for a while. Never shared between organisations: that a text is known would tell of it.
-- `dimensions` is what was asked for; NULL is the model's own. `vector` holds 32-bit floats, little-endian.
CREATE TABLE embedding_cache (
    organization_id uuid NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    dimensions integer CHECK (dimensions > 0),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    vector bytea NOT NULL CHECK (octet_length(vector) > 0 AND octet_length(vector) % 4 = 0),
    expires_at timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (organization_id, provider, model, dimensions, sha256)
);
CREATE INDEX embedding_cache_by_expiry ON embedding_cache (expires_at);
ALTER TABLE embedding_cache ALTER COLUMN vector SET STORAGE EXTERNAL;

SELECT isolate_table('embedding_cache');

-- The engine finds whose rows have expired; it deletes them as the organisation they belong to.
CREATE POLICY engine ON embedding_cache FOR SELECT TO consilium_engine USING (true);
GRANT SELECT (organization_id, expires_at) ON embedding_cache TO consilium_engine;
