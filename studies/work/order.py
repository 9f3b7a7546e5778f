"""What a command asks for, in plain values that can be handed to other processes and machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.record import Protocol
from bench.requests import Tuning
from studies.search.search import Budget, How
from studies.study import RUNS


@dataclass(frozen=True)
class Part:
    """Arms on data sets, under one protocol and one way of tuning: a study, or what was named by hand."""

    arms: tuple[str, ...]
    datasets: tuple[str, ...]
    folds: tuple[int, ...] | None = None  # None: the first of each data set; () every one
    tuning: Tuning = "none"
    full: str = RUNS.full
    protocol: Protocol = "clean"
    settings: tuple[str, ...] = ()  # beside those of the order
    study: str = ""  # that asks for it


@dataclass(frozen=True)
class Order:
    """All that decides which runs are made. Two machines with equal orders share the work through the storage."""

    name: str
    parts: tuple[Part, ...]
    seeds: tuple[int, ...]
    preset: str = "quick"
    settings: tuple[str, ...] = ()
    data: Path | None = None
    budget: Budget = field(default_factory=Budget)
    how: How = field(default_factory=How)
    shard: tuple[int, int] = (1, 1)  # i of n, from 1
    retries: int = 1  # of a cell that broke, by one command
    typed: str = ""  # the command, as it was typed


@dataclass(frozen=True)
class Place:
    """Where the work is done, also in plain values."""

    results: Path
    tracking_uri: str | None = None
    storage: str | None = None
    device: str = "cpu"
    devices: int = 1
    threads: int = 2
    loaders: int = 0
    keep_weights: bool = True
    command: str = ""  # names the command, so that its processes count its own retries
