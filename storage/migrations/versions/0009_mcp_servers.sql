-- MCP servers that an organisation has added; those of the operator are in a file. See domain/mcp.py.
-- `headers` may hold secrets: they are sent to the server and shown to nobody.
CREATE TABLE mcp_servers (
    server_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    name text NOT NULL,
    transport text NOT NULL CHECK (transport IN ('streamable_http', 'sse')),
    url text NOT NULL,
    headers jsonb NOT NULL DEFAULT '{}',
    identity text NOT NULL CHECK (identity IN ('user', 'organization', 'none')),
    agents text[] NOT NULL,
    wanted text[],
    on_premises boolean NOT NULL,
    enabled boolean NOT NULL,
    connect_seconds double precision,
    call_seconds double precision,
    version integer NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, name)
);
SELECT isolate_table('mcp_servers');

-- How a server does in an organisation, what it listed last, and which of that was approved (`pins`, by tool name). Servers of the
-- operator have a row for each organisation that uses them, hence no reference. `version` is the definition's.
CREATE TABLE mcp_listings (
    organization_id uuid NOT NULL,
    server_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('connecting', 'ready', 'unreachable', 'wrong_protocol', 'needs_sign_in', 'changed')),
    reason jsonb,
    tools jsonb NOT NULL DEFAULT '[]',
    listed integer,
    pins jsonb,
    server_info jsonb,
    version integer NOT NULL,
    listed_at timestamptz,
    checked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, server_id)
);
SELECT isolate_table('mcp_listings');
