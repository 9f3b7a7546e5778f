"""The plan of an order: every cell once, and which search each waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.config import Config, parse_overrides
from bench.data import Card, Dataset
from bench.errors import ConfigError
from bench.execute import Ask
from bench.record import Protocol
from bench.requests import RequestedPlan, StoredRequest, Tuning
from datasets.index.places import find_folder
from datasets.registry import SOURCES
from studies.ask import Arm, configure, find_arm, find_changes, find_dataset
from studies.search.ranges import searched
from studies.search.search import FIRST_SEED
from studies.work.order import Order, Part


@dataclass(frozen=True)
class Cell:
    """One arm on one data set, fold and seed. `tuned_by` is the arm whose search gives it values; "" for none."""

    dataset: str
    fold: int
    arm: str
    seed: int
    protocol: Protocol
    tuned_by: str
    settings: tuple[str, ...]

    @property
    def search(self) -> Cell | None:
        """The cell that stands for the search it waits for: its arm, without a seed."""
        if not self.tuned_by:
            return None
        return replace(self, arm=self.tuned_by, seed=FIRST_SEED, protocol="clean")

    @property
    def tuning(self) -> Tuning:
        """Whose tuned values it runs with."""
        return "none" if not self.tuned_by else "per-arm" if self.tuned_by == self.arm else "shared"

    def __str__(self) -> str:
        fold = f" fold {self.fold}" if self.fold else ""
        protocol = "" if self.protocol == "clean" else f" {self.protocol}"
        return f"{self.arm} on {self.dataset}{fold} seed {self.seed}{protocol}"


@dataclass(frozen=True)
class Plan:
    """The cells of an order in the order they are made, each once however many studies want it."""

    order: Order
    cells: tuple[Cell, ...]
    datasets: Mapping[str, Dataset]
    wanted_by: Mapping[Cell, tuple[str, ...]]  # the studies that a cell is of; "" for a command that names none
    requested: Mapping[str, RequestedPlan]  # study -> all its runs, those of other shards among them
    _arms: dict[tuple[object, ...], tuple[Arm, Config]] = field(default_factory=dict, compare=False)

    @property
    def searches(self) -> tuple[Cell, ...]:
        """The searches that cells wait for, each once."""
        return tuple(dict.fromkeys(cell.search for cell in self.cells if cell.search is not None))

    def ask(self, cell: Cell, params: Mapping[str, Any] | None = None, stop: int | None = None) -> Ask:
        """What the runner is asked for a cell: its values, and those of the search that it shares fields with."""
        arm, config = self._arm(cell, params or {})
        return Ask(
            arm=arm.name,
            method=arm.method,
            config=config,
            preset=self.order.preset,
            dataset=self.datasets[cell.dataset],
            seed=cell.seed,
            fold=cell.fold,
            protocol=cell.protocol,
            stop=stop,
            parent=self.order.name,
        )

    def requests(self, cell: Cell, search: str = "", tried: int = 1) -> tuple[StoredRequest, ...]:
        """Return why a cell is run, for each study that wants it. `search` is the digest of the search that gave it its
        values."""
        _, config = self._arm(cell, {})
        settings = find_changes(cell.arm, self.order.preset, config.model_dump(mode="json")) or ()
        return tuple(
            StoredRequest(
                study=study,
                arm=cell.arm,
                preset=self.order.preset,
                plan=self.requested[study],
                tuning=cell.tuning,
                tuned_by=cell.tuned_by,
                search=search,
                tried=tried,
                settings=dict(settings),
                command=self.order.typed,
            )
            for study in self.wanted_by[cell]
        )

    def _arm(self, cell: Cell, params: Mapping[str, Any]) -> tuple[Arm, Config]:
        """The arm and its values, made once for all of its seeds."""
        which = (cell.arm, cell.settings, *sorted(params.items()))
        if which not in self._arms:
            arm = find_arm(cell.arm)
            config = configure(arm, self.order.preset, parse_overrides([*cell.settings, *self.order.settings]))
            fits = set(type(config).model_fields) - set(arm.overrides)
            self._arms[which] = arm, config.override({name: v for name, v in params.items() if name in fits})
        return self._arms[which]

    def label(self, cell: Cell) -> str:
        """The arm's name in tables. In a study it says whose tuned values it has, and what a part of the study sets;
        that follows from the whole order, so that every shard names its rows alike."""
        more: list[str] = [cell.tuning] if cell.tuned_by and self.order.name else []
        if len({part.settings for part in self.order.parts}) > 1:
            more += [", ".join(cell.settings)] if cell.settings else []
        return f"{cell.arm} ({'; '.join(more)})" if more else cell.arm

    def fixed(self, cell: Cell) -> set[str]:
        """The config fields that a search of the cell's arm leaves alone."""
        return set(find_arm(cell.arm).overrides) | set(parse_overrides([*cell.settings, *self.order.settings]))


def make_plan(order: Order) -> Plan:
    """Every cell of an order, its shard's alone; a refit is planned with the clean runs it takes its epochs from.

    Raises ConfigError for a search that is asked for where nothing can be searched, or on the test list.
    """
    tuned = [part for part in order.parts if part.tuning != "none"]
    if order.budget.asked and not tuned:
        raise ConfigError(
            "nothing here is tuned, its values are as they are set; leave --trials, --hours, --target out"
        )
    if order.budget.asked and any(part.protocol == "best-on-test" for part in tuned):
        raise ConfigError("a search on the test list is refused: choosing on test takes no --trials, --hours, --target")
    wanted: dict[Cell, dict[str, None]] = {}
    for part in order.parts:
        for cell in _cells(order, part):
            wanted.setdefault(cell, {})[part.study] = None
    cells = tuple(wanted)
    if order.budget.asked and not any(cell.tuned_by for cell in cells):
        arms = ", ".join(dict.fromkeys(cell.arm for cell in cells))
        raise ConfigError(
            f"nothing of {arms} can be searched: no field that is left free has a range; leave --trials out"
        )
    datasets = {name: find_dataset(name, order.data) for name in dict.fromkeys(cell.dataset for cell in cells)}
    requested = {
        study: summarize_runs(
            (datasets[cell.dataset].card.name, cell.fold, cell.seed, cell.protocol)
            for cell, of in wanted.items()
            if study in of
        )
        for study in dict.fromkeys(part.study for part in order.parts)
    }
    wanted_by = {cell: tuple(of) for cell, of in wanted.items()}
    return Plan(order, _shard(cells, *order.shard), datasets, wanted_by, requested)


def summarize_runs(runs: Iterable[tuple[str, int, int, Protocol]]) -> RequestedPlan:
    """Return the plan of runs: (data set, fold, seed, protocol) of each."""
    folds: dict[str, set[int]] = {}
    seeds: set[int] = set()
    protocols: dict[Protocol, None] = {}
    for dataset, fold, seed, protocol in runs:
        folds.setdefault(dataset, set()).add(fold)
        seeds.add(seed)
        protocols[protocol] = None
    named = {dataset: tuple(sorted(of)) for dataset, of in folds.items()}
    return RequestedPlan(named, tuple(sorted(seeds)), tuple(protocols))


def _cells(order: Order, part: Part) -> Iterator[Cell]:
    protocols: tuple[Protocol, ...] = ("clean", "refit") if part.protocol == "refit" else (part.protocol,)
    for name in part.datasets:
        for fold in _folds(part, find_dataset(name, order.data).card, order.data):
            for protocol in protocols:
                for seed in order.seeds:
                    for arm in part.arms:
                        yield Cell(name, fold, arm, seed, protocol, _tuned_by(order, part, arm), part.settings)


def _folds(part: Part, card: Card, data: Path | None) -> tuple[int, ...]:
    """The folds of a data set that are wanted; the built-in sample, which stands in where it is not found, has one."""
    if part.folds is None or (not part.folds and card.name in SOURCES and find_folder(card, data) is None):
        return card.folds[:1]
    return part.folds or card.folds


def _tuned_by(order: Order, part: Part, arm: str) -> str:
    """Whose search gives an arm its values: nobody's where it has nothing to search."""
    if not order.budget.asked or part.tuning == "none":
        return ""
    own = find_arm(arm)
    settings = parse_overrides([*part.settings, *order.settings])
    if not searched(configure(own, order.preset, settings), {*own.overrides, *settings}):
        return ""
    return arm if part.tuning == "per-arm" else part.full


def _shard(cells: tuple[Cell, ...], number: int, of: int) -> tuple[Cell, ...]:
    """The cells of one shard: what hangs together (a search, the clean runs of a refit) is never parted."""
    units: dict[object, int] = {}
    refit = {replace(cell, protocol="clean") for cell in cells if cell.protocol == "refit"}
    kept = []
    for cell in cells:
        clean = replace(cell, protocol="clean")
        unit: object = cell.search or (replace(clean, seed=0) if clean in refit else cell)
        place = units.setdefault(unit, len(units))
        if place % of == number - 1:
            kept.append(cell)
    return tuple(kept)
