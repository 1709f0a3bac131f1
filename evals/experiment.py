"""The same cases as an experiment in LangSmith: a dataset with an example a case, a run a case, the metrics as feedback."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from langsmith import Client, aevaluate
from langsmith.evaluation import EvaluationResult, EvaluationResults
from langsmith.schemas import Example, Run
from langsmith.utils import LangSmithNotFoundError

from evals.cases import Case
from evals.judge import refusal_phrases
from evals.metrics import BY_NAME
from evals.player import Player
from evals.runner import Played, judged

DATASET = "consilium-evals"


async def play_as_experiment(
    player: Player, model: str, cases: Sequence[Case], *, at_once: int, client: Client | None = None
) -> tuple[list[Played], list[str]]:
    """Play the cases within an experiment. Returns them in their order, and what to tell of the experiment.

    The dataset is brought up to date first; cases that are no longer there stay in it and aren't played.
    """
    client = client or Client()
    examples = await asyncio.to_thread(upload, client, cases)
    by_id, phrases = {case.id: case for case in cases}, refusal_phrases()
    played: dict[str, Played] = {}

    async def target(inputs: dict[str, Any]) -> dict[str, Any]:
        case = by_id[str(inputs["case"])]
        played[case.id] = judged(case, await player.play(case), phrases)
        return played[case.id].conversation.as_json()

    def feedback(run: Run, example: Example) -> EvaluationResults:
        one = played[str((example.inputs or {})["case"])]
        return EvaluationResults(results=results(one))

    done = await aevaluate(
        target,
        data=examples,
        evaluators=[feedback],
        experiment_prefix=f"consilium-{model.replace('/', '-')}",
        metadata={"model": model},
        max_concurrency=at_once,
        client=client,
    )
    await asyncio.to_thread(client.flush)
    return [played[case.id] for case in cases], [f"LangSmith experiment: {done.experiment_name}"]


def results(played: Played) -> list[EvaluationResult]:
    """The scores of a case as feedback: shares and counts under the metric's name, what is missing as the comment."""
    found = []
    for name in dict.fromkeys(score.metric for score in played.scores):
        mine = [score for score in played.scores if score.metric == name]
        got, of = sum(score.got for score in mine), sum(score.of for score in mine)
        comment = "; ".join(score.problem for score in mine if score.problem is not None)
        score = float(got) if BY_NAME[name].kind == "count" else got / of
        found.append(EvaluationResult(key=name, score=score, comment=comment or None))
    return found


def upload(client: Client, cases: Sequence[Case]) -> list[Example]:
    """Bring the dataset up to date. Returns its examples of these cases."""
    try:
        dataset = client.read_dataset(dataset_name=DATASET)
    except LangSmithNotFoundError:
        dataset = client.create_dataset(DATASET, description="The cases of evals/cases; see docs/evals.md.")
    there = {example.id for example in client.list_examples(dataset_id=dataset.id)}
    ids = {example_id(dataset.id, case): case for case in cases}
    new = [_new(key, case) for key, case in ids.items() if key not in there]
    old = [_changed(key, case) for key, case in ids.items() if key in there]
    if new:
        client.create_examples(dataset_id=dataset.id, examples=new)
    if old:
        client.update_examples(dataset_id=dataset.id, updates=old)
    return [example for example in client.list_examples(dataset_id=dataset.id) if example.id in ids]


def example_id(dataset_id: uuid.UUID, case: Case) -> uuid.UUID:
    """The same for a case's id each time, so that experiments can be compared."""
    return uuid.uuid5(dataset_id, case.id)


def _new(key: uuid.UUID, case: Case) -> dict[str, Any]:
    inputs, expected = _sides(case)
    return {
        "id": key,
        "inputs": inputs,
        "reference_outputs": expected,
        "metadata": _metadata(case),
        "split": case.suite,
    }


def _changed(key: uuid.UUID, case: Case) -> dict[str, Any]:
    inputs, expected = _sides(case)
    return {"id": key, "inputs": inputs, "outputs": expected, "metadata": _metadata(case), "split": case.suite}


def _sides(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is put in and what is expected."""
    everything = case.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    given = {"organization", "documents", "texts", "own_notes", "pages", "tools", "steps"}
    expected = {name: value for name, value in everything.items() if name not in given | {"id", "suite", "language"}}
    return {"case": case.id} | {name: everything[name] for name in given & everything.keys()}, expected


def _metadata(case: Case) -> dict[str, Any]:
    return {"suite": case.suite, "language": case.language}
