"""A worker: takes trials and cells until nothing is left that could be taken."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.errors import ConfigError, DataError
from bench.execute import Ask, Desk, Outcome, commit, execute
from studies.queue.claims import Claim
from studies.search.trials import run_trial
from studies.work.board import CHOSEN, Board
from studies.work.plan import Cell

PAUSE = 0.5  # seconds between looks at what other processes have under way


def work(board: Board, desk: Desk, tell: Callable[[str], None], once: bool = False) -> bool:
    """Run what is left of a plan, one piece after the other until all is done or lost (only one, if `once`); whether
    there was a piece to run at the end."""
    while True:
        ran = _trial(board, desk, tell) or _cell(board, desk, tell)
        if once:
            return ran
        if not ran:
            board.refresh()
            if not board.left:
                return False
            time.sleep(PAUSE)  # others have what we wait for


def publish_rest(board: Board, desk: Desk) -> None:
    """Publish the records that whoever made them did not live to publish."""
    for _, folder in board.outcomes():
        if folder is None or desk.store.run_id(folder) is not None:
            continue
        record = folder.record()
        if record is not None:
            with folder.held(lambda: None):
                commit(folder, record, desk, None, found=True)


def _trial(board: Board, desk: Desk, tell: Callable[[str], None]) -> bool:
    """Run a trial of the first search that has one left; whether there was one."""
    for search in board.searches:
        claim = None if search.is_over() else search.claim()
        if claim is not None:
            tell(f"{search.base.dataset.card.name}: {search.title}: {run_trial(search, claim, desk)}")
            if search.is_over():
                board.refresh()
            return True
    return False


def _cell(board: Board, desk: Desk, tell: Callable[[str], None]) -> bool:
    """Run a cell that is ready; whether there was one."""
    found = board.claim()
    if found is None:
        return False
    cell, ask, claim = found
    outcome = _run(cell, ask, claim, desk, tell)
    if outcome is not None:
        board.finish(cell)
    return True


def _run(cell: Cell, ask: Ask, claim: Claim, desk: Desk, tell: Callable[[str], None]) -> Outcome | None:
    """Run a claimed cell and tell what came of it; its outcome, or None where it failed."""
    try:
        outcome = execute(ask, desk)
    except (ConfigError, DataError) as error:
        claim.failed("data" if isinstance(error, DataError) else "other", str(error))
        tell(f"{cell}: failed: {error}")
        return None
    except BaseException:
        claim.give_back()
        raise
    record, seconds = outcome.record, sum(outcome.record.seconds.values())
    if record.error is not None:
        claim.failed(record.error.kind, record.error.message)
        tell(f"{cell}: failed: {record.error.kind}: {record.error.message} (run {record.key})")
        return None
    claim.note(**{CHOSEN: record.chosen})
    claim.done(seconds)
    tell(f"{cell}: done in {seconds:.0f} s (run {record.key})")
    return outcome
