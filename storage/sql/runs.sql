-- name: assert_fence
-- Fails with CN001 unless the run is held with this fence.
SELECT assert_fence(%s::uuid, %s::bigint);

-- name: lock_thread
-- The thread, locked until the transaction ends, so that submits on one thread come one by one.
SELECT thread_id, user_id, parent_thread_id, last_seq, interrupted FROM threads WHERE thread_id = %(thread_id)s FOR UPDATE;

-- name: accept
-- Record a run with its job, or say why not; then the columns of `claim`.
SELECT * FROM accept_run(
    %(run_id)s, %(thread_id)s, %(organization_id)s, %(user_id)s, %(see_all_threads)s, %(assistant_id)s, %(graph_id)s, %(trace_id)s,
    %(kwargs)s, %(metadata)s, %(strategy)s, %(create_thread)s, %(thread_metadata)s, %(key)s, %(fingerprint)s, %(worker_id)s,
    %(holder)s, %(lease_seconds)s);

-- name: known
-- The run an earlier request with this key made, and that request's fingerprint.
SELECT run_id, fingerprint FROM idempotency_keys
WHERE organization_id = %(organization_id)s AND user_id = %(user_id)s AND key = %(key)s;

-- name: claim
-- (engine) Take the next eligible job and the lease of its run; nulls where there is none.
SELECT * FROM claim_run(%(worker_id)s, %(holder)s, %(lease_seconds)s);

-- name: get
-- One run.
SELECT * FROM runs WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s;

-- name: find
-- One run by its id alone.
SELECT * FROM runs WHERE run_id = %(run_id)s;

-- name: list
-- A thread's runs, newest first.
SELECT * FROM runs WHERE thread_id = %(thread_id)s AND (%(status)s::text IS NULL OR status = %(status)s)
ORDER BY created_at DESC, run_id LIMIT %(limit)s OFFSET %(offset)s;

-- name: extend_lease
-- (engine) The holder is alive. Nothing where it no longer holds the run.
UPDATE runs SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
WHERE run_id = %(run_id)s AND fence = %(fence)s AND status = 'running'
RETURNING cancel_requested;

-- name: request_cancel
-- Ask for an end; the holder sees it at once or with its next heartbeat.
UPDATE runs SET cancel_requested = true, updated_at = now()
WHERE run_id = %(run_id)s AND status IN ('pending', 'running')
RETURNING status, job_id, resumes_at, attempt;

-- name: finish
-- The run is over, its thread is settled and its job forgotten; then the columns of `claim`. Fails with CN001 unless it is held with
-- this fence.
SELECT * FROM finish_run(
    %(run_id)s, %(fence)s, %(thread_id)s, %(job_id)s, %(status)s, %(thread_status)s, %(error)s, %(worker_id)s, %(holder)s,
    %(lease_seconds)s);

-- name: finish_pending
-- A run that never started is over.
UPDATE runs SET status = 'interrupted', finished_at = now(), updated_at = now()
WHERE run_id = %(run_id)s AND status = 'pending'
RETURNING run_id, job_id;

-- name: settle_thread
-- The thread's state once a run that never started is over: busy where another waits; one at an interrupt is there still.
UPDATE threads t SET updated_at = now(), status = CASE
    WHEN EXISTS (SELECT 1 FROM runs r WHERE r.thread_id = t.thread_id AND r.status IN ('pending', 'running')) THEN 'busy'
    WHEN t.interrupted THEN 'interrupted'
    ELSE %(status)s END
WHERE t.thread_id = %(thread_id)s;

-- name: expired
-- (engine) Runs whose holder has not been heard of within the lease; locked so that one replica takes each.
SELECT run_id, organization_id, job_id, attempt FROM runs
WHERE status = 'running' AND lease_until < now()
ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED;

-- name: requeue
-- (engine) The run waits again; the old holder's fence is worthless from now on. Nothing where another fence is given.
UPDATE runs SET status = 'pending', fence = fence + 1, holder = NULL, lease_until = NULL, updated_at = now()
WHERE run_id = %(run_id)s AND status = 'running' AND (%(fence)s::bigint IS NULL OR fence = %(fence)s)
RETURNING run_id;

-- name: postpone
-- (engine) The run waits for tokens; the old holder's fence is worthless from now on. `due` is when it is to be tried again: at
-- once where it is to be cancelled. Nothing where it is not held with this fence.
UPDATE runs SET status = 'pending', fence = fence + 1, holder = NULL, lease_until = NULL, updated_at = now(),
       resumes_at = %(resumes_at)s, waiting_since = now()
WHERE run_id = %(run_id)s AND status = 'running' AND fence = %(fence)s
RETURNING CASE WHEN cancel_requested THEN NULL
               ELSE least(resumes_at, now() + make_interval(secs => %(at_most_seconds)s)) END AS due;

-- name: wake
-- (engine) Runs that wait for tokens are tried again now: one, or all of an organisation.
UPDATE procrastinate_jobs SET scheduled_at = '2000-01-01' WHERE id IN (
    SELECT j.id FROM procrastinate_jobs j
    WHERE j.status = 'todo' AND j.id IN (
        SELECT job_id FROM runs
        WHERE organization_id = %(organization_id)s AND resumes_at IS NOT NULL
          AND (%(run_id)s::uuid IS NULL OR run_id = %(run_id)s))
    ORDER BY j.id FOR UPDATE SKIP LOCKED);

-- name: delete
-- Forget a run that is over, with its events and tool calls.
DELETE FROM runs WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s AND status NOT IN ('pending', 'running') RETURNING run_id;

-- name: depth
-- (engine) Unfinished runs of all organisations by status.
SELECT status, count(*)::int AS runs FROM runs WHERE status IN ('pending', 'running') GROUP BY status;
