"""The screen of a process that has none: what a person should know goes to the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bench.data import Problem

_log = logging.getLogger("bench")


class Silent:
    """A Screen whose notices are log lines; problems with the data stand in the records anyway."""

    def start_run(self, title: str) -> None:
        """A run begins."""
        _log.info("%s", title)

    def progress(self, what: str, done: int, total: int) -> None:
        """Nobody looks."""

    def corpus(self, corpus_sample: bool, problems: Sequence[Problem]) -> None:
        """The process that was started by hand says it."""

    def notice(self, text: str) -> None:
        """One line for the log."""
        _log.warning("%s", text)
