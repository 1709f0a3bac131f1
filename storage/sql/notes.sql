-- name: add
-- A new note; no row where the organisation has one that folds to the same.
INSERT INTO notes (note_id, organization_id, text, folded, lexical, created_by, run_id)
VALUES (%(note_id)s, %(organization_id)s, %(text)s, %(folded)s, %(lexical)s, %(created_by)s, %(run_id)s)
ON CONFLICT (organization_id, folded) DO NOTHING
RETURNING note_id, text, created_by, run_id, created_at, updated_at;

-- name: find_folded
-- The note that folds to the same.
SELECT note_id, text, created_by, run_id, created_at, updated_at
FROM notes WHERE organization_id = %(organization_id)s AND folded = %(folded)s;

-- name: get
-- One note.
SELECT note_id, text, created_by, run_id, created_at, updated_at FROM notes WHERE note_id = %(note_id)s;

-- name: list
-- A page of the organisation's notes, newest first.
SELECT note_id, text, created_by, run_id, created_at, updated_at, count(*) OVER () AS total
FROM notes WHERE organization_id = %(organization_id)s
ORDER BY created_at DESC, note_id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
-- How many notes the organisation has.
SELECT count(*) AS total FROM notes WHERE organization_id = %(organization_id)s;

-- name: update
-- Another text for a note.
UPDATE notes SET text = %(text)s, folded = %(folded)s, lexical = %(lexical)s, updated_at = now()
WHERE note_id = %(note_id)s
RETURNING note_id, text, created_by, run_id, created_at, updated_at;

-- name: delete
-- Removes a note.
DELETE FROM notes WHERE note_id = %(note_id)s RETURNING note_id;

-- name: relevant
-- The notes that match the query best; those that don't match at all fill up, newest first.
SELECT note_id, text, created_by, run_id, created_at, updated_at
FROM notes
WHERE organization_id = %(organization_id)s
ORDER BY lexical <#> (SELECT lexical_query(%(terms)s, %(dimensions)s)), created_at DESC, note_id
LIMIT %(limit)s;
