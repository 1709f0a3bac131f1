"""`python -m evals`: plays the cases, prints the table, writes the reports. Exit code 1 where a threshold is missed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import httpx

from domain.errors import ConsiliumError
from evals import html, organizations, report, thresholds, xquad
from evals.cases import Case, load
from evals.player import Player
from evals.runner import Played, Results, play_all
from evals.serving import ROOT, Served, serve
from evals.surroundings import Surroundings

EMBEDDED = "extractive/extractive"
SUITES = ("routing", "tools", "grounded", "memory", "tenancy", "injection")


@click.command()
@click.option("--model", envvar="MODEL", default=EMBEDDED, show_default=True, help="provider/model [env: MODEL].")
@click.option("--only", default="", help="Cases whose id begins so: `routing`, `grounded-ru`.")
@click.option("--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Cases at a time.")
@click.option("--retrieval/--no-retrieval", default=True, help="Measure retrieval on XQuAD, too.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=ROOT / ".consilium" / "evals", help="Folder for the reports."
)
def main(model: str, only: str, at_once: int, retrieval: bool, out: Path) -> None:
    """Measure the agents on the cases of evals/cases."""
    try:
        limits, cases = thresholds.read(model), load(only=only)
    except ConsiliumError as wrong:
        raise click.ClickException(str(wrong)) from wrong
    if not cases:
        raise click.ClickException(f"no case's id begins with '{only}'")
    started, notices = time.monotonic(), []
    figures = xquad.figures() if retrieval and not only else {}
    if retrieval and not only and not figures:
        notices.append("retrieval skipped: the XQuAD data is not next to the project (../shared/data/xquad)")
    with Surroundings(cases) as surroundings, serve(surroundings.environ) as served:
        unknown = _unknown(served, model)
        if unknown:
            raise click.ClickException(unknown)
        played, told = asyncio.run(_play(served, model, cases, surroundings, at_once))
    results = Results(model, tuple(played), figures, (*notices, *told), time.monotonic() - started)
    out.mkdir(parents=True, exist_ok=True)
    report.write_json(out / "report.json", results, limits)
    html.write(out / "report.html", results, limits)
    click.echo(report.table(results, limits))
    click.echo(f"every failing case with its conversation: {out / 'report.html'}")
    short = thresholds.missed(limits, report.values_of(results))
    if short:
        click.echo(f"short of the threshold: {', '.join(short)}", err=True)
    sys.exit(1 if short else 0)


async def _play(
    served: Served, model: str, cases: Sequence[Case], surroundings: Surroundings, at_once: int
) -> tuple[list[Played], list[str]]:
    known = organizations.described()
    async with Player(served, model, known, surroundings.prepare) as player:
        if os.environ.get("LANGSMITH_API_KEY"):
            from evals.experiment import play_as_experiment

            return await play_as_experiment(player, model, cases, at_once=at_once)
        return await play_all(player, cases, at_once=at_once), []


def _unknown(served: Served, model: str) -> str | None:
    """Why the model can't be evaluated; None where it can."""
    headers = {"Authorization": f"Bearer {served.token('eval', 'ann')}"}
    listed = httpx.get(f"{served.url}/v1/models", headers=headers, timeout=30).json()["data"]
    names = [str(one["id"]) for one in listed]
    if model in names:
        return None
    usable = ", ".join(name for name in names if "/" in name)
    return f"MODEL={model} is not configured here. What is: {usable}"


if __name__ == "__main__":
    main()
