-- One row a model call with all its attempts: what `explain` shows. Like the ledger it outlives the run; it holds no content.
CREATE TABLE model_calls (
    call_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    run_id uuid,
    thread_id uuid,
    user_id text NOT NULL,
    trace_id text,
    agent text NOT NULL,
    purpose text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('answered', 'failed', 'cancelled', 'refused')),
    provider text,
    model text,
    error_code text,
    latency_ms integer NOT NULL CHECK (latency_ms >= 0),
    detail jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((outcome = 'answered') = (provider IS NOT NULL AND model IS NOT NULL))
);
CREATE INDEX model_calls_by_run ON model_calls (run_id, created_at) WHERE run_id IS NOT NULL;
CREATE INDEX model_calls_by_trace ON model_calls (trace_id, created_at) WHERE trace_id IS NOT NULL;

SELECT isolate_table('model_calls');
