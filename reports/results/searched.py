"""A search as a report sees it: what it varied, how many configurations it tried, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """What a search was, tried and found; `winner` are the values it chose, None where no trial finished."""

    digest: str
    arm: str
    dataset: str
    data: str
    fold: int
    preset: str
    sampler: str
    pruner: str
    seeds: int  # runs of a trial
    ranges: dict[str, list[Any]]  # field -> [low, high, "log" | "linear"], or its choices
    base: dict[str, Any]  # the config that its trials vary
    tried: int
    winner: dict[str, Any] | None
    best: float | None  # val/acc_e of the winner
    trials: tuple[dict[str, Any], ...]  # number, state, value, spent; none in older summaries
    weights: dict[str, str] | None = None  # config field -> sha256 of its file; None in older summaries

    def called(self, title: str) -> str:
        """What it is called: its arm, data set and fold, and the start of its digest, which tells twins apart."""
        fold = f", fold {self.fold}" if self.fold else ""
        return f"{self.arm} on {title}{fold} ({self.digest[:6]})"
