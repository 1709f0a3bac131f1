-- name: checkpoints
-- Many checkpoints at once, each but once, as the saver's own statement writes one.
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::jsonb[])
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata;

-- name: blobs
-- Many channel values at once, as the saver's own statement writes one.
INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[])
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING;

-- name: writes
-- Many writes of tasks at once, as the saver's own statement writes one.
INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::bytea[])
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING;

-- name: select
-- The head of the saver's reading statements, with the columns of its own. Of the channels' values each is looked up by its whole
-- key: see `history`.
SELECT
    thread_id, checkpoint, checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata,
    (
        SELECT array_agg(ARRAY[b.channel::bytea, b.type::bytea, b.blob])
        FROM jsonb_each_text(checkpoint -> 'channel_versions') v, LATERAL (
            SELECT b.channel, b.type, b.blob
            FROM checkpoint_blobs b
            WHERE b.thread_id = checkpoints.thread_id AND b.checkpoint_ns = checkpoints.checkpoint_ns AND b.channel = v.key
                AND b.version = v.value
            OFFSET 0
        ) b
    ) AS channel_values,
    (
        SELECT array_agg(ARRAY[w.task_id::bytea, w.channel::bytea, w.type::bytea, w.blob, convert_to(w.task_path, 'UTF8'),
                               w.idx::text::bytea])
        FROM checkpoint_writes w
        WHERE w.thread_id = checkpoints.thread_id AND w.checkpoint_ns = checkpoints.checkpoint_ns
            AND w.checkpoint_id = checkpoints.checkpoint_id
    ) AS pending_writes
FROM checkpoints;

-- name: history
-- What was written to a channel at the ancestors of a checkpoint, back to the one that is known already or else to the last that
-- holds the whole value, which comes last. An ancestor without writes has one row, without a blob.
-- Lateral subqueries with OFFSET 0, so that each ancestor is looked up by its whole key: of a growing conversation the planner
-- believes that there is one checkpoint, and reads them all.
WITH RECURSIVE chain AS (
    SELECT c.parent_checkpoint_id, c.checkpoint_id, 0 AS depth, NULL::text AS version, c.checkpoint_id = %(known)s AS known,
           false AS inline
    FROM checkpoints c
    WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s AND c.checkpoint_id = %(checkpoint_id)s
    UNION ALL
    SELECT c.parent_checkpoint_id, c.checkpoint_id, chain.depth + 1, b.version, c.checkpoint_id = %(known)s,
           b.version IS NULL AND c.value <> 'null'
    FROM chain, LATERAL (
        SELECT c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint -> 'channel_versions' ->> %(channel)s AS version,
               c.checkpoint -> 'channel_values' -> %(channel)s AS value
        FROM checkpoints c
        WHERE c.thread_id = %(thread_id)s AND c.checkpoint_ns = %(checkpoint_ns)s
            AND c.checkpoint_id = chain.parent_checkpoint_id
        OFFSET 0
    ) c LEFT JOIN LATERAL (
        SELECT b.version
        FROM checkpoint_blobs b
        WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = %(checkpoint_ns)s AND b.channel = %(channel)s
            AND b.version = c.version AND b.type <> 'empty'
        OFFSET 0
    ) b ON true
    WHERE chain.version IS NULL AND chain.known IS NOT TRUE AND chain.inline IS NOT TRUE
)
SELECT chain.depth, chain.known, chain.inline, false AS whole, w.task_path, w.task_id, w.idx, w.type, w.blob
FROM chain LEFT JOIN LATERAL (
    SELECT w.task_path, w.task_id, w.idx, w.type, w.blob
    FROM checkpoint_writes w
    WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = %(checkpoint_ns)s AND w.checkpoint_id = chain.checkpoint_id
        AND w.channel = %(channel)s AND chain.depth > 0
    OFFSET 0
) w ON true
UNION ALL
SELECT chain.depth, chain.known, chain.inline, true, NULL, NULL, NULL, b.type, b.blob
FROM chain, LATERAL (
    SELECT b.type, b.blob
    FROM checkpoint_blobs b
    WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = %(checkpoint_ns)s AND b.channel = %(channel)s
        AND b.version = chain.version
    OFFSET 0
) b;
