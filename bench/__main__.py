"""`python -m bench [P1 P2 P3 P5 P7]`: one line a target (`P1 ok 1.32 (<= 1.5)`), exit code 1 where one falls short."""

from __future__ import annotations

import subprocess
import sys

from bench import conversation, gateway, startup, turns


def main(wanted: list[str]) -> int:
    """Run the benchmarks whose names are given, or all."""
    short = False
    for name, runner in (("P1", turns.run), ("P2", gateway.run), ("P3", conversation.run), ("P7", startup.run)):
        if wanted and name not in wanted:
            continue
        for target, reached, figures in runner():
            print(f"{target} {'ok' if reached else 'short'} {figures}", flush=True)
            short = short or not reached
    if not wanted or "P5" in wanted:
        short = subprocess.run([sys.executable, "-m", "bench.retrieval"], check=False).returncode != 0 or short
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
