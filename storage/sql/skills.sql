-- name: read
-- The organisation's generation with each skill it has changed or added, in the version in force; one row without a skill where
-- there is none.
SELECT o.skills_generation, s.name, s.version, s.last_version, s.enabled, s.created_at, s.created_by, s.updated_at, s.updated_by,
       v.definition, v.comment
FROM organizations o
LEFT JOIN skills s ON s.organization_id = o.organization_id
LEFT JOIN skill_versions v ON v.organization_id = s.organization_id AND v.name = s.name AND v.version = s.version
WHERE o.organization_id = %(organization_id)s
ORDER BY s.name;

-- name: bump
-- Another generation. The row stays locked, so that changes of an organisation's skills come one by one.
UPDATE organizations SET skills_generation = skills_generation + 1 WHERE organization_id = %(organization_id)s
RETURNING skills_generation;

-- name: head
-- What is in force of a skill, and how many the organisation has.
SELECT s.version, s.last_version, s.enabled, s.updated_by, v.definition,
       (SELECT count(*) FROM skills WHERE organization_id = %(organization_id)s)::int AS skills
FROM (SELECT 1) one
LEFT JOIN skills s ON s.organization_id = %(organization_id)s AND s.name = %(name)s
LEFT JOIN skill_versions v ON v.organization_id = s.organization_id AND v.name = s.name AND v.version = s.version;

-- name: put_head
-- Which version is in force, and whether it is.
INSERT INTO skills (organization_id, name, version, last_version, enabled, created_by, updated_by)
VALUES (%(organization_id)s, %(name)s, %(version)s, %(last_version)s, %(enabled)s, %(user_id)s, %(user_id)s)
ON CONFLICT (organization_id, name) DO UPDATE
SET version = EXCLUDED.version, last_version = EXCLUDED.last_version, enabled = EXCLUDED.enabled,
    updated_by = EXCLUDED.updated_by, updated_at = now();

-- name: add_version
-- A definition.
INSERT INTO skill_versions (organization_id, name, version, definition, comment, created_by)
VALUES (%(organization_id)s, %(name)s, %(version)s, %(definition)s, %(comment)s, %(user_id)s);

-- name: drop_old
-- Only the latest so many versions are kept, and the one in force.
DELETE FROM skill_versions
WHERE organization_id = %(organization_id)s AND name = %(name)s AND version <= %(last_version)s - %(kept)s
  AND version <> %(version)s;

-- name: delete
-- A skill with all its versions.
DELETE FROM skills WHERE organization_id = %(organization_id)s AND name = %(name)s RETURNING name;

-- name: versions
-- The versions of a skill, newest first.
SELECT version, definition, comment, created_at, created_by FROM skill_versions
WHERE organization_id = %(organization_id)s AND name = %(name)s ORDER BY version DESC;

-- name: version
-- One version.
SELECT version, definition, comment, created_at, created_by FROM skill_versions
WHERE organization_id = %(organization_id)s AND name = %(name)s AND version = %(version)s;
