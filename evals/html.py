"""placeholder"""
from __future__ import annotations
from collections.abc import Mapping
from pathlib import Path
from evals.runner import Results
from evals.thresholds import Threshold


def write(file: Path, results: Results, thresholds: Mapping[str, Threshold]) -> None:
    """later"""
