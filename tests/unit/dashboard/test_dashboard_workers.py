"""The processes that hold models, with a stand-in that answers at once: their number, their rest, their death."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from dashboard_client import run_aside

from trimtab.dashboard import workers as module
from trimtab.dashboard.failures import Refusal
from trimtab.dashboard.predictor import requests
from trimtab.dashboard.workers import Workers

FAKE = """
import json, os, sys, time
run = sys.argv[1]
if run.endswith("broken"):
    print(json.dumps({"ready": False, "error": {"message": "No model.", "remedy": "Train."}})); sys.exit(2)
if run.endswith("slow"):
    time.sleep(60)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    text = asked["inputs"][0]
    if text == "die":
        print("out of luck", file=sys.stderr, flush=True); os._exit(7)
    if text == "wait":
        time.sleep(60)
    answer = {"error": {"message": "Bad.", "remedy": ""}} if text == "bad" else {"predictions": [{"pid": os.getpid()}]}
    if text == "long":
        answer["predictions"][0]["text"] = "x" * 300000
    print(json.dumps({"id": asked["id"], **answer}), flush=True)
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "fake.py").write_text(FAKE)
    for name in ("a", "b", "c", "broken", "slow"):
        (tmp_path / name / "model").mkdir(parents=True)
    return tmp_path


def go(runs: Path, work: Any, **words: Any) -> Any:
    """Run `work(ask, workers)` in a loop of its own; `ask` gives the process that answered."""

    async def inside() -> Any:
        workers = Workers(command=(sys.executable, str(runs / "fake.py")), **words)

        async def ask(run: str, text: str = "x") -> Any:
            (prediction,) = await workers.ask(runs / run, {"inputs": [text]})
            return prediction["pid"]

        try:
            return await work(ask, workers)
        finally:
            await workers.close()

    coroutine: Coroutine[Any, Any, Any] = inside()
    return run_aside(coroutine)


def test_one_process_a_run_and_few_at_a_time(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        first, second = await asyncio.gather(ask("a"), ask("a"))
        assert first == second
        other = await ask("b")
        assert other != first and await ask("a") == first
        await ask("c")  # `b` was asked longest ago, and makes room
        assert {path.name for path in workers.workers} == {"a", "c"}
        assert await ask("a") == first

    go(runs, work)


def test_one_at_rest_ends_and_so_does_one_whose_run_is_gone(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        await ask("a")
        await workers.end_idle()
        assert len(workers.workers) == 1
        workers.idle_seconds = 0.0
        await workers.end_idle()
        assert not workers.workers

    go(runs, work, idle_seconds=1000.0)


def test_another_run_of_the_same_name_gets_its_own_process(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        first = await ask("a")
        (runs / "a" / "model").rename(runs / "a" / "old")
        (runs / "a" / "model").mkdir()
        assert await ask("a") != first

    go(runs, work)


def test_a_death_is_told_and_the_next_question_answered(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        first = await ask("a")
        with pytest.raises(Refusal, match=r"exit code 7.*out of luck") as caught:
            await ask("a", "die")
        assert caught.value.status == 500
        assert not workers.workers
        assert await ask("a") != first

    go(runs, work)


def test_refusals_of_the_model_are_handed_on(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        first = await ask("a")
        with pytest.raises(Refusal, match="Bad"):
            await ask("a", "bad")
        assert await ask("a", "long") == first
        with pytest.raises(Refusal, match="No model") as caught:
            await ask("broken")
        assert (caught.value.status, caught.value.remedy) == (409, "Train.")

    go(runs, work)


def test_what_takes_too_long_is_ended(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        await ask("a")
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
        with pytest.raises(Refusal, match="took longer") as caught:
            await ask("a", "wait")
        assert caught.value.status == 504
        monkeypatch.setattr(module, "START_SECONDS", 0.2)
        with pytest.raises(Refusal, match="load the model"):
            await ask("slow")

    go(runs, work)


def test_who_leaves_takes_no_answer_of_another(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        first = await ask("a")
        question = asyncio.create_task(ask("a", "wait"))
        await asyncio.sleep(0.2)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        assert await ask("a") != first

    go(runs, work)


def test_when_all_are_at_work_the_next_is_told(runs: Path) -> None:
    async def work(ask: Any, workers: Workers) -> None:
        await ask("a")
        question = asyncio.create_task(ask("a", "wait"))
        await asyncio.sleep(0.2)
        with pytest.raises(Refusal, match="predicting right now") as caught:
            await ask("b")
        assert caught.value.status == 503
        question.cancel()

    go(runs, work, most=1)


def test_requests_are_lines() -> None:
    assert list(requests(iter(['{"id": 1}\n', "\n", '{"id": 2}\n']))) == [{"id": 1}, {"id": 2}]
