"""Where a Chromium is installed that Playwright can drive."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REQUIRED = "BROWSER_TESTS"
"""Set to `required` where a missing browser is a failure, not a reason to skip."""


def executable() -> str | None:
    """The path of an installed Chromium; None where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return next((str(path) for path in sorted(cache.glob("chromium-*/chrome-linux*/chrome"))), None)


def required_or_skip() -> str:
    """The path; otherwise the test is skipped and says what to install, or fails where a browser is required."""
    found = executable()
    if found is None:
        missing = "no Chromium is installed: apt install chromium, or playwright install chromium"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    return found
