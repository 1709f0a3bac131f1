-- name: get
-- The policies that hold for a user: its organisation's (user_id '') and its own.
SELECT user_id, policy FROM model_policies WHERE organization_id = %(organization_id)s AND user_id IN ('', %(user_id)s);

-- name: put
-- Replace a policy.
INSERT INTO model_policies (organization_id, user_id, policy, updated_by)
VALUES (%(organization_id)s, %(user_id)s, %(policy)s, %(updated_by)s)
ON CONFLICT (organization_id, user_id) DO UPDATE SET policy = EXCLUDED.policy, updated_by = EXCLUDED.updated_by, updated_at = now();

-- name: clear
-- Back to no wishes.
DELETE FROM model_policies WHERE organization_id = %(organization_id)s AND user_id = %(user_id)s;
