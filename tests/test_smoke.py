async def test_tenant(db, organization, other_organization):
    await db.execute(organization, "INSERT INTO organizations (organization_id, name) VALUES (%s, 'x')", [organization])
    assert len(await db.fetch_all(organization, "SELECT * FROM organizations")) == 1
    assert await db.fetch_all(other_organization, "SELECT * FROM organizations") == []
