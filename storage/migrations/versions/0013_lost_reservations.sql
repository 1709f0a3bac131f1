-- A reservation is committed without waiting for the disk, so the last fraction of a second of them may be gone after a crash of
-- the database. The call goes on meanwhile: its end tells all that the entry had told, and books it anew where it is gone.

DROP FUNCTION quota_commit(uuid, bigint, bigint, text, text);

-- The call is over: its usage replaces its reservation, on the day it was reserved. Usage is charged also where the reservation
-- had been released or is lost; once. `p_answered` is the model that really answered, NULL where it is the one asked.
CREATE FUNCTION quota_commit(
    p_entry_id uuid, p_organization_id uuid, p_day date, p_tokens bigint, p_user_id text, p_agent text, p_provider text,
    p_model text, p_run_id uuid, p_thread_id uuid, p_trace_id text, p_call_id uuid, p_purpose text, p_prompt bigint,
    p_completion bigint, p_source text, p_answered text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_entry usage_ledger;
BEGIN
    SELECT * INTO v_entry FROM usage_ledger WHERE entry_id = p_entry_id FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO usage_ledger (entry_id, organization_id, day, run_id, thread_id, user_id, agent, provider, model, status,
                                  reserved, trace_id, settled_at, expires_at, call_id, purpose)
        VALUES (p_entry_id, p_organization_id, p_day, p_run_id, p_thread_id, p_user_id, p_agent, p_provider, p_model, 'released',
                p_tokens, p_trace_id, clock_timestamp(), now(), p_call_id, p_purpose)
        ON CONFLICT (entry_id) DO NOTHING
        RETURNING * INTO v_entry;
        INSERT INTO quota_days (organization_id, day) VALUES (p_organization_id, p_day) ON CONFLICT DO NOTHING;
    END IF;
    IF v_entry.status IN ('reserved', 'released') THEN
        UPDATE usage_ledger SET status = 'committed', prompt = p_prompt, completion = p_completion, source = p_source,
            model = coalesce(p_answered, v_entry.model),
            reserved_model = CASE WHEN p_answered <> v_entry.model THEN v_entry.model END, settled_at = clock_timestamp()
        WHERE entry_id = p_entry_id;
        PERFORM quota_move(v_entry.organization_id, v_entry.day, v_entry.user_id, v_entry.provider || '/' || v_entry.model,
                           CASE WHEN v_entry.status = 'reserved' THEN v_entry.reserved ELSE 0 END, p_prompt + p_completion);
    END IF;
END $$;
