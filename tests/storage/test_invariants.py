from storage.invariants import violations


def test_inv(owner_dsn):
    assert violations(owner_dsn) == []
