-- Roles. consilium_app is what the application works as; consilium_engine is assumed for the queue and the lives of runs only.
DO $$ BEGIN
    CREATE ROLE consilium_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    CREATE ROLE consilium_engine NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    GRANT consilium_engine TO consilium_app WITH INHERIT FALSE, SET TRUE;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT consilium_app, consilium_engine TO %I WITH INHERIT FALSE, SET TRUE', current_user);
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO consilium_app, consilium_engine;

CREATE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT nullif(current_setting('app.organization_id', true), '')::uuid $$;

-- Puts a table under row-level security by its organization_id and grants it to the application. Used by every migration.
CREATE FUNCTION isolate_table(name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO consilium_app USING (organization_id = (SELECT current_organization())) '
        'WITH CHECK (organization_id = (SELECT current_organization()))', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO consilium_app', name);
END $$;
REVOKE EXECUTE ON FUNCTION isolate_table(regclass) FROM PUBLIC;

CREATE TABLE organizations (
    organization_id uuid PRIMARY KEY,
    name text NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE threads (
    thread_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    user_id text NOT NULL,
    status text NOT NULL DEFAULT 'idle' CHECK (status IN ('idle', 'busy', 'interrupted', 'error')),
    metadata jsonb NOT NULL DEFAULT '{}',
    last_seq bigint NOT NULL DEFAULT 0,
    parent_thread_id uuid REFERENCES threads ON DELETE CASCADE,
    parent_tool_call_id text,
    root_thread_id uuid REFERENCES threads ON DELETE CASCADE,
    agent text,
    child_status text CHECK (child_status IN ('active', 'waiting', 'completed', 'failed')),
    checkpoint_ns text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((parent_thread_id IS NULL) = (child_status IS NULL))
);
CREATE INDEX threads_by_organization ON threads (organization_id, updated_at DESC);
CREATE INDEX threads_by_parent ON threads (parent_thread_id) WHERE parent_thread_id IS NOT NULL;

CREATE TABLE runs (
    run_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    thread_id uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
    user_id text NOT NULL,
    assistant_id uuid NOT NULL,
    graph_id text NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'success', 'error', 'timeout', 'interrupted')),
    trace_id text NOT NULL,
    kwargs jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    multitask_strategy text NOT NULL DEFAULT 'enqueue',
    cancel_requested boolean NOT NULL DEFAULT false,
    error jsonb,
    attempt int NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    holder text,
    lease_until timestamptz,
    deadline_at timestamptz,
    job_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX runs_by_thread ON runs (thread_id, created_at DESC);
CREATE UNIQUE INDEX runs_one_running_per_thread ON runs (thread_id) WHERE status = 'running';
CREATE INDEX runs_by_lease ON runs (lease_until) WHERE status = 'running';

-- One row is one flush of the log: `events` is an array in order of seq, from seq_first to seq_last without a gap.
CREATE TABLE run_events (
    organization_id uuid NOT NULL,
    thread_id uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq_first bigint NOT NULL,
    seq_last bigint NOT NULL CHECK (seq_last >= seq_first),
    terminal boolean NOT NULL DEFAULT false,
    events jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (thread_id, seq_first)
);
CREATE UNIQUE INDEX run_events_one_terminal ON run_events (run_id) WHERE terminal;
CREATE INDEX run_events_by_run ON run_events (run_id, seq_first);

CREATE TABLE tool_calls (
    organization_id uuid NOT NULL,
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    thread_id uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
    tool_call_id text NOT NULL,
    agent text NOT NULL,
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'denied')),
    arguments jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (run_id, thread_id, tool_call_id)
);
CREATE INDEX tool_calls_by_thread ON tool_calls (thread_id, created_at);

CREATE TABLE idempotency_keys (
    organization_id uuid NOT NULL,
    user_id text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id, key)
);

SELECT isolate_table('organizations'), isolate_table('threads'), isolate_table('runs'), isolate_table('run_events'),
       isolate_table('tool_calls'), isolate_table('idempotency_keys');

-- LangGraph's checkpoint tables, as langgraph-checkpoint-postgres 3.2 expects them. thread_id is "{organization}:{thread}".
CREATE TABLE checkpoints (
    thread_id text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    checkpoint_id text NOT NULL,
    parent_checkpoint_id text,
    type text,
    checkpoint jsonb NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE TABLE checkpoint_blobs (
    thread_id text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    channel text NOT NULL,
    version text NOT NULL,
    type text NOT NULL,
    blob bytea,
    PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
);
CREATE TABLE checkpoint_writes (
    thread_id text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    checkpoint_id text NOT NULL,
    task_id text NOT NULL,
    idx integer NOT NULL,
    channel text NOT NULL,
    type text,
    blob bytea NOT NULL,
    task_path text NOT NULL DEFAULT '',
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['checkpoints', 'checkpoint_blobs', 'checkpoint_writes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO consilium_app '
            'USING (starts_with(thread_id, (SELECT current_organization()::text || '':''))) '
            'WITH CHECK (starts_with(thread_id, (SELECT current_organization()::text || '':'')))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO consilium_app', name);
    END LOOP;
END $$;

-- The engine's view: the queue, and of the runs what leasing needs.
CREATE POLICY engine ON runs TO consilium_engine USING (true) WITH CHECK (true);
GRANT SELECT (run_id, organization_id, thread_id, user_id, assistant_id, graph_id, status, trace_id, attempt, fence, holder,
              lease_until, deadline_at, job_id, cancel_requested, created_at, updated_at, finished_at),
      UPDATE (status, attempt, fence, holder, lease_until, job_id, updated_at) ON runs TO consilium_engine;
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['procrastinate_jobs', 'procrastinate_events', 'procrastinate_workers',
                                'procrastinate_periodic_defers'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY engine ON %I TO consilium_engine USING (true) WITH CHECK (true)', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO consilium_engine', name);
    END LOOP;
END $$;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO consilium_engine;

-- Raises CN001 where the run is no longer held with this fence. Called in the pipeline of every write of a run.
CREATE FUNCTION assert_fence(p_run_id uuid, p_fence bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM runs WHERE run_id = p_run_id AND fence = p_fence AND status = 'running' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % is not held with fence %', p_run_id, p_fence USING ERRCODE = 'CN001';
    END IF;
END $$;
