-- name: ensure
-- The organisation of a verified token exists from its first request on.
INSERT INTO organizations (organization_id, name) VALUES (%(organization_id)s, %(name)s) ON CONFLICT DO NOTHING;
