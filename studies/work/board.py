"""What of a plan is done, under way, failed and left: read from the record files and from the shared storage."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import TYPE_CHECKING

from bench.errors import ConfigError, DataError
from bench.execute import Ask, Desk
from bench.known import Known
from bench.notebook import best_epoch
from bench.record import RECORD, Failure, Kind, Record, RunFolder
from bench.requests import StoredRequest
from studies.queue.claims import COMMAND, DEATHS, DIED, HOST, KIND, MESSAGE, Claim, reap, take_new
from studies.queue.storage import Storage
from studies.search.publish import bring_summary
from studies.search.search import Search, Winner
from studies.work.plan import Cell, Plan

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CELLS = "cells"  # Optuna's study of all cells of a storage: whatever study wants a run, it is made once
KEY, CELL, CHOSEN, RESULTS = "key", "cell", "chosen", "results"
LASTING: tuple[Kind, ...] = ("nan", "data")  # failures that come again when nothing is changed


@dataclass
class Board:
    """A plan as it stands. `lost` are the cells that cannot be run, each with its reason."""

    plan: Plan
    desk: Desk
    storage: Storage
    command: str
    lost: dict[Cell, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = Known(self.desk)
        self._searches: dict[Cell, Search] = {}
        self._left: dict[Cell, Ask | None] = dict.fromkeys(self.plan.cells)  # None: not known yet
        self._keys: dict[Cell, str] = {}
        self._done: set[Cell] = set()
        self._elsewhere: set[str] = set()
        self._winners: dict[Cell, Winner | None] = {}  # as found when a search was over: one winner a command
        self._tried: dict[Cell, int] = {}  # how many configurations it had tried
        self.spaces: set[tuple[str, str]] = set()  # (data set, real or sample) of the runs that are known
        self._clean: dict[Cell, list[Cell]] = {}  # of a refit without its seed, the runs it takes its epochs from
        for cell in self.plan.cells:
            self._clean.setdefault(replace(cell, seed=0, protocol="refit"), []).append(cell)
        self.refresh()

    @property
    def searches(self) -> list[Search]:
        """The searches that cells wait for, as far as their data can be had."""
        return list(self._searches.values())

    @property
    def by_cell(self) -> dict[Cell, Search]:
        """The cell that stands for a search -> the search."""
        return self._searches

    @property
    def left(self) -> list[Cell]:
        """The cells that are neither done nor lost."""
        return list(self._left)

    @property
    def done(self) -> int:
        """How many cells have their record, here or on another machine."""
        return len(self._done)

    def refresh(self) -> None:
        """Look again at what was left."""
        going_on: set[Cell] = set()  # searches that are not over
        for cell in list(self._left):
            try:
                self._look(cell, going_on)
            except (ConfigError, DataError) as error:
                kind: Kind = "data" if isinstance(error, DataError) else "other"
                self._lose(cell, Failure(kind, str(error), ""))

    def claim(self) -> tuple[Cell, Ask, Claim] | None:
        """The next cell that can be run now and that nobody has; None where there is none."""
        if not self._ready():
            return None
        return self.storage.alone(self._claim)

    def _claim(self) -> tuple[Cell, Ask, Claim] | None:
        study = self.storage.study(CELLS, maximize=False)
        reap(self.storage, study)
        states = self._settle()
        for cell, ask in self._ready():
            key = self._keys[cell]
            if any(trial.state.name == "RUNNING" for trial in states.get(key, [])):
                continue
            if self._is_made(cell):  # since the last look
                self.finish(cell)
                continue
            notes = {KEY: key, CELL: str(cell), COMMAND: self.command, RESULTS: self._here()[1]}
            return cell, ask, take_new(self.storage, study, {}, **notes)
        return None

    def watch(self) -> None:
        """Look again at what was left, and at what other processes made of it."""
        self.refresh()
        if self._ready():
            self._settle()

    def finish(self, cell: Cell) -> None:
        """A cell was run here."""
        self._left.pop(cell, None)
        self._done.add(cell)

    def outcomes(self) -> Iterator[tuple[Cell, RunFolder | None]]:
        """Every cell of the plan that is done, with its folder; None where another machine has it."""
        for cell in self.plan.cells:
            if cell in self._done:
                folder = self._folder(cell)
                yield cell, folder if self._is_made(cell) else None

    def requests(self, cell: Cell) -> tuple[StoredRequest, ...]:
        """Return why a cell is run, once the search that it waits for is over."""
        if cell.search is None:
            return self.plan.requests(cell)
        return self.plan.requests(cell, self._searches[cell.search].digest, self._tried[cell.search])

    def _look(self, cell: Cell, going_on: set[Cell]) -> None:
        """Whether a cell is done, ready to be run, waiting for its search, or never to be run."""
        winner = None
        if cell.search is not None:
            search = self._search(cell.search)
            if cell.search in going_on:
                return
            if cell.search not in self._winners:
                if not search.is_over():
                    going_on.add(cell.search)
                    return
                self._winners[cell.search] = search.winner()
                self._tried[cell.search] = search.tried().total
            winner = self._winners[cell.search]
            if winner is None:
                raise ConfigError(f"no trial of its search finished ({'; '.join(search.failures()[:1])})")
        stop = self._stop(cell) if cell.protocol == "refit" else None
        if cell.protocol == "refit" and stop is None:
            return
        ask = self.plan.ask(cell, winner.params if winner is not None else None, stop)
        ask = replace(ask, requests=self.requests(cell))
        if cell.search is not None and not self.plan.order.name:
            ask = replace(ask, parent=self._searches[cell.search].title)
        if cell not in self._keys:
            spec = self._known.spec(ask)
            self._keys[cell] = spec.key
            self.spaces.add((spec.dataset, spec.data))
        self._left[cell] = ask
        if self._is_made(cell) or self._keys[cell] in self._elsewhere:
            self.finish(cell)

    def _search(self, cell: Cell) -> Search:
        if cell not in self._searches:
            base = replace(self.plan.ask(cell), stage="trial")
            order = self.plan.order
            spec = self._known.spec(base)
            self._searches[cell] = Search(
                base, spec, self.plan.fixed(cell), order.how, order.budget, self.storage, self.command
            )
            self._searches[cell].go_on()
            bring_summary(self._searches[cell], self.desk.results)
        return self._searches[cell]

    def _stop(self, cell: Cell) -> int | None:
        """The median of the epochs that the clean runs of all seeds chose; None until all of them are there."""
        clean = [other for other in self._clean[replace(cell, seed=0)] if other.protocol == "clean"]
        if any(other in self.lost for other in clean):
            raise ConfigError("a clean run that a refit takes its epochs from failed")
        if not all(other in self._done for other in clean):
            return None
        chosen = [self._chosen(other) for other in clean]
        known = [epochs for epochs in chosen if epochs is not None]
        return median_low(known) if known else 1

    def _chosen(self, cell: Cell) -> int | None:
        record = self._folder(cell).record()
        if record is not None:
            return record.chosen if record.chosen is not None else best_epoch(self._folder(cell).path)
        study = self.storage.study(CELLS, maximize=False)
        trials = self.storage.patient(lambda: study.get_trials(deepcopy=False))
        found = [t.user_attrs.get(CHOSEN) for t in trials if t.user_attrs.get(KEY) == self._keys[cell]]
        return next((epochs for epochs in found if epochs is not None), None)

    def _ready(self) -> list[tuple[Cell, Ask]]:
        return [(cell, ask) for cell, ask in self._left.items() if ask is not None]

    def _settle(self) -> dict[str, list[FrozenTrial]]:
        """Take note of cells that another machine did, or that failed as often as they may; the trials of each key."""
        study = self.storage.study(CELLS, maximize=False)
        states: dict[str, list[FrozenTrial]] = {}
        for trial in self.storage.patient(lambda: study.get_trials(deepcopy=False)):
            states.setdefault(trial.user_attrs.get(KEY, ""), []).append(trial)
        for cell, _ in self._ready():
            trials = states.get(self._keys[cell], [])
            made = [trial.user_attrs for trial in trials if trial.state.name == "COMPLETE"]
            if any((one.get(HOST), one.get(RESULTS)) != self._here() for one in made):
                self._elsewhere.add(self._keys[cell])
                self.finish(cell)
                continue
            mine = [trial.user_attrs for trial in trials if trial.user_attrs.get(COMMAND) == self.command]
            failed = [one for one in mine if one.get(KIND, "interrupted") != "interrupted"]
            died = [one for one in mine if one.get(MESSAGE) == DIED]
            if len(died) >= DEATHS:
                self._lose(cell, Failure("other", f"the process that ran it died {len(died)} times", ""))
                continue
            if failed and (len(failed) > self.plan.order.retries or failed[-1][KIND] in LASTING):
                self._lose(cell, Failure(failed[-1][KIND], failed[-1].get(MESSAGE, ""), ""))
        return states

    def failed(self) -> list[tuple[Cell, Record]]:
        """The records of lost cells that were tried here, each the last of its tries."""
        found = []
        for cell in self.lost:
            if cell in self._keys:
                record = self._folder(cell).failed_record()
                if record is not None:
                    found.append((cell, record))
        return found

    def _here(self) -> tuple[str, str]:
        """This machine and results folder: what was made here and is gone is made again."""
        return socket.gethostname(), str(self.desk.results.resolve())

    def _lose(self, cell: Cell, why: Failure) -> None:
        self.lost[cell] = why
        self._left.pop(cell, None)

    def _is_made(self, cell: Cell) -> bool:
        """Whether its record is here."""
        return (self._folder(cell).path / RECORD).exists()

    def _folder(self, cell: Cell) -> RunFolder:
        return RunFolder(self.desk.results / "runs" / self._keys[cell])
