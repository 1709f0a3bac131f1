-- Grows with every change of an organisation's skills; 0 is before the first. A run carries the one it was accepted under, so that
-- whoever executes it knows whether the skills it remembers are recent enough, without asking.
ALTER TABLE organizations ADD COLUMN skills_generation bigint NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN skills_generation bigint NOT NULL DEFAULT 0;

-- A skill that an organisation has changed or added. `version` is in force; 0 is the operator's definition.
CREATE TABLE skills (
    organization_id uuid NOT NULL,
    name text NOT NULL,
    version int NOT NULL CHECK (version BETWEEN 0 AND last_version),
    last_version int NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    PRIMARY KEY (organization_id, name)
);

CREATE TABLE skill_versions (
    organization_id uuid NOT NULL,
    name text NOT NULL,
    version int NOT NULL CHECK (version > 0),
    definition jsonb NOT NULL,
    comment text,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (organization_id, name, version),
    FOREIGN KEY (organization_id, name) REFERENCES skills ON DELETE CASCADE
);

-- Who changed what, and within which request. Only ever added to.
CREATE TABLE audit_log (
    organization_id uuid NOT NULL,
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT now(),
    user_id text NOT NULL,
    trace_id text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    action text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (organization_id, change_id)
);
CREATE INDEX audit_log_by_subject ON audit_log (organization_id, kind, subject, change_id DESC);

SELECT isolate_table('skills'), isolate_table('skill_versions'), isolate_table('audit_log');
REVOKE UPDATE, DELETE ON audit_log FROM consilium_app;
