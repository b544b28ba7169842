"""What all routes work on: the runs of a folder with what was said of them, jobs, models, and who watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.dashboard.failures import Refusal
from trimtab.dashboard.hub import Channel, Hub, ListChannel, News, Watcher
from trimtab.dashboard.jobs import LOG_BYTES, Jobs, tail
from trimtab.dashboard.notes import Notes
from trimtab.dashboard.reading.store import Store, UnknownRun
from trimtab.dashboard.schema import Schema
from trimtab.dashboard.starting import Starter
from trimtab.dashboard.workers import Workers

HOME = ".trimtab-dashboard"

Summary = dict[str, Any]


class Desk:
    """The state of one server.

    Args:
        folder: of the runs.
        workers: that hold models for predictions; those of the default command when None.
    """

    def __init__(self, folder: Path, workers: Workers | None = None) -> None:
        self.folder = folder
        self.store = Store(folder)
        self.notes = Notes(folder / HOME)
        self.jobs = Jobs(folder / HOME / "starts")
        self.starter = Starter(folder, self.jobs)
        self.workers = workers or Workers()
        self.schema = Schema()
        self._merged: dict[str, tuple[Summary, dict[str, Any] | None, Summary]] = {}
        self._list = ListChannel(self._summaries)
        self.hub = Hub(self._open_channel)

    def list(self) -> list[Summary]:
        """The summaries of all runs as they are now, the newest first."""
        self.hub.look_now(self._list)
        told = self._list.told
        return [told[summary["id"]] for summary in self.store.summaries() if summary["id"] in told]

    def summary(self, run_id: str) -> Summary:
        """The summary of a run as it is now.

        Raises:
            UnknownRun: there is no such run.
        """
        return {**self.store.summary(run_id), **self.notes.of(run_id)}

    def detail(self, run_id: str) -> dict[str, Any]:
        """Everything that the page of a run shows beside its series.

        Raises:
            UnknownRun: there is no such run.
        """
        detail = self.store.detail(run_id)
        has_log = detail["has"]["log"] or self.jobs.log_of(run_id) is not None
        return {**detail, "summary": self.summary(run_id), "has": {**detail["has"], "log": has_log}}

    def path(self, run_id: str) -> Path:
        """The directory of a run.

        Raises:
            UnknownRun: there is no such run.
        """
        return self.store.place(run_id).path

    def own_path(self, run_id: str) -> Path:
        """The directory of a run of ours.

        Raises:
            UnknownRun: there is no such run.
            Refusal: it is a run of another program.
        """
        place = self.store.place(run_id)
        if place.foreign is not None:
            raise Refusal(409, "This run is of another program.", "Only runs of Trimtab can be acted on.")
        return place.path

    def model_path(self, run_id: str) -> Path:
        """The directory of a run whose model can predict.

        Raises:
            UnknownRun: there is no such run.
            Refusal: it has no model, or none yet.
        """
        path = self.own_path(run_id)
        if not (path / "model").is_dir():
            raise Refusal(409, "This run has no model yet.", "A run writes its model when it ends.")
        return path

    def log(self, run_id: str) -> str:
        """What the command of a run said, where it was started here; else the run's events in words.

        Raises:
            UnknownRun: there is no such run.
        """
        run = self.store.open(run_id)
        path = self.jobs.log_of(run_id)
        said = tail(path, LOG_BYTES) if path is not None else ""
        return said or "".join(f"{line}\n" for line in run.lines())

    def nudge(self) -> None:
        """Tell those who watch at once."""
        self.hub.nudge()

    def start(self) -> None:
        """Begin to look."""
        self.hub.start()

    async def close(self) -> None:
        """End what belongs to the server: streams and models. Jobs go on."""
        self.hub.stop()
        await self.workers.close()
        self.store.close()

    def _summaries(self) -> dict[str, Summary]:
        """Look at the folder: every summary with its notes, by id; the same object where nothing has changed."""
        self.store.scan()
        entries = self.notes.all()
        merged: dict[str, tuple[Summary, dict[str, Any] | None, Summary]] = {}
        for summary in self.store.summaries():
            run_id, entry = summary["id"], entries.get(summary["id"])
            kept = self._merged.get(run_id)
            if kept is None or kept[0] is not summary or kept[1] != entry:
                kept = (summary, entry, {**summary, **(entry or {})})
            merged[run_id] = kept
        self._merged = merged
        return {run_id: kept[2] for run_id, kept in merged.items()}

    def _open_channel(self, run_id: str | None) -> Channel:
        return self._list if run_id is None else RunChannel(self, run_id)


class RunChannel:
    """One run that is watched.

    Args:
        desk: where it is.
        run_id: which.
    """

    def __init__(self, desk: Desk, run_id: str) -> None:
        self._desk = desk
        self._run_id = run_id
        self._revisions: dict[Watcher, int] = {}
        self._summary: Summary | None = None

    def look(self) -> bool:
        """Tell each watcher what has come since it was told last; False when the run is gone."""
        try:
            run, summary = self._desk.store.open(self._run_id), self._desk.summary(self._run_id)
        except UnknownRun:
            return self._tell_gone()
        if summary != self._summary:
            self._summary = summary
            for watcher in self._revisions:
                watcher.put(News("summary", summary))
        for revision in set(self._revisions.values()):
            increment = run.since(revision)
            if increment.gone:
                return self._tell_gone()
            news = _news_of(increment, revision)
            for watcher in [watcher for watcher, known in self._revisions.items() if known == revision]:
                self._revisions[watcher] = increment.revision
                for entry in news:
                    watcher.put(entry)
        return True

    def join(self, watcher: Watcher, since: int | None) -> None:
        """Take a watcher in, with the summary and what came after the revision that it has.

        Raises:
            UnknownRun: there is no such run.
        """
        run = self._desk.store.open(self._run_id)
        self._revisions[watcher] = run.revision() if since is None else since
        if self._summary is not None:
            watcher.put(News("summary", self._summary))
        self.look()

    def leave(self, watcher: Watcher) -> int:
        """Let a watcher go; how many are left."""
        self._revisions.pop(watcher, None)
        return len(self._revisions)

    def _tell_gone(self) -> bool:
        for watcher in self._revisions:
            watcher.put(News("gone", {}))
            watcher.put(None)
        return False


def _news_of(increment: Any, since: int) -> list[News]:
    """What a watcher at revision `since` is told."""
    number = str(increment.revision)
    if increment.reload:
        return [News("reload", {}, number)]
    news = [News("finding", finding) for finding in increment.findings]
    news += [News("action", action) for action in increment.actions]
    if increment.tables or increment.cut is not None:
        points = {"revision": increment.revision, "since": since, "tables": increment.tables, "cut": increment.cut}
        news.append(News("points", points, number))
    return news
