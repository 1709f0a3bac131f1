-- A run that is taken by the replica that accepts it never waits in the queue: no event, no notification, no second version of its row.
-- Where a job waits already, that one is taken and this one waits, as before.

-- Record a run and its job and, where a worker is given, take the next eligible job. `outcome` is 'accepted', or why nothing was
-- written: 'known' (the key came before; `known_run_id` and `known_fingerprint` tell with what), 'not_found' (no thread of the
-- caller's), 'child' (of `parent_thread_id`), 'busy'. Raises CN002 where a concurrent request with the same key was first.
CREATE OR REPLACE FUNCTION accept_run(
    p_run_id uuid, p_thread_id uuid, p_organization_id uuid, p_user_id text, p_see_all_threads boolean, p_assistant_id uuid,
    p_graph_id text, p_trace_id text, p_kwargs jsonb, p_metadata jsonb, p_strategy text, p_create_thread boolean,
    p_thread_metadata jsonb, p_key text, p_fingerprint text, p_worker_id bigint, p_holder text, p_lease_seconds double precision,
    OUT outcome text, OUT known_run_id uuid, OUT known_fingerprint text, OUT parent_thread_id uuid, OUT last_seq bigint,
    OUT new_thread boolean, OUT interrupted boolean, OUT accepted_at timestamptz, OUT skills_generation bigint, OUT job_id bigint,
    OUT run_id uuid, OUT organization_id uuid,
    OUT fence bigint, OUT attempt int
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_marks jsonb := jsonb_build_object('graph_id', p_graph_id, 'assistant_id', p_assistant_id);
    v_owner text;
    v_role text := current_setting('role');
BEGIN
    new_thread := false;
    interrupted := false;
    IF p_key IS NOT NULL THEN
        SELECT k.run_id, k.fingerprint INTO known_run_id, known_fingerprint FROM idempotency_keys k
        WHERE k.organization_id = p_organization_id AND k.user_id = p_user_id AND k.key = p_key;
        IF FOUND THEN
            outcome := 'known';
            RETURN;
        END IF;
    END IF;
    IF p_create_thread THEN
        INSERT INTO threads (thread_id, organization_id, user_id, status, metadata)
        VALUES (p_thread_id, p_organization_id, p_user_id, 'busy', p_thread_metadata || v_marks)
        ON CONFLICT (thread_id) DO NOTHING;
        new_thread := FOUND;
    END IF;
    IF new_thread THEN
        last_seq := 0;
    ELSE
        -- locked, so that submits on one thread come one by one
        SELECT t.user_id, t.parent_thread_id, t.last_seq, t.interrupted INTO v_owner, parent_thread_id, last_seq, interrupted
        FROM threads t WHERE t.thread_id = p_thread_id FOR UPDATE;
        IF NOT FOUND OR NOT (p_see_all_threads OR v_owner = p_user_id) THEN
            outcome := 'not_found';
            RETURN;
        END IF;
        IF parent_thread_id IS NOT NULL THEN
            outcome := 'child';
            RETURN;
        END IF;
        IF p_strategy = 'reject' AND EXISTS (
            SELECT FROM runs r WHERE r.thread_id = p_thread_id AND r.status IN ('pending', 'running')
        ) THEN
            outcome := 'busy';
            RETURN;
        END IF;
        UPDATE threads t SET status = 'busy', updated_at = now(), metadata = t.metadata || v_marks
        WHERE t.thread_id = p_thread_id;
    END IF;
    -- its time is that of the locked thread, not of the transaction's begin, so that a list is in the order of execution
    accepted_at := clock_timestamp();
    IF p_worker_id IS NOT NULL AND (new_thread OR NOT EXISTS (
        SELECT FROM runs r WHERE r.thread_id = p_thread_id AND r.status IN ('pending', 'running')
    )) THEN
        PERFORM set_config('role', 'consilium_engine', true);
        -- nobody waits: its job begins as one that is being done
        INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id)
        SELECT 'runs', 'run', p_thread_id::text, jsonb_build_object('run_id', p_run_id), 'doing', p_worker_id
        WHERE NOT EXISTS (
            SELECT FROM procrastinate_jobs j
            WHERE j.status = 'todo' AND j.queue_name = 'runs' AND (j.scheduled_at IS NULL OR j.scheduled_at <= now())
        )
        RETURNING id INTO job_id;
        PERFORM set_config('role', v_role, true);
        IF job_id IS NOT NULL THEN
            run_id := p_run_id;
            organization_id := p_organization_id;
            fence := 1;
            attempt := 1;
        END IF;
    END IF;
    INSERT INTO runs (run_id, organization_id, thread_id, user_id, assistant_id, graph_id, trace_id, kwargs, metadata,
                      multitask_strategy, skills_generation, created_at, updated_at,
                      status, fence, attempt, job_id, holder, lease_until)
    VALUES (p_run_id, p_organization_id, p_thread_id, p_user_id, p_assistant_id, p_graph_id, p_trace_id, p_kwargs, p_metadata,
            p_strategy,
            coalesce((SELECT o.skills_generation FROM organizations o WHERE o.organization_id = p_organization_id), 0),
            accepted_at, accepted_at,
            CASE WHEN job_id IS NULL THEN 'pending' ELSE 'running' END, coalesce(fence, 0), coalesce(attempt, 0), job_id,
            CASE WHEN job_id IS NOT NULL THEN p_holder END,
            CASE WHEN job_id IS NOT NULL THEN now() + make_interval(secs => p_lease_seconds) END)
    RETURNING runs.skills_generation INTO skills_generation;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (organization_id, user_id, key, fingerprint, run_id)
        VALUES (p_organization_id, p_user_id, p_key, p_fingerprint, p_run_id)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the key came with a concurrent request' USING ERRCODE = 'CN002';
        END IF;
    END IF;
    outcome := 'accepted';
    IF job_id IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('role', 'consilium_engine', true);
    -- the thread is the job's lock, so that a thread's runs go one by one, in order
    PERFORM procrastinate_defer_jobs_v1(ARRAY[
        ROW('runs', 'run', 0, p_thread_id::text, NULL, jsonb_build_object('run_id', p_run_id), NULL)::procrastinate_job_to_defer_v1
    ]);
    IF p_worker_id IS NOT NULL THEN
        SELECT c.job_id, c.run_id, c.organization_id, c.fence, c.attempt INTO job_id, run_id, organization_id, fence, attempt
        FROM claim_run(p_worker_id, p_holder, p_lease_seconds) c;
    END IF;
END $$;

