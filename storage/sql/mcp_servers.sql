-- name: servers
-- The organisation's servers by name.
SELECT server_id, organization_id, name, transport, url, headers, identity, agents, wanted AS "only", on_premises, enabled,
       connect_seconds, call_seconds, version, created_by, created_at, updated_at
FROM mcp_servers WHERE organization_id = %(organization_id)s ORDER BY name;

-- name: listings
-- How the servers of the organisation do, those of the operator among them.
SELECT server_id, state, reason, tools, listed, pins, server_info, version, listed_at, checked_at
FROM mcp_listings WHERE organization_id = %(organization_id)s;

-- name: add
-- A new server; no row where the organisation has one of that name, or as many as it may.
INSERT INTO mcp_servers (server_id, organization_id, name, transport, url, headers, identity, agents, wanted, on_premises, enabled,
                         connect_seconds, call_seconds, created_by)
SELECT %(server_id)s, %(organization_id)s, %(name)s, %(transport)s, %(url)s, %(headers)s, %(identity)s, %(agents)s, %(only)s,
       %(on_premises)s, %(enabled)s, %(connect_seconds)s, %(call_seconds)s, %(created_by)s
WHERE (SELECT count(*) FROM mcp_servers WHERE organization_id = %(organization_id)s) < %(most)s
ON CONFLICT (organization_id, name) DO NOTHING
RETURNING server_id;

-- name: update
-- Another definition of a server, where it is still of that version.
UPDATE mcp_servers
SET transport = %(transport)s, url = %(url)s, headers = %(headers)s, identity = %(identity)s, agents = %(agents)s,
    wanted = %(only)s, on_premises = %(on_premises)s, enabled = %(enabled)s, connect_seconds = %(connect_seconds)s,
    call_seconds = %(call_seconds)s, version = version + 1, updated_at = now()
WHERE server_id = %(server_id)s AND version = %(version)s
RETURNING server_id;

-- name: delete
-- Removes a server and what is known of it.
WITH gone AS (DELETE FROM mcp_servers WHERE server_id = %(server_id)s RETURNING server_id)
DELETE FROM mcp_listings WHERE server_id IN (SELECT server_id FROM gone) RETURNING server_id;

-- name: forget
-- Removes what is known of a server: it is another one now.
DELETE FROM mcp_listings WHERE organization_id = %(organization_id)s AND server_id = %(server_id)s;

-- name: failed
-- A server could not be listed; what it listed before is kept.
INSERT INTO mcp_listings (organization_id, server_id, state, reason, version)
VALUES (%(organization_id)s, %(server_id)s, %(state)s, %(reason)s, %(version)s)
ON CONFLICT (organization_id, server_id) DO UPDATE
SET state = excluded.state, reason = excluded.reason, version = excluded.version, checked_at = now()
WHERE mcp_listings.version <= excluded.version;

-- name: listed
-- What a server listed. The first list is approved as it is.
INSERT INTO mcp_listings (organization_id, server_id, state, reason, tools, listed, pins, server_info, version, listed_at)
VALUES (%(organization_id)s, %(server_id)s, 'ready', %(reason)s, %(tools)s, %(listed)s, %(pins)s, %(server_info)s, %(version)s,
        now())
ON CONFLICT (organization_id, server_id) DO UPDATE
SET state = 'ready', reason = excluded.reason, tools = excluded.tools, listed = excluded.listed,
    pins = coalesce(mcp_listings.pins, excluded.pins), server_info = excluded.server_info, version = excluded.version,
    listed_at = now(), checked_at = now()
WHERE mcp_listings.version <= excluded.version;

-- name: approve
-- Other pins, where the list is still the one that was looked at.
UPDATE mcp_listings SET pins = %(pins)s
WHERE organization_id = %(organization_id)s AND server_id = %(server_id)s AND listed_at = %(listed_at)s
RETURNING server_id;
