-- name: lock_upload
-- Serialises uploads of one file name in one organisation, so that the same bytes sent twice at once make one document.
SELECT pg_advisory_xact_lock(hashtextextended(%(organization_id)s || ':' || %(filename)s, 0));

-- name: find_same
-- The document whose newest version is these bytes under this file name.
SELECT document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
       pages, chunks, labels, created_by, created_at, updated_at
FROM documents
WHERE filename = %(filename)s AND sha256 = %(sha256)s
ORDER BY created_at
LIMIT 1;

-- name: add
-- A new document, waiting to be read.
INSERT INTO documents (document_id, organization_id, title, filename, media_type, size_bytes, sha256, version, status, labels,
                       created_by)
VALUES (%(document_id)s, %(organization_id)s, %(title)s, %(filename)s, %(media_type)s, %(size_bytes)s, %(sha256)s, 1, 'pending',
        %(labels)s, %(created_by)s)
RETURNING document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
          pages, chunks, labels, created_by, created_at, updated_at;

-- name: replace
-- A new version, waiting to be read; the searchable one stays as it is.
UPDATE documents
SET version = version + 1, filename = %(filename)s, media_type = %(media_type)s, size_bytes = %(size_bytes)s,
    sha256 = %(sha256)s, title = coalesce(%(title)s, title), labels = coalesce(%(labels)s, labels), status = 'pending',
    progress = 0, error = NULL, pages = NULL, chunks = NULL, holder = NULL, lease_until = NULL, updated_at = now()
WHERE document_id = %(document_id)s
RETURNING document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
          pages, chunks, labels, created_by, created_at, updated_at;

-- name: retry
-- A failed version waits to be read again.
UPDATE documents
SET status = 'pending', progress = 0, error = NULL, holder = NULL, lease_until = NULL, updated_at = now()
WHERE document_id = %(document_id)s AND status = 'failed'
RETURNING document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
          pages, chunks, labels, created_by, created_at, updated_at;

-- name: label
-- Other labels for a document.
UPDATE documents SET labels = %(labels)s, updated_at = now()
WHERE document_id = %(document_id)s
RETURNING document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
          pages, chunks, labels, created_by, created_at, updated_at;

-- name: add_version
-- The bytes of a version.
INSERT INTO document_versions (organization_id, document_id, version, filename, media_type, content, created_by)
VALUES (%(organization_id)s, %(document_id)s, %(version)s, %(filename)s, %(media_type)s, %(content)s, %(created_by)s);

-- name: get
-- One document's record, locked against a change in the meantime where asked.
SELECT document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
       pages, chunks, labels, created_by, created_at, updated_at
FROM documents
WHERE document_id = %(document_id)s;

-- name: list
-- A page of the organisation's documents, newest first, with the number of all that match.
SELECT document_id, title, filename, media_type, size_bytes, sha256, version, searchable_version, status, progress, error,
       pages, chunks, labels, created_by, created_at, updated_at, count(*) OVER () AS total
FROM documents
WHERE organization_id = %(organization_id)s AND (%(status)s::text IS NULL OR status = %(status)s)
ORDER BY created_at DESC, document_id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
-- How many documents match.
SELECT count(*) AS total
FROM documents
WHERE organization_id = %(organization_id)s AND (%(status)s::text IS NULL OR status = %(status)s);

-- name: lock_statistics
-- Serialises changes of the organisation's index; makes its row where it is the first.
INSERT INTO knowledge_stats (organization_id, chunks) VALUES (%(organization_id)s, 0)
ON CONFLICT (organization_id) DO UPDATE SET chunks = knowledge_stats.chunks
RETURNING chunks;

-- name: lock
-- Holds the document's row for the rest of the transaction.
SELECT document_id, version FROM documents WHERE document_id = %(document_id)s FOR UPDATE;

-- name: lock_held
-- Holds the row of a version this process is reading; no row where it was deleted, replaced or taken over.
SELECT document_id FROM documents
WHERE document_id = %(document_id)s AND version = %(version)s AND holder = %(holder)s
  AND status IN ('parsing', 'indexing')
FOR UPDATE;

-- name: remove_chunks
-- Takes a document out of the index and its terms and chunks out of the statistics.
WITH gone AS (
    DELETE FROM chunks WHERE document_id = %(document_id)s RETURNING 1
), terms AS (
    DELETE FROM document_terms WHERE document_id = %(document_id)s RETURNING terms, counts
), less AS (
    UPDATE term_stats t SET df = t.df - old.count
    FROM (SELECT u.term, u.count FROM terms, unnest(terms.terms, terms.counts) AS u (term, count)) AS old
    WHERE t.organization_id = %(organization_id)s AND t.term = old.term
)
UPDATE knowledge_stats SET chunks = chunks - (SELECT count(*) FROM gone) WHERE organization_id = %(organization_id)s;

-- name: add_chunks
-- A batch of chunks of the version that becomes searchable, with their vectors.
WITH given AS MATERIALIZED (
    SELECT gen_random_uuid() AS chunk_id, u.*
    FROM unnest(%(pages)s::int[], %(sections)s::text[], %(starts)s::int[], %(ends)s::int[], %(texts)s::text[],
                %(lexicals)s::text[], %(lengths)s::int[])
         AS u (page, section, start_offset, end_offset, text, lexical, length)
), added AS (
    INSERT INTO chunks (chunk_id, organization_id, document_id, version, page, section, start_offset, end_offset, text, length)
    SELECT chunk_id, %(organization_id)s, %(document_id)s, %(version)s, page, section, start_offset, end_offset, text, length
    FROM given
)
INSERT INTO chunk_vectors (chunk_id, organization_id, document_id, lexical)
SELECT chunk_id, %(organization_id)s, %(document_id)s, lexical::sparsevec FROM given;

-- name: add_terms
-- Puts a document's terms and chunks into the statistics.
WITH kept AS (
    INSERT INTO document_terms (organization_id, document_id, terms, counts)
    VALUES (%(organization_id)s, %(document_id)s, %(terms)s, %(counts)s)
), more AS (
    INSERT INTO term_stats (organization_id, term, df)
    SELECT %(organization_id)s, u.term, u.count FROM unnest(%(terms)s::text[], %(counts)s::int[]) AS u (term, count)
    ON CONFLICT (organization_id, term) DO UPDATE SET df = term_stats.df + excluded.df
)
UPDATE knowledge_stats SET chunks = chunks + %(chunks)s WHERE organization_id = %(organization_id)s;

-- name: drop_unused_terms
-- Forgets the terms that no chunk of the organisation has any more.
DELETE FROM term_stats WHERE organization_id = %(organization_id)s AND df <= 0;

-- name: save_text
-- The parsed text of a version.
UPDATE document_versions SET text = %(text)s, spans = %(spans)s, pages = %(pages)s
WHERE document_id = %(document_id)s AND version = %(version)s;

-- name: make_ready
-- The version is the searchable one from now on.
UPDATE documents
SET status = 'ready', progress = 1, error = NULL, searchable_version = version, pages = %(pages)s, chunks = %(chunks)s,
    holder = NULL, lease_until = NULL, updated_at = now()
WHERE document_id = %(document_id)s;

-- name: delete
-- Removes a document with all its versions.
DELETE FROM documents WHERE document_id = %(document_id)s RETURNING document_id;

-- name: claim
-- Takes a waiting version, or one whose reader has gone, for one process; no row where there is nothing to take.
UPDATE documents
SET status = 'parsing', progress = 0, holder = %(holder)s, lease_until = now() + make_interval(secs => %(lease_seconds)s),
    updated_at = now()
WHERE document_id = %(document_id)s AND version = %(version)s AND status IN ('pending', 'parsing', 'indexing')
  AND (lease_until IS NULL OR lease_until < now())
RETURNING title, filename, media_type;

-- name: advance
-- Progress of the version this process is reading; renews its lease. No row where it is no longer this process's.
UPDATE documents
SET status = %(status)s, progress = %(progress)s, lease_until = now() + make_interval(secs => %(lease_seconds)s),
    updated_at = now()
WHERE document_id = %(document_id)s AND version = %(version)s AND holder = %(holder)s AND status IN ('parsing', 'indexing')
RETURNING document_id;

-- name: renew
-- Keeps the lease while a long step runs.
UPDATE documents SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
WHERE document_id = %(document_id)s AND version = %(version)s AND holder = %(holder)s AND status IN ('parsing', 'indexing')
RETURNING document_id;

-- name: release
-- Gives a version back unread.
UPDATE documents SET status = 'pending', progress = 0, holder = NULL, lease_until = NULL, updated_at = now()
WHERE document_id = %(document_id)s AND version = %(version)s AND holder = %(holder)s AND status IN ('parsing', 'indexing')
RETURNING document_id;

-- name: fail
-- The version can't be read; what was searchable stays.
UPDATE documents
SET status = 'failed', progress = 0, error = %(error)s, holder = NULL, lease_until = NULL, updated_at = now()
WHERE document_id = %(document_id)s AND version = %(version)s AND holder = %(holder)s AND status IN ('parsing', 'indexing')
RETURNING document_id;

-- name: waiting
-- As the engine: versions of all organisations that wait to be read or whose reader has gone, oldest first.
SELECT document_id, organization_id, version
FROM documents
WHERE status IN ('pending', 'parsing', 'indexing') AND (lease_until IS NULL OR lease_until < now())
ORDER BY created_at
LIMIT %(limit)s;

-- name: content
-- The bytes of a version.
SELECT filename, media_type, content FROM document_versions
WHERE document_id = %(document_id)s AND version = %(version)s;

-- name: text
-- The parsed text of a version.
SELECT text, spans, pages FROM document_versions
WHERE document_id = %(document_id)s AND version = %(version)s AND text IS NOT NULL;

-- name: passage
-- A stretch of a version's text with some text around it. Offsets are characters, end exclusive.
SELECT d.title, v.version, char_length(v.text) AS total,
       substr(v.text, %(start)s + 1, %(end)s - %(start)s) AS text,
       substr(v.text, greatest(%(start)s - %(context)s, 0) + 1, least(%(start)s, %(context)s)) AS before,
       substr(v.text, %(end)s + 1, %(context)s) AS after,
       (SELECT s FROM jsonb_array_elements(v.spans) AS s
        WHERE (s->>0)::int <= %(start)s ORDER BY (s->>0)::int DESC LIMIT 1) AS span
FROM document_versions v JOIN documents d USING (document_id)
WHERE v.document_id = %(document_id)s AND v.version = %(version)s AND v.text IS NOT NULL;
