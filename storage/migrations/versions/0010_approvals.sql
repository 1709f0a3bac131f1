-- Whether the last run left the thread at an interrupt. It stays until a run that went on, or began anew, has ended: `status` is
-- 'busy' meanwhile.
ALTER TABLE threads ADD COLUMN interrupted boolean NOT NULL DEFAULT false;

-- Who decided what about tool calls that waited, and the run that went on with it. Only ever added to; it outlives the conversation.
CREATE TABLE approvals (
    organization_id uuid NOT NULL,
    thread_id uuid NOT NULL,
    interrupt_id text NOT NULL,
    run_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    agent text NOT NULL,
    decided_by text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    trace_id text NOT NULL,
    actions jsonb NOT NULL,
    PRIMARY KEY (thread_id, interrupt_id, run_id)
);
CREATE INDEX approvals_by_run ON approvals (run_id);

-- One row for each thing a tool was to do, written before it is done. 'started' without an end: the process died, and whether it
-- was done isn't known. effect_id is made of the conversation, the model's message, the call and its arguments.
CREATE TABLE tool_effects (
    effect_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    thread_id uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
    run_id uuid NOT NULL,
    tool_call_id text NOT NULL,
    agent text NOT NULL,
    name text NOT NULL,
    user_id text NOT NULL,
    status text NOT NULL DEFAULT 'started' CHECK (status IN ('started', 'completed')),
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    CHECK ((status = 'completed') = (result IS NOT NULL))
);
CREATE INDEX tool_effects_by_run ON tool_effects (run_id);
CREATE INDEX tool_effects_by_thread ON tool_effects (thread_id);

SELECT isolate_table('approvals'), isolate_table('tool_effects');
REVOKE UPDATE, DELETE ON approvals FROM consilium_app;
