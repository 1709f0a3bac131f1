-- Token limits of an organisation (subject ''), of its users ('*': each without a limit of their own) and of models
-- ("provider/model"). NULL is unlimited.
ALTER TABLE quota_limits
    ADD COLUMN scope text NOT NULL DEFAULT 'organization' CHECK (scope IN ('organization', 'user', 'model')),
    ADD COLUMN subject text NOT NULL DEFAULT '',
    ADD CHECK ((scope = 'organization') = (subject = '')),
    DROP CONSTRAINT quota_limits_pkey,
    ADD PRIMARY KEY (organization_id, scope, subject);

-- Like quota_days, of a user or a model. A row comes into being with the day's first reservation under a limit, with what the
-- ledger holds by then, and counts every call of its subject from then on. Changed only under the lock of the day's quota_days.
CREATE TABLE quota_subject_days (
    organization_id uuid NOT NULL,
    day date NOT NULL,
    scope text NOT NULL CHECK (scope IN ('user', 'model')),
    subject text NOT NULL,
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (organization_id, day, scope, subject)
) WITH (fillfactor = 50);

-- What a run does whose tokens are used up; without a row it ends.
CREATE TABLE quota_exhaustion (
    organization_id uuid PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('refuse', 'wait')),
    updated_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE usage_ledger
    ADD COLUMN call_id uuid,
    ADD COLUMN purpose text NOT NULL DEFAULT 'answer',
    ADD COLUMN reserved_model text;
COMMENT ON COLUMN usage_ledger.reserved_model IS 'The model it was reserved for, where another name answered';
-- For what was used of late, by everybody: nearly free to keep, and the ledger grows in the order of time.
CREATE INDEX usage_ledger_by_time ON usage_ledger USING brin (created_at) WITH (autosummarize = on);

-- Requests a minute; NULL is no limit, no row the configured default.
CREATE TABLE rate_limits (
    organization_id uuid NOT NULL,
    scope text NOT NULL CHECK (scope IN ('organization', 'user', 'model')),
    per_minute int CHECK (per_minute >= 1),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, scope)
);
-- The theoretical arrival time of the next request: all that GCRA has to remember.
CREATE TABLE rate_states (
    organization_id uuid NOT NULL,
    scope text NOT NULL CHECK (scope IN ('organization', 'user', 'model')),
    subject text NOT NULL,
    tat timestamptz NOT NULL,
    PRIMARY KEY (organization_id, scope, subject)
) WITH (fillfactor = 50);

SELECT isolate_table('quota_subject_days'), isolate_table('quota_exhaustion'), isolate_table('rate_limits'),
       isolate_table('rate_states');

-- The engine learns how long answers are, from counts alone.
GRANT SELECT (agent, provider, model, purpose, completion, created_at, settled_at) ON usage_ledger TO consilium_engine;

-- A run that waits for tokens is pending, with the time it goes on.
ALTER TABLE runs
    ADD COLUMN resumes_at timestamptz,
    ADD COLUMN waiting_since timestamptz,
    ADD COLUMN waited_seconds double precision NOT NULL DEFAULT 0,
    ADD CHECK ((resumes_at IS NULL) = (waiting_since IS NULL));
CREATE INDEX runs_waiting ON runs (organization_id) WHERE resumes_at IS NOT NULL;
GRANT SELECT (resumes_at, waiting_since, waited_seconds), UPDATE (resumes_at, waiting_since, waited_seconds) ON runs
    TO consilium_engine;

-- The functions below are plpgsql because each of their statements has a snapshot of its own: what is read after the lock is
-- what its last holder left. All lock in one order: ledger entries by id, quota_days by day, subjects (user, then model).

-- Add to what a subject holds today. False, with nothing added, where its limit does not allow it.
CREATE FUNCTION quota_hold(
    p_organization_id uuid, p_day date, p_scope text, p_subject text, p_limit bigint, p_tokens bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    FOR attempt IN 1..2 LOOP
        UPDATE quota_subject_days d SET reserved = d.reserved + p_tokens
        WHERE d.organization_id = p_organization_id AND d.day = p_day AND d.scope = p_scope AND d.subject = p_subject
          AND (p_limit IS NULL OR d.used + d.reserved + p_tokens <= p_limit);
        IF FOUND OR p_limit IS NULL THEN
            RETURN true;
        END IF;
        INSERT INTO quota_subject_days (organization_id, day, scope, subject, used, reserved)
        SELECT p_organization_id, p_day, p_scope, p_subject,
               coalesce(sum(u.prompt + u.completion) FILTER (WHERE u.status = 'committed'), 0),
               coalesce(sum(u.reserved) FILTER (WHERE u.status = 'reserved'), 0)
        FROM usage_ledger u
        WHERE u.organization_id = p_organization_id AND u.day = p_day
          AND CASE p_scope WHEN 'user' THEN u.user_id
                           ELSE u.provider || '/' || coalesce(u.reserved_model, u.model) END = p_subject
          AND NOT EXISTS (SELECT FROM quota_subject_days d WHERE d.organization_id = p_organization_id AND d.day = p_day
                          AND d.scope = p_scope AND d.subject = p_subject)
        HAVING NOT EXISTS (SELECT FROM quota_subject_days d WHERE d.organization_id = p_organization_id AND d.day = p_day
                           AND d.scope = p_scope AND d.subject = p_subject);
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN false;
END $$;

-- Move tokens of one entry's subjects: from reserved, and to used.
CREATE FUNCTION quota_move(
    p_organization_id uuid, p_day date, p_user text, p_model text, p_reserved bigint, p_used bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE quota_days d SET reserved = d.reserved - p_reserved, used = d.used + p_used
    WHERE d.organization_id = p_organization_id AND d.day = p_day;
    UPDATE quota_subject_days d SET reserved = d.reserved - p_reserved, used = d.used + p_used
    WHERE d.organization_id = p_organization_id AND d.day = p_day AND d.scope = 'user' AND d.subject = p_user;
    UPDATE quota_subject_days d SET reserved = d.reserved - p_reserved, used = d.used + p_used
    WHERE d.organization_id = p_organization_id AND d.day = p_day AND d.scope = 'model' AND d.subject = p_model;
END $$;

-- Hold tokens under every limit that applies and write the ledger entry, or neither: `granted` says which, and `scope` and
-- `subject` whose limit refused. A repeated entry takes nothing again.
CREATE FUNCTION quota_reserve(
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
    v_known date;
BEGIN
    day := v_day;
    resets_at := (v_day + 1)::timestamp AT TIME ZONE 'UTC';
    SELECT CASE WHEN bool_or(l.scope = 'organization') THEN min(l.daily_tokens) FILTER (WHERE l.scope = 'organization')
                ELSE p_default_limit END,
           CASE WHEN bool_or(l.scope = 'user' AND l.subject = p_user_id)
                THEN min(l.daily_tokens) FILTER (WHERE l.scope = 'user' AND l.subject = p_user_id)
                ELSE min(l.daily_tokens) FILTER (WHERE l.scope = 'user') END,
           min(l.daily_tokens) FILTER (WHERE l.scope = 'model')
    INTO v_limit, v_user_limit, v_model_limit
    FROM (VALUES ('organization', ''), ('user', '*'), ('user', p_user_id), ('model', v_model)) AS asked (scope, subject)
    JOIN quota_limits l ON l.organization_id = p_organization_id AND l.scope = asked.scope AND l.subject = asked.subject;

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
        IF NOT quota_hold(p_organization_id, v_day, 'user', p_user_id, v_user_limit, p_tokens) THEN
            scope := 'user';
            subject := p_user_id;
            daily_tokens := v_user_limit;
        ELSIF NOT quota_hold(p_organization_id, v_day, 'model', v_model, v_model_limit, p_tokens) THEN
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

-- The call is over: its usage replaces its reservation, on the day it was reserved. Usage is charged also where the
-- reservation had been released; once.
CREATE FUNCTION quota_commit(p_entry_id uuid, p_prompt bigint, p_completion bigint, p_source text, p_model text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_entry usage_ledger;
BEGIN
    SELECT * INTO v_entry FROM usage_ledger WHERE entry_id = p_entry_id AND status <> 'committed' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE usage_ledger SET status = 'committed', prompt = p_prompt, completion = p_completion, source = p_source,
        model = coalesce(p_model, v_entry.model),
        reserved_model = CASE WHEN p_model <> v_entry.model THEN v_entry.model END, settled_at = clock_timestamp()
    WHERE entry_id = p_entry_id;
    PERFORM quota_move(v_entry.organization_id, v_entry.day, v_entry.user_id, v_entry.provider || '/' || v_entry.model,
                       CASE WHEN v_entry.status = 'reserved' THEN v_entry.reserved ELSE 0 END, p_prompt + p_completion);
END $$;

-- These reservations are void, those that are settled left out. Returns how many that were.
CREATE FUNCTION quota_release(p_entry_ids uuid[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_entry_ids uuid[];
    v_held record;
BEGIN
    SELECT array_agg(e.entry_id) INTO v_entry_ids FROM (
        SELECT entry_id FROM usage_ledger WHERE entry_id = ANY (p_entry_ids) AND status = 'reserved' ORDER BY entry_id FOR UPDATE
    ) e;
    IF v_entry_ids IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE usage_ledger SET status = 'released', settled_at = clock_timestamp() WHERE entry_id = ANY (v_entry_ids);
    FOR v_held IN
        SELECT organization_id, day, user_id, provider || '/' || model AS model, sum(reserved)::bigint AS tokens
        FROM usage_ledger WHERE entry_id = ANY (v_entry_ids) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    LOOP
        PERFORM quota_move(v_held.organization_id, v_held.day, v_held.user_id, v_held.model, v_held.tokens, 0);
    END LOOP;
    RETURN array_length(v_entry_ids, 1);
END $$;

-- GCRA: whether a request is admitted under all of its limits, which are given in the order organisation, user, model. `refused`
-- is the place of the limit that refused it, counted from 1; nothing is taken then.
CREATE FUNCTION rate_admit(
    p_organization_id uuid, p_scopes text[], p_subjects text[], p_limits int[],
    OUT refused int, OUT retry_after double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v_new boolean;
    v_tat timestamptz;
BEGIN
    FOR n IN 1..array_length(p_scopes, 1) LOOP
        -- clock_timestamp() is read once the row is ours; a burst may take a minute's requests at once
        INSERT INTO rate_states AS r (organization_id, scope, subject, tat)
        VALUES (p_organization_id, p_scopes[n], p_subjects[n], clock_timestamp() + interval '1 minute' / p_limits[n])
        ON CONFLICT (organization_id, scope, subject) DO UPDATE
        SET tat = greatest(r.tat, clock_timestamp()) + interval '1 minute' / p_limits[n]
        WHERE r.tat <= clock_timestamp() + interval '1 minute' - interval '1 minute' / p_limits[n]
        RETURNING r.xmax = 0 INTO v_new;
        IF NOT FOUND THEN
            SELECT r.tat INTO v_tat FROM rate_states r
            WHERE r.organization_id = p_organization_id AND r.scope = p_scopes[n] AND r.subject = p_subjects[n];
            refused := n;
            retry_after := greatest(0.001, extract(epoch FROM v_tat - clock_timestamp() - interval '1 minute'
                                                              + interval '1 minute' / p_limits[n]));
            FOR earlier IN 1..n - 1 LOOP
                UPDATE rate_states r SET tat = r.tat - interval '1 minute' / p_limits[earlier]
                WHERE r.organization_id = p_organization_id AND r.scope = p_scopes[earlier] AND r.subject = p_subjects[earlier];
            END LOOP;
            RETURN;
        END IF;
        IF v_new THEN
            DELETE FROM rate_states WHERE ctid IN (
                SELECT r.ctid FROM rate_states r
                WHERE r.organization_id = p_organization_id AND r.tat < clock_timestamp() - interval '1 hour'
                LIMIT 100 FOR UPDATE SKIP LOCKED);
        END IF;
    END LOOP;
END $$;
