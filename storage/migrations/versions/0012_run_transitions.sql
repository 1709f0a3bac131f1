-- The transitions every turn makes, one statement each: a transaction of a dozen statements and four round trips was a third of
-- the time before a run began. They work with the caller's rights and, for the queue, as the engine, which they assume for the
-- rest of the transaction. The queue's functions are procrastinate's, by the names it keeps stable.

-- Raises CN001 where the thread's log has moved on: only another holder of the run can have done that.
CREATE FUNCTION append_events(
    p_organization_id uuid, p_thread_id uuid, p_run_id uuid, p_seq_first bigint, p_seq_last bigint, p_terminal boolean,
    p_events jsonb
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE threads SET last_seq = p_seq_last WHERE thread_id = p_thread_id AND last_seq = p_seq_first - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log of thread % has moved on', p_thread_id USING ERRCODE = 'CN001';
    END IF;
    INSERT INTO run_events (organization_id, thread_id, run_id, seq_first, seq_last, terminal, events)
    VALUES (p_organization_id, p_thread_id, p_run_id, p_seq_first, p_seq_last, p_terminal, p_events);
END $$;

-- Take the next eligible job, whoever accepted it, and the lease of its run: a new fence, another attempt. All null where there is
-- none. Jobs of runs that are over are forgotten on the way.
CREATE FUNCTION claim_run(
    p_worker_id bigint, p_holder text, p_lease_seconds double precision,
    OUT job_id bigint, OUT run_id uuid, OUT organization_id uuid, OUT fence bigint, OUT attempt int
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_job procrastinate_jobs;
BEGIN
    PERFORM set_config('role', 'consilium_engine', true);
    LOOP
        v_job := procrastinate_fetch_job_v2(ARRAY['runs']::varchar[], p_worker_id);
        IF v_job.id IS NULL THEN
            RETURN;
        END IF;
        UPDATE runs r SET
            status = 'running', fence = r.fence + 1, attempt = r.attempt + 1, holder = p_holder, job_id = v_job.id,
            lease_until = now() + make_interval(secs => p_lease_seconds), updated_at = now(),
            waited_seconds = r.waited_seconds + coalesce(extract(epoch FROM now() - r.waiting_since), 0),
            resumes_at = NULL, waiting_since = NULL
        WHERE r.run_id = (v_job.args ->> 'run_id')::uuid AND r.status IN ('pending', 'running')
        RETURNING v_job.id, r.run_id, r.organization_id, r.fence, r.attempt
        INTO job_id, run_id, organization_id, fence, attempt;
        IF FOUND THEN
            RETURN;
        END IF;
        PERFORM procrastinate_finish_job_v1(v_job.id, 'succeeded', true);
    END LOOP;
END $$;

-- Record a run and its job and, where a worker is given, take the next eligible job. `outcome` is 'accepted', or why nothing was
-- written: 'known' (the key came before; `known_run_id` and `known_fingerprint` tell with what), 'not_found' (no thread of the
-- caller's), 'child' (of `parent_thread_id`), 'busy'. Raises CN002 where a concurrent request with the same key was first.
CREATE FUNCTION accept_run(
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
    INSERT INTO runs (run_id, organization_id, thread_id, user_id, assistant_id, graph_id, trace_id, kwargs, metadata,
                      multitask_strategy, skills_generation, created_at, updated_at)
    VALUES (p_run_id, p_organization_id, p_thread_id, p_user_id, p_assistant_id, p_graph_id, p_trace_id, p_kwargs, p_metadata,
            p_strategy,
            coalesce((SELECT o.skills_generation FROM organizations o WHERE o.organization_id = p_organization_id), 0),
            accepted_at, accepted_at)
    RETURNING runs.skills_generation INTO skills_generation;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (organization_id, user_id, key, fingerprint, run_id)
        VALUES (p_organization_id, p_user_id, p_key, p_fingerprint, p_run_id)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the key came with a concurrent request' USING ERRCODE = 'CN002';
        END IF;
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
    outcome := 'accepted';
END $$;

-- A run is over: its row, its thread (busy where another run waits), its job; where a worker is given, take the next. Raises CN001
-- where the run isn't held with this fence. The thread is locked by the caller before anything else.
CREATE FUNCTION finish_run(
    p_run_id uuid, p_fence bigint, p_thread_id uuid, p_job_id bigint, p_status text, p_thread_status text, p_error jsonb,
    p_worker_id bigint, p_holder text, p_lease_seconds double precision,
    OUT job_id bigint, OUT run_id uuid, OUT organization_id uuid, OUT fence bigint, OUT attempt int
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    UPDATE runs r SET status = p_status, error = p_error, finished_at = now(), updated_at = now(), lease_until = NULL, holder = NULL
    WHERE r.run_id = p_run_id AND r.fence = p_fence AND r.status = 'running';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % is not held with fence %', p_run_id, p_fence USING ERRCODE = 'CN001';
    END IF;
    UPDATE threads t SET updated_at = now(), interrupted = (p_thread_status = 'interrupted'), status = CASE
        WHEN EXISTS (SELECT FROM runs r WHERE r.thread_id = p_thread_id AND r.status IN ('pending', 'running')) THEN 'busy'
        ELSE p_thread_status END
    WHERE t.thread_id = p_thread_id;
    PERFORM set_config('role', 'consilium_engine', true);
    PERFORM procrastinate_finish_job_v1(p_job_id, 'succeeded', true);
    IF p_worker_id IS NOT NULL THEN
        SELECT c.job_id, c.run_id, c.organization_id, c.fence, c.attempt INTO job_id, run_id, organization_id, fence, attempt
        FROM claim_run(p_worker_id, p_holder, p_lease_seconds) c;
    END IF;
END $$;
