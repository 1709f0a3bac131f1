CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE documents (
    document_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    title text NOT NULL,
    filename text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    version int NOT NULL,
    searchable_version int,
    status text NOT NULL CHECK (status IN ('pending', 'parsing', 'indexing', 'ready', 'failed')),
    progress real NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    error jsonb,
    pages int,
    chunks int,
    labels text[] NOT NULL DEFAULT '{}',
    created_by text NOT NULL,
    holder text,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((error IS NOT NULL) = (status = 'failed'))
);
CREATE INDEX documents_by_organization ON documents (organization_id, created_at DESC, document_id);
CREATE INDEX documents_by_filename ON documents (organization_id, filename);
CREATE INDEX documents_unread ON documents (created_at) WHERE status IN ('pending', 'parsing', 'indexing');

-- Every version stays with its document, so that a citation of an old one still opens.
CREATE TABLE document_versions (
    organization_id uuid NOT NULL,
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    version int NOT NULL,
    filename text NOT NULL,
    media_type text NOT NULL,
    content bytea NOT NULL,
    text text,
    spans jsonb,
    pages int,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document_id, version)
);

-- The searchable version's chunks only.
CREATE TABLE chunks (
    chunk_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    version int NOT NULL,
    page int,
    section text,
    start_offset int NOT NULL,
    end_offset int NOT NULL CHECK (end_offset > start_offset),
    text text NOT NULL,
    length int NOT NULL
);
CREATE INDEX chunks_by_document ON chunks (document_id);

-- The chunks' lexical vectors, apart from the text: a search reads every vector of its organisation, and in rows of their own
-- they take a third of the pages. PLAIN keeps them in the row.
CREATE TABLE chunk_vectors (
    chunk_id uuid NOT NULL REFERENCES chunks ON DELETE CASCADE,
    organization_id uuid NOT NULL,
    document_id uuid NOT NULL,
    lexical sparsevec(16777216) STORAGE PLAIN NOT NULL
);
CREATE INDEX chunk_vectors_by_organization ON chunk_vectors (organization_id);
CREATE INDEX chunk_vectors_by_chunk ON chunk_vectors (chunk_id);

-- In how many of the organisation's chunks a term occurs, and, per document, what to take away when it goes.
CREATE TABLE term_stats (
    organization_id uuid NOT NULL,
    term text NOT NULL,
    df int NOT NULL,
    PRIMARY KEY (organization_id, term)
);
CREATE TABLE document_terms (
    organization_id uuid NOT NULL,
    document_id uuid PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
    terms text[] NOT NULL,
    counts int[] NOT NULL
);
CREATE TABLE knowledge_stats (
    organization_id uuid PRIMARY KEY,
    chunks bigint NOT NULL DEFAULT 0
);

CREATE TABLE notes (
    note_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    text text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 500),
    folded text NOT NULL,
    lexical sparsevec(16777216) STORAGE PLAIN NOT NULL,
    created_by text NOT NULL,
    run_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, folded)
);
CREATE INDEX notes_by_organization ON notes (organization_id, created_at DESC, note_id);

SELECT isolate_table('documents'), isolate_table('document_versions'), isolate_table('chunks'), isolate_table('chunk_vectors'),
       isolate_table('term_stats'), isolate_table('document_terms'), isolate_table('knowledge_stats'), isolate_table('notes');

-- The engine's view: which versions wait to be read, in every organisation; no title, no text.
CREATE POLICY engine ON documents FOR SELECT TO consilium_engine USING (true);
GRANT SELECT (document_id, organization_id, version, status, lease_until, created_at) ON documents TO consilium_engine;

-- The BM25 query vector of some terms in the current organisation: weight ln(1 + (N - df + 0.5) / (df + 0.5)).
CREATE FUNCTION lexical_query(p_terms text[], p_dimensions int[]) RETURNS sparsevec LANGUAGE sql STABLE AS $$
    WITH total AS (
        SELECT coalesce((SELECT chunks FROM knowledge_stats WHERE organization_id = (SELECT current_organization())), 0) AS n
    ), weights AS (
        SELECT q.dimension, max(ln(1 + (greatest(total.n - coalesce(t.df, 0), 0) + 0.5) / (coalesce(t.df, 0) + 0.5))) AS weight
        FROM total, unnest(p_terms, p_dimensions) AS q (term, dimension)
        LEFT JOIN term_stats t ON t.organization_id = (SELECT current_organization()) AND t.term = q.term
        GROUP BY q.dimension
    )
    SELECT ('{' || coalesce(string_agg(dimension || ':' || round(weight, 6), ','), '') || '}/16777216')::sparsevec
    FROM weights
$$;
