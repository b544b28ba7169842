"""Training from a resolved recipe to a finished run, and resuming one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from trimtab.config.load import build_recipe
from trimtab.config.origins import ResolvedRecipe
from trimtab.config.recipe import AUTO
from trimtab.core.control import clear_requests
from trimtab.core.devices import process_index
from trimtab.core.errors import InterruptedRun, RunError
from trimtab.core.events import EventLog, Listener
from trimtab.core.files import write_json
from trimtab.core.heartbeat import Heartbeat, is_going_on
from trimtab.core.runs import RunDirectory, new_run_path, open_run
from trimtab.core.seeds import seed_torch
from trimtab.integrations.outlets import outlets
from trimtab.pipeline.augment import FOLDER, augmented_examples
from trimtab.pipeline.autopilot import build_pilot, refuse_unfit_autopilot
from trimtab.pipeline.autopilot_start import settle_before
from trimtab.pipeline.check import check, describe_dataset
from trimtab.pipeline.control import Controller
from trimtab.pipeline.describe import Timer, bytes_needed, describe_plan, describe_rows, start_fields
from trimtab.pipeline.doctor import LiveDoctor
from trimtab.pipeline.final_weights import soup_size
from trimtab.pipeline.finish import finish
from trimtab.pipeline.helm import build_helm, with_reserve
from trimtab.pipeline.loop import build_engine, refuse_unfit_sharding, share_model
from trimtab.pipeline.measured import Measured
from trimtab.pipeline.memory import watched_memory
from trimtab.pipeline.parts import Parts, build_parts, lay_groundwork
from trimtab.pipeline.prefix import with_frozen_prefix
from trimtab.pipeline.preflight import rehearse
from trimtab.pipeline.probe import settle_strategy
from trimtab.pipeline.store import check_disk, check_place, read_dataset, write_start
from trimtab.pipeline.token_rows import train_rows_in_use
from trimtab.training.checkpoints import CheckpointStore, restore, written_by
from trimtab.training.optimizers import build_optimizer
from trimtab.training.records import Progress
from trimtab.training.session import Judgement, Session

RUNS = Path("runs")


def train(resolved: ResolvedRecipe, source: Any, listener: Listener | None = None) -> RunDirectory:
    """Run a recipe on data from beginning to end.

    Args:
        resolved: recipe with origins; may hold `auto`.
        source: path, id, DataFrame or `datasets` object.
        listener: called with every event, for a progress display.

    Returns:
        The finished run's directory.
    """
    timer = Timer()
    listener = listener if process_index() == 0 else None
    target = Path(resolved.recipe.output) if resolved.recipe.output else None
    if target is not None:
        RunDirectory(target).refuse_existing()
    check_place(target or RUNS)
    announce = EventLog(None)
    if listener is not None:
        announce.listen(listener)
    announce.write("phase", 0, phase="data", message=f"Reading {_describe(source)}")
    ground, report = check(resolved, source)
    announce.write("report", 0, report=report.to_dict(), dataset=describe_dataset(ground.dataset))
    report.raise_if_refused(resolved.recipe.data.force)
    timer.lap("data")
    settled = settle_before(resolved, ground, report)
    resolved, ground, report = settled.resolved, settled.ground, settled.report
    resolved, ground, probe = settle_strategy(
        resolved, ground, lambda text: announce.write("phase", 0, phase="strategy", message=text)
    )
    announce.write("phase", 0, phase="model", message=f"Loading {ground.source.name}")
    parts = build_parts(resolved, ground)
    refuse_unfit_sharding(parts)
    refuse_unfit_autopilot(parts)
    timer.lap("model")
    announce.write("phase", 0, phase="preflight", message="Pre-flight: one small batch the whole way")
    rehearsal = rehearse(parts)
    run = RunDirectory(_agree_on(target or new_run_path(RUNS, ground.dataset.name, parts.recipe.model.name)))
    check_disk(run.path, bytes_needed(parts))
    timer.lap("preflight")
    if parts.accelerator.is_main_process:
        with run.created() as aside:
            write_start(aside, parts.resolved, parts.notes, ground.dataset)
            parts.measured.write(aside.path)
            write_json(aside.path / "strategy.json", describe_plan(parts))
    parts.accelerator.wait_for_everyone()
    with _recorded(run, listener) as (events, heartbeat), outlets(run, parts.resolved, events, resumed=False):
        events.write("start", 0, **start_fields(parts), preflight=rehearsal, run=str(run.path))
        if probe is not None:
            events.write("probe", 0, **probe.to_dict())
        for finding in report.to_dict()["findings"]:
            events.write("finding", 0, by="data", **finding)
        for action in settled.actions:
            events.write("action", 0, **action)
        seed_torch(parts.recipe.seed, "dropout", parts.accelerator.process_index)
        progress = Progress(token_budget=_token_budget(parts))
        _train_and_finish(run, parts, events, heartbeat, progress, timer, checkpoint_folder=None)
    return run


def resume(path: Path, listener: Listener | None = None) -> RunDirectory:
    """Go on with an interrupted run from its newest sound checkpoint, to the same weights as without interruption.

    Raises:
        RunError: there is no such run, it is finished, or it goes on in another process.
        CheckpointError: the checkpoint lacks a part that an exact resume needs.
    """
    run = open_run(path)
    if run.is_finished:
        raise RunError(
            f"The run {run.path} is finished.",
            remedy=f"Judge it with 'trimtab evaluate {run.path} DATA', or train longer in a new run: trimtab train "
            f"{run.path}/recipe.yaml --epochs N --output DIR",
        )
    _refuse_going_on(run)
    timer = Timer()
    dataset = read_dataset(run)
    resolved = build_recipe(file=run.recipe)
    with _recorded(run, listener) as (events, heartbeat), outlets(run, resolved, events, resumed=True):
        events.write("phase", 0, phase="model", message=f"Resuming {run.path}")
        parts = build_parts(resolved, lay_groundwork(resolved.recipe, dataset), Measured.read(run.path))
        seed_torch(parts.recipe.seed, "dropout", parts.accelerator.process_index)
        events.write("start", 0, **start_fields(parts), run=str(run.path), resumed=True)
        progress = Progress(token_budget=_token_budget(parts))
        _train_and_finish(run, parts, events, heartbeat, progress, timer, checkpoint_folder=run.checkpoints)
    return run


def _refuse_going_on(run: RunDirectory) -> None:
    """See that no other process trains in the directory; of several that train together, the first looks.

    Raises:
        RunError: one does.
    """
    if process_index() == 0 and is_going_on(run.heartbeat):
        raise RunError(
            f"The run {run.path} goes on in another process.",
            remedy=f"Wait for its end, or stop it first: trimtab control {shlex.quote(str(run.path))} stop",
        )


def _train_and_finish(
    run: RunDirectory,
    parts: Parts,
    events: EventLog,
    heartbeat: Heartbeat,
    progress: Progress,
    timer: Timer,
    checkpoint_folder: Path | None,
) -> None:
    """Run the session from a fresh start or from the newest sound checkpoint, then finish the run."""
    store = CheckpointStore(run.checkpoints, parts.recipe.checkpoint.keep_last)
    doctor = LiveDoctor(run, parts, events)
    parts = doctor.with_memory(parts)
    rows = train_rows_in_use(parts)
    if rows is not None:
        events.write("action", 0, action="token_rows", **rows)
    optimizer = build_optimizer(parts.model, with_reserve(parts), parts.recipe.optimizer)
    if checkpoint_folder is not None:
        if parts.accelerator.is_main_process:
            run.remove_torn()
        progress = _restore(store, parts, optimizer, events, progress)
    parts = _with_augmentation(parts, run, events)
    kept, prefix = with_frozen_prefix(parts, lambda action, **fields: _act(events, progress, action, fields))
    kept = doctor.instrument(kept)
    engine = build_engine(kept, optimizer, progress, lambda action, **fields: _act(events, progress, action, fields))
    helm = build_helm(kept, engine, store)
    pilot = build_pilot(kept, helm, events, doctor.examine)

    def evaluate() -> Judgement:
        with heartbeat.during("evaluating"):
            return doctor.judge(kept)

    session = Session(
        engine=engine,
        model=parts.model,
        evaluate=evaluate,
        store=store,
        events=events,
        keep_best=soup_size(parts.recipe),
        describe_rows=lambda rows: describe_rows(parts, rows),
        resume_command=f"trimtab resume {shlex.quote(str(run.path))}",
        pilot=pilot,
        control=Controller(run, helm, events, doctor.find, pilot=pilot, on_wait=timer.leave_out),
    )
    try:
        with watched_memory(parts, optimizer, events, progress):
            session.run()
    finally:
        doctor.close()
        if prefix is not None:
            prefix.close()
            events.write("frozen_prefix", progress.step, **asdict(prefix.savings))
    timer.lap("training")
    try:
        finish(run, parts, store, engine, events, timer, doctor.conclude)
    except KeyboardInterrupt as error:
        raise InterruptedRun("SIGINT", session.resume_command) from error


def _with_augmentation(parts: Parts, run: RunDirectory, events: EventLog) -> Parts:
    """The parts with training rows that change from epoch to epoch, where the recipe wants it."""

    def tell(done: int, total: int) -> None:
        events.write("phase", 0, phase="augmentation", message=f"Translating training rows: {done:,} of {total:,}")

    examples = augmented_examples(parts, run.path / FOLDER, tell)
    return replace(parts, examples={**parts.examples, "train": examples})


def _restore(
    store: CheckpointStore, parts: Parts, optimizer: torch.optim.Optimizer, events: EventLog, fresh: Progress
) -> Progress:
    """Load the newest sound checkpoint; damaged ones are named, removed, and the one before is used."""
    checkpoint, faults = store.newest_sound()
    for name, fault in faults.items():
        events.write("action", 0, action="skip_checkpoint", checkpoint=name, reason=fault)
    # Only now, when every process has looked at them.
    parts.accelerator.wait_for_everyone()
    if parts.accelerator.is_main_process:
        store.remove_torn()
        store.discard(list(faults))
    if checkpoint is None:
        events.write("action", 0, action="resume", checkpoint=None, message="No sound checkpoint: starting at step 0")
        return fresh
    processes = parts.accelerator.num_processes
    if processes > 1 and parts.recipe.training.sharding == "fsdp":
        # Before anything is read: in shares, a model and its optimizer fit where the whole of them might not.
        share_model(parts, parts.model, optimizer)
    progress = restore(
        checkpoint,
        parts.model,
        optimizer,
        hooks=parts.hooks,
        process_index=parts.accelerator.process_index,
        num_processes=processes,
    )
    events.write(
        "action",
        progress.step,
        action="resume",
        checkpoint=checkpoint.path.name,
        written_by=written_by(checkpoint),
        processes=processes,
        sharding="none" if processes == 1 else parts.recipe.training.sharding,
    )
    return progress


def _act(events: EventLog, progress: Progress, action: str, fields: dict[str, Any]) -> None:
    events.write("action", progress.step, action=action, **fields)


def _agree_on(path: Path) -> Path:
    """The path that the main process chose, on every process."""
    chosen: list[Path] = broadcast_object_list([path])
    return chosen[0]


@contextmanager
def _recorded(run: RunDirectory, listener: Listener | None) -> Iterator[tuple[EventLog, Heartbeat]]:
    """The run's record with its listener, and its heartbeat; where several processes train, only the main one has them.

    What was asked of an earlier session is forgotten.
    """
    if process_index() > 0:
        yield EventLog(None), Heartbeat(None)
        return
    heartbeat = Heartbeat(run.heartbeat)
    heartbeat.recall(run.events)
    clear_requests(run)
    events = EventLog(run.events)
    if listener is not None:
        events.listen(listener)
    events.listen(heartbeat.hear)
    with heartbeat:
        yield events, heartbeat


def _token_budget(parts: Parts) -> int:
    budget = parts.recipe.training.max_tokens_per_batch
    if budget == AUTO or isinstance(budget, str):
        raise ValueError("training.max_tokens_per_batch is still 'auto': the recipe was not resolved")
    return budget


def _describe(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else f"a {type(source).__name__}"
