-- name: best
-- The best chunks of the organisation by BM25, best first; chunks without any of the terms are left out.
WITH best AS (
    SELECT chunk_id, lexical <#> (SELECT lexical_query(%(terms)s, %(dimensions)s)) AS distance
    FROM chunk_vectors
    WHERE organization_id = %(organization_id)s
      AND (%(document_ids)s::uuid[] IS NULL OR document_id = ANY (%(document_ids)s::uuid[]))
    ORDER BY distance
    LIMIT %(k)s
)
SELECT c.chunk_id, c.document_id, c.version, d.title, c.page, c.section, c.start_offset AS start, c.end_offset AS end, c.text,
       'local_only' = ANY (d.labels) AS local_only, -best.distance AS score
FROM best JOIN chunks c USING (chunk_id) JOIN documents d USING (document_id)
WHERE best.distance < 0
ORDER BY best.distance, c.document_id, c.start_offset;
