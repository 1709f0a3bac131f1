"""Measurements against the targets of the design; `python -m bench` prints one line a target. Never part of the tests."""
