"""What is seen while a run goes on: a bar on a terminal, a line an evaluation elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
from collections import deque
from types import TracebackType
from typing import Any

from trimtab.cli.output import console, message

# The loss and the rate shown are means over the last steps, which single steps would make jump.
WINDOW = 20
FINDING_STYLES = {"act": "bold red", "warning": "yellow", "info": "dim"}


class Progress:
    """A listener of a run's events.

    Args:
        quiet: show nothing (for `--json`).
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._bar_task: Any = None
        self._total = 0
        self._metric = ""
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._speeds: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self._told: set[tuple[str, str]] = set()
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        handler = getattr(self, f"_on_{event['type']}", None)
        if handler is not None and not self.quiet:
            handler(event)

    def _on_phase(self, event: dict[str, Any]) -> None:
        self._close()
        self._say(f"{event['message']} …", style="dim")

    def _on_report(self, event: dict[str, Any]) -> None:
        dataset = event["dataset"]
        for note in dataset["notes"]:
            self._say(f"  {note}")
        rows = ", ".join(f"{count:,} {split}" for split, count in dataset["rows"].items())
        self._say(f"  rows: {rows}; {len(dataset['labels'])} labels")
        for finding in event["report"]["findings"]:
            if finding["severity"] == "warning":
                self._warn(f"{finding['message']} {finding.get('remedy') or ''}".strip())

    def _on_start(self, event: dict[str, Any]) -> None:
        self._total = event["total_steps"]
        for note in event["notes"]:
            self._say(f"  {note}")
        share = event["trained_parameters"] / event["parameters"]
        epochs = "1 epoch" if event["num_epochs"] == 1 else f"{event['num_epochs']} epochs"
        self._say(
            f"Training {event['trained_parameters']:,} of {event['parameters']:,} parameters ({share:.1%}, strategy "
            f"{event['strategy']}) for {epochs}, {self._total:,} steps, learning rate "
            f"{event['learning_rate']:g}, {event['precision']} on {event['device']}; run directory {event['run']}"
        )
        if self._is_terminal:
            self._open_bar()

    def _on_step(self, event: dict[str, Any]) -> None:
        if event["loss"] is not None:
            self._losses.append(event["loss"])
        self._speeds.append((event["weight"], event["seconds"]))
        if event.get("skipped"):
            self._warn(f"step {event['step']} was skipped: {event['skipped']}")
        if self._bar is not None:
            rate = max(event["learning_rates"].values(), default=0.0)
            details = f"loss {self._loss():.4f}{self._metric}  lr {rate:.2e}  {self._speed():.1f} samples/s"
            self._bar.update(self._bar_task, completed=event["step"], details=details)

    def _on_finding(self, event: dict[str, Any]) -> None:
        if event.get("by") == "doctor":
            self._say_finding(event)
        elif event["name"] == "memory":
            self._warn(f"{event['message']} {event['remedy']}")

    def _on_evaluation(self, event: dict[str, Any]) -> None:
        value = event["metrics"].get(event["metric"])
        shown = "-" if value is None else f"{value:.4f}"
        self._metric = f"  {event['metric']} {shown}"
        loss = event["metrics"].get("loss")
        best = "  best so far" if event["best"] else ""
        self._say(
            f"step {event['step']:>6}  epoch {event['epoch']:5.2f}  training loss {self._loss():.4f}  validation loss "
            f"{'-' if loss is None else format(loss, '.4f')}  {event['metric']} {shown}{best}"
            f"  ({self._speed():.1f} samples/s)"
        )

    def _on_action(self, event: dict[str, Any]) -> None:
        if event["action"] == "shrink_token_budget":
            self._warn(
                f"memory ran out at step {event['step'] + 1}; the token budget of a batch goes from "
                f"{event['before']:,} to {event['after']:,}, and the run goes on"
            )
        elif event["action"] == "stage":
            self._say(
                f"Stage {event['stage'] + 1} begins: {event['name']} unfrozen, {len(event['groups'])} groups train"
            )
        elif event["action"] == "early_stop":
            self._say(f"Stopped early: {event['reason']}; the best was step {event['best_step']}")
        elif event["action"] == "fill_cache":
            self._say(f"Frozen blocks: output of {event['rows']:,} rows kept ({event['mib']:,.0f} MiB)")
        elif event["action"] == "skip_checkpoint":
            self._warn(f"checkpoint {event['checkpoint']} is passed over: {event['reason']}")
        elif event["action"] == "resume":
            self._say(event.get("message") or f"Going on from {event['checkpoint']}")
        elif event["action"] == "warning":
            self._warn(event["message"])
        elif event["action"] in ("alert_failed", "tracker_failed"):
            where = f"alerts, {event['channel']}" if event["action"] == "alert_failed" else event["tracker"]
            self._warn(f"{where}: {event['reason']}")
        elif event["action"] == "condition_failed":
            self._warn(f"the doctor could not look for {event['condition']}: {event['reason']}")
        elif event["action"] == "retention_failed":
            self._warn(f"what is kept of the pretrained model could not be measured now: {event['reason']}")
        elif event["action"] in ("autopilot", "autopilot_skip", "autopilot_effect"):
            self._say_autopilot(event)

    def _on_control(self, event: dict[str, Any]) -> None:
        """What was asked of the run, and what became of it."""
        command = str(event["command"]).replace("_", " ")
        what = f"{command} ({event['by']})"
        if event.get("accepted"):
            self._say(f"{what}: {event['reason']}", style="bold")
        else:
            self._say(f"{what} refused: {event['reason']}", style="yellow")

    def _say_autopilot(self, event: dict[str, Any]) -> None:
        """What the autopilot did and why, and later whether it helped."""
        remedy = str(event.get("remedy", "")).replace("_", " ")
        if event["action"] == "autopilot":
            self._say(f"autopilot: {remedy}. {event.get('reason') or event.get('finding')}", style="bold")
        elif event["action"] == "autopilot_skip":
            self._say(f"autopilot: no {remedy}: {event.get('reason')}")
        else:
            # Neither, where somebody changed the run before it had shown.
            outcome = {True: "helped", None: "stays, unmeasured"}.get(event.get("helped"), "did not help")
            undone = " and was undone" if event.get("undone") else ""
            self._say(f"autopilot: {remedy} {outcome}{undone}")

    def _say_finding(self, event: dict[str, Any]) -> None:
        """What the doctor found, once: again only where it has become graver."""
        known = (event["name"], event["severity"])
        if known not in self._told:
            self._told.add(known)
            style = FINDING_STYLES.get(event["severity"], "")
            self._say(f"doctor, {event['severity']}: {event['message']}", style=style)
            if event.get("remedy"):
                self._say(f"  {event['remedy']}", style="dim" if event["severity"] == "info" else "")

    def _say(self, text: str, style: str = "") -> None:
        """Print a line; above the bar while there is one, which would be torn otherwise."""
        if self._bar is None:
            message(text, style=style)
        else:
            from rich.text import Text

            self._bar.console.print(Text(text, style=style), soft_wrap=True)

    def _warn(self, text: str) -> None:
        self._say(f"warning: {text}", style="yellow")

    def _loss(self) -> float:
        return sum(self._losses) / len(self._losses) if self._losses else float("nan")

    def _speed(self) -> float:
        seconds = sum(second for _, second in self._speeds)
        return sum(weight for weight, _ in self._speeds) / seconds if seconds else 0.0

    def _open_bar(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[details]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=console(stderr=True), transient=True)
        self._bar_task = self._bar.add_task("train", total=self._total, details="")
        self._bar.start()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
