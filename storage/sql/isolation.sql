-- name: who
-- The role this session works as.
SELECT current_user::text AS name;

-- name: roles
-- The application's roles with the attributes that would lift them over row-level security, and roles they could become.
SELECT r.rolname::text AS role, r.rolsuper OR r.rolbypassrls AS unbound, r.rolcreaterole AS creates_roles,
       array(SELECT s.rolname::text FROM pg_roles s
             WHERE s.oid <> r.oid AND (s.rolsuper OR s.rolbypassrls) AND pg_has_role(r.oid, s.oid, 'MEMBER')) AS may_become,
       has_schema_privilege(r.oid, 'public', 'CREATE') AS creates
FROM pg_roles r WHERE r.rolname IN ('consilium_app', 'consilium_engine');

-- name: tables
-- Every table that isn't an extension's: whether it is isolated, who owns it, what our roles may do with it.
SELECT c.oid::regclass::text AS name, c.relkind::text AS kind, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
       o.owned, p.app, p.engine, p.truncates
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT bool_or(pg_has_role(r.oid, c.relowner, 'MEMBER')) AS owned
    FROM pg_roles r WHERE r.rolname IN ('consilium_app', 'consilium_engine') AND NOT r.rolsuper
) o
CROSS JOIN LATERAL (
    SELECT bool_or(r.rolname = 'consilium_app' AND reach.any) AS app, bool_or(r.rolname = 'consilium_engine' AND reach.any) AS engine,
           bool_or(has_table_privilege(r.oid, c.oid, 'TRUNCATE')) AS truncates
    FROM pg_roles r
    CROSS JOIN LATERAL (
        SELECT has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(r.oid, c.oid, 'DELETE') AS any
    ) reach
    WHERE r.rolname IN ('consilium_app', 'consilium_engine')
) p
WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1;

-- name: policies
-- Every policy, with the roles it is for and its expressions as Postgres writes them.
SELECT p.polrelid::regclass::text AS table, p.polname::text AS name, p.polpermissive AS permissive, p.polcmd::text AS command,
       array(SELECT CASE u.oid WHEN 0 THEN 'public' ELSE pg_get_userbyid(u.oid)::text END FROM unnest(p.polroles) u (oid)) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS check
FROM pg_policy p ORDER BY 1, 2;

-- name: views
-- Views that look with their owner's eyes, past row-level security; materialised ones always do.
SELECT c.oid::regclass::text AS name, c.relkind::text AS kind
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND (c.relkind = 'm' OR NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o
                                        WHERE o.option_name = 'security_invoker'), false))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1;

-- name: definer_functions
-- Functions that run with their owner's rights.
SELECT f.oid::regprocedure::text AS name
FROM pg_proc f
JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE f.prosecdef AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e')
ORDER BY 1;

-- name: current_organization
-- The body of the function every policy rests on.
SELECT regexp_replace(f.prosrc, '\s+', ' ', 'g') AS body, f.prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql') AS is_sql
FROM pg_proc f WHERE f.oid = to_regprocedure('public.current_organization()');
