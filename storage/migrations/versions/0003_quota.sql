-- Daily token limits. NULL is unlimited; an organisation without a row has the configured default.
CREATE TABLE quota_limits (
    organization_id uuid PRIMARY KEY,
    daily_tokens bigint CHECK (daily_tokens >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row an organisation and UTC day; the row's lock is what makes reservations exact.
CREATE TABLE quota_days (
    organization_id uuid NOT NULL,
    day date NOT NULL,
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (organization_id, day)
) WITH (fillfactor = 50);

-- One row a model call, kept after the run it belonged to. `day` is the day it was reserved on, and is settled on.
CREATE TABLE usage_ledger (
    entry_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    day date NOT NULL,
    run_id uuid,
    thread_id uuid,
    user_id text NOT NULL,
    agent text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    status text NOT NULL CHECK (status IN ('reserved', 'committed', 'released')),
    reserved bigint NOT NULL CHECK (reserved >= 0),
    prompt bigint CHECK (prompt >= 0),
    completion bigint CHECK (completion >= 0),
    source text CHECK (source IN ('provider', 'estimated')),
    trace_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    expires_at timestamptz NOT NULL,
    CHECK ((status = 'committed') = (prompt IS NOT NULL AND completion IS NOT NULL AND source IS NOT NULL)),
    CHECK ((status = 'reserved') = (settled_at IS NULL))
);
CREATE INDEX usage_ledger_by_day ON usage_ledger (organization_id, day);
CREATE INDEX usage_ledger_by_run ON usage_ledger (run_id) WHERE status = 'reserved';
CREATE INDEX usage_ledger_by_expiry ON usage_ledger (expires_at) WHERE status = 'reserved';

SELECT isolate_table('quota_limits'), isolate_table('quota_days'), isolate_table('usage_ledger');

-- The engine finds reservations that nobody will settle; it releases them as the organisation they belong to.
CREATE POLICY engine ON usage_ledger FOR SELECT TO consilium_engine USING (true);
GRANT SELECT (entry_id, organization_id, run_id, status, expires_at) ON usage_ledger TO consilium_engine;
