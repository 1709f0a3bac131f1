"""Versions of channels: short, always growing, told apart where two go on from the same one."""

from __future__ import annotations

from storage.saver import TenantSaver


def test_versions_grow_and_differ() -> None:
    saver = TenantSaver.__new__(TenantSaver)
    version: str | None = None
    for number in range(1, 2_000):
        following, other = saver.get_next_version(version, None), saver.get_next_version(version, None)
        assert following != other
        assert version is None or following > version
        assert len(following) == 19
        assert following.startswith(str(10**9 + number))
        version = following


def test_they_follow_those_of_the_stock_saver() -> None:
    saver = TenantSaver.__new__(TenantSaver)
    stock = "00000000000000000000000000000041.0.5488135039273248"
    following = saver.get_next_version(stock, None)
    assert following > stock
    assert following.startswith("1000000042.")
