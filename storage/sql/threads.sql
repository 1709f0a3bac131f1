-- name: create
-- A conversation; nothing where the id is taken, by whomever.
INSERT INTO threads (thread_id, organization_id, user_id, metadata)
VALUES (%(thread_id)s, %(organization_id)s, %(user_id)s, %(metadata)s)
ON CONFLICT (thread_id) DO NOTHING
RETURNING *;

-- name: get
-- One thread; with a user, only if it is that user's.
SELECT * FROM threads WHERE thread_id = %(thread_id)s AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s);

-- name: search
-- Threads that fit a filter, in one of the orders "<field> <asc|desc>". Children only by id or under their parent.
SELECT * FROM threads
WHERE (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
  AND CASE WHEN %(parent_thread_id)s::uuid IS NOT NULL THEN parent_thread_id = %(parent_thread_id)s
           ELSE parent_thread_id IS NULL OR %(ids)s::uuid[] IS NOT NULL END
  AND (%(ids)s::uuid[] IS NULL OR thread_id = ANY (%(ids)s::uuid[]))
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND metadata @> %(metadata)s
ORDER BY
    CASE %(sort)s WHEN 'created_at asc' THEN created_at WHEN 'updated_at asc' THEN updated_at END ASC,
    CASE %(sort)s WHEN 'created_at desc' THEN created_at WHEN 'updated_at desc' THEN updated_at END DESC,
    CASE %(sort)s WHEN 'thread_id asc' THEN thread_id::text WHEN 'status asc' THEN status END ASC,
    CASE %(sort)s WHEN 'thread_id desc' THEN thread_id::text WHEN 'status desc' THEN status END DESC,
    created_at DESC, thread_id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
-- How many threads fit a filter.
SELECT count(*) AS threads FROM threads
WHERE (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
  AND parent_thread_id IS NULL
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND metadata @> %(metadata)s;

-- name: patch
-- Merge metadata, key by key.
UPDATE threads SET metadata = metadata || %(metadata)s, updated_at = now()
WHERE thread_id = %(thread_id)s AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
RETURNING *;

-- name: children
-- The child conversations a thread opened, oldest first.
SELECT * FROM threads WHERE parent_thread_id = %(thread_id)s ORDER BY created_at, thread_id;

-- name: set_status
-- A thread's new state.
UPDATE threads SET status = %(status)s, updated_at = now() WHERE thread_id = %(thread_id)s RETURNING thread_id;

-- name: delete
-- Forget a conversation with its children, runs, events and tool calls.
DELETE FROM threads
WHERE thread_id = %(thread_id)s AND parent_thread_id IS NULL AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
RETURNING thread_id;

-- name: delete_checkpoints
-- The state of a conversation; that of its children lies under the same id.
WITH states AS (DELETE FROM checkpoints WHERE thread_id = %(thread_id)s),
     blobs AS (DELETE FROM checkpoint_blobs WHERE thread_id = %(thread_id)s)
DELETE FROM checkpoint_writes WHERE thread_id = %(thread_id)s;
