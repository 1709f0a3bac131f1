-- name: add
-- A change, told within its own transaction.
INSERT INTO audit_log (organization_id, user_id, trace_id, kind, subject, action, details)
VALUES (%(organization_id)s, %(user_id)s, %(trace_id)s, %(kind)s, %(subject)s, %(action)s, %(details)s);

-- name: page
-- A page of the changes of one thing, newest first, with the number of all.
SELECT change_id, at, user_id, trace_id, action, details, count(*) OVER ()::int AS total FROM audit_log
WHERE organization_id = %(organization_id)s AND kind = %(kind)s AND subject = %(subject)s
ORDER BY change_id DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
-- How many changes of one thing there are.
SELECT count(*)::int AS total FROM audit_log
WHERE organization_id = %(organization_id)s AND kind = %(kind)s AND subject = %(subject)s;
