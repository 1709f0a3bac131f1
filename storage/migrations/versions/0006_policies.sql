-- What an organisation, or one of its users (''), wishes of the choice of models; see domain/policy.py.
CREATE TABLE model_policies (
    organization_id uuid NOT NULL,
    user_id text NOT NULL DEFAULT '',
    policy jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
SELECT isolate_table('model_policies');

