-- Where an organisation has set no limits there are none to be put together, and where none of its users and models are counted
-- today nothing is to be counted for them: a seventh of a reservation's round trip.

-- Hold tokens under every limit that applies and write the ledger entry, or neither: `granted` says which, and `scope` and
-- `subject` whose limit refused. A repeated entry takes nothing again.
CREATE OR REPLACE FUNCTION quota_reserve(
    p_entry_id uuid, p_organization_id uuid, p_tokens bigint, p_default_limit bigint, p_user_id text, p_agent text,
    p_provider text, p_model text, p_run_id uuid, p_thread_id uuid, p_trace_id text, p_call_id uuid, p_purpose text,
    p_ttl_seconds double precision,
    OUT granted boolean, OUT day date, OUT scope text, OUT subject text, OUT daily_tokens bigint, OUT used bigint,
    OUT reserved bigint, OUT waits boolean, OUT resets_at timestamptz
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_day date := (now() AT TIME ZONE 'UTC')::date;
    v_model text := p_provider || '/' || p_model;
    v_limit bigint;
    v_user_limit bigint;
    v_model_limit bigint;
    v_counted boolean;
    v_known date;
BEGIN
    day := v_day;
    resets_at := (v_day + 1)::timestamp AT TIME ZONE 'UTC';
    IF EXISTS (SELECT FROM quota_limits l WHERE l.organization_id = p_organization_id) THEN
        SELECT CASE WHEN bool_or(l.scope = 'organization') THEN min(l.daily_tokens) FILTER (WHERE l.scope = 'organization')
                    ELSE p_default_limit END,
               CASE WHEN bool_or(l.scope = 'user' AND l.subject = p_user_id)
                    THEN min(l.daily_tokens) FILTER (WHERE l.scope = 'user' AND l.subject = p_user_id)
                    ELSE min(l.daily_tokens) FILTER (WHERE l.scope = 'user') END,
               min(l.daily_tokens) FILTER (WHERE l.scope = 'model')
        INTO v_limit, v_user_limit, v_model_limit
        FROM (VALUES ('organization', ''), ('user', '*'), ('user', p_user_id), ('model', v_model)) AS asked (scope, subject)
        JOIN quota_limits l ON l.organization_id = p_organization_id AND l.scope = asked.scope AND l.subject = asked.subject;
    ELSE
        v_limit := p_default_limit;
    END IF;

    INSERT INTO quota_days AS d (organization_id, day, used, reserved)
    SELECT p_organization_id, v_day, 0, p_tokens WHERE v_limit IS NULL OR p_tokens <= v_limit
    ON CONFLICT (organization_id, day) DO UPDATE SET reserved = d.reserved + EXCLUDED.reserved
    WHERE v_limit IS NULL OR d.used + d.reserved + EXCLUDED.reserved <= v_limit;
    IF NOT FOUND THEN
        scope := 'organization';
        daily_tokens := v_limit;
        SELECT d.used, d.reserved INTO used, reserved FROM quota_days d
        WHERE d.organization_id = p_organization_id AND d.day = v_day;
    ELSE
        -- under the lock of the day's row: none comes into being meanwhile
        v_counted := v_user_limit IS NOT NULL OR v_model_limit IS NOT NULL
            OR EXISTS (SELECT FROM quota_subject_days d WHERE d.organization_id = p_organization_id AND d.day = v_day);
        IF v_counted AND NOT quota_hold(p_organization_id, v_day, 'user', p_user_id, v_user_limit, p_tokens) THEN
            scope := 'user';
            subject := p_user_id;
            daily_tokens := v_user_limit;
        ELSIF v_counted AND NOT quota_hold(p_organization_id, v_day, 'model', v_model, v_model_limit, p_tokens) THEN
            scope := 'model';
            subject := v_model;
            daily_tokens := v_model_limit;
            UPDATE quota_subject_days d SET reserved = d.reserved - p_tokens
            WHERE d.organization_id = p_organization_id AND d.day = v_day AND d.scope = 'user' AND d.subject = p_user_id;
        ELSE
            INSERT INTO usage_ledger (entry_id, organization_id, day, run_id, thread_id, user_id, agent, provider, model, status,
                                      reserved, trace_id, expires_at, call_id, purpose)
            VALUES (p_entry_id, p_organization_id, v_day, p_run_id, p_thread_id, p_user_id, p_agent, p_provider, p_model,
                    'reserved', p_tokens, p_trace_id, now() + make_interval(secs => p_ttl_seconds), p_call_id, p_purpose)
            ON CONFLICT (entry_id) DO NOTHING;
            granted := FOUND;
            IF NOT granted THEN
                PERFORM quota_move(p_organization_id, v_day, p_user_id, v_model, p_tokens, 0);
            END IF;
        END IF;
        IF scope IS NOT NULL THEN
            UPDATE quota_days d SET reserved = d.reserved - p_tokens WHERE d.organization_id = p_organization_id AND d.day = v_day;
            SELECT d.used, d.reserved INTO used, reserved FROM quota_subject_days d
            WHERE d.organization_id = p_organization_id AND d.day = v_day AND d.scope = quota_reserve.scope
              AND d.subject = quota_reserve.subject;
        END IF;
    END IF;
    IF granted THEN
        RETURN;
    END IF;
    SELECT u.day INTO v_known FROM usage_ledger u WHERE u.entry_id = p_entry_id;
    granted := FOUND;
    day := coalesce(v_known, v_day);
    used := coalesce(used, 0);
    reserved := coalesce(reserved, 0);
    waits := p_tokens <= daily_tokens
        AND EXISTS (SELECT FROM quota_exhaustion e WHERE e.organization_id = p_organization_id AND e.action = 'wait');
END $$;
