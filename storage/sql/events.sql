-- name: append
-- One flush of a run's log; the thread's counter moves with it. Fails with CN001 where the log has moved on.
SELECT append_events(
    %(organization_id)s, %(thread_id)s, %(run_id)s, %(seq_first)s, %(seq_last)s, %(terminal)s, %(events)s);

-- name: last_seq
-- The last sequence number of a thread's log, and whether its last run ended at an interrupt.
SELECT last_seq, interrupted FROM threads WHERE thread_id = %(thread_id)s;

-- name: after
-- The flushes of one run that reach past a sequence number, in order.
SELECT seq_first, seq_last, terminal, events FROM run_events
WHERE run_id = %(run_id)s AND seq_last > %(after)s ORDER BY seq_first;
