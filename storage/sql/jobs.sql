-- name: list
-- The organisation's work, newest first, in one form: runs in the conversations last active, and the newest version of each
-- document. With a user, that user's alone.
WITH conversations AS (
    SELECT thread_id, metadata->>'title' AS title, interrupted FROM threads
    WHERE organization_id = %(organization_id)s AND parent_thread_id IS NULL
      AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
    ORDER BY updated_at DESC LIMIT %(conversations)s
), work AS (
    SELECT r.run_id AS job_id, 'agent.run' AS kind,
           CASE WHEN r.status = 'pending' THEN 'queued' WHEN r.status = 'running' THEN 'running'
                WHEN r.status = 'interrupted' THEN 'cancelled' WHEN r.status <> 'success' THEN 'failed'
                -- the conversation stands where its newest run has stopped
                WHEN c.interrupted AND r.created_at = max(r.created_at) OVER (PARTITION BY r.thread_id) THEN 'waiting'
                ELSE 'succeeded' END AS status,
           c.title, r.user_id AS created_by, r.created_at, r.updated_at, r.attempt AS attempts, NULL::float AS progress,
           r.resumes_at,
           CASE WHEN r.status IN ('error', 'timeout')
                THEN jsonb_build_object('code', coalesce(r.error->>'error_code', r.status), 'message', r.error->>'message') END
               AS error,
           r.thread_id, NULL::uuid AS document_id, NULL::int AS version
    FROM conversations c JOIN runs r USING (thread_id)
    WHERE %(kind)s::text IS NULL OR %(kind)s = 'agent.run'
    UNION ALL
    SELECT d.document_id, 'document.ingest',
           CASE d.status WHEN 'pending' THEN 'queued' WHEN 'ready' THEN 'succeeded' WHEN 'failed' THEN 'failed' ELSE 'running' END,
           d.title, d.created_by, d.created_at, d.updated_at, NULL, d.progress, NULL, d.error, NULL, d.document_id, d.version
    FROM documents d
    WHERE d.organization_id = %(organization_id)s AND (%(user_id)s::text IS NULL OR d.created_by = %(user_id)s)
      AND (%(kind)s::text IS NULL OR %(kind)s = 'document.ingest')
)
SELECT * FROM work WHERE %(status)s::text IS NULL OR status = %(status)s
ORDER BY created_at DESC, job_id LIMIT %(limit)s OFFSET %(offset)s;
