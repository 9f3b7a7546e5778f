"""An order on the command line: its plan, the work under progress bars, the tables, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.exchange import sync
from bench.execute import Outcome
from bench.files import write_whole
from bench.logs import logs_to
from bench.parents import Status, begin_parent, end_parent
from bench.record import Record, RunFolder
from bench.requests import add_requests, lacks_requests, name_files
from bench.store import Store
from reports.results.run import Run
from reports.screen.studies import Planned, gap_table, optimism_table, plan_table
from reports.screen.terminal import show
from studies.ask import find_arm
from studies.command.answer import as_row, say_away
from studies.command.exits import DONE, INCOMPLETE
from studies.command.screen import Terminal
from studies.registry import STUDIES
from studies.search.publish import begin_search, publish_search
from studies.work.board import Board
from studies.work.desk import make_board, make_desk
from studies.work.estimate import estimate, read_timings
from studies.work.order import Order, Place
from studies.work.plan import Cell
from studies.work.run import carry_out
from studies.work.worker import publish_rest


def answer_order(
    console: Console, order: Order, place: Place, workers: int, launcher: str, dry_run: bool, json_file: Path | None
) -> int:
    """Carry an order out (or only print its plan), and say what came of it; the exit code."""
    with Terminal(console) as screen, logs_to(place.results / "log"):
        desk = make_desk(order, place, screen)
        if not dry_run:
            desk.store.reap()
        board = make_board(order, place, desk)
        for title in _overlapping(board):
            screen.notice(f"{title}: the test clips of its folds overlap, so runs of several are not independent")
        screen.tell(_summary(board, order))
        screen.tell(estimate(board, read_timings(place.results), workers))
        if not dry_run:
            _begin(board, desk.store)
            _store_requests(board)
            status: Status = "KILLED"
            try:
                carry_out(board, desk, place, workers, launcher, lambda board: _show(screen, board), screen.tell)
                _store_requests(board)
                publish_rest(board, desk)
                status = "FAILED" if board.lost else "FINISHED"
            finally:
                _end_study(board, desk.store, status)
            for search in board.searches:
                publish_search(search, desk.store)
            if place.tracking_uri is not None and any(folder is None for _, folder in board.outcomes()):
                sync(desk.store, files=False)  # what other machines made
    if dry_run:
        console.print(plan_table(_planned(board)))
        _say_lost(console, board)
        return DONE
    return _answer(console, board, desk.store, json_file)


def _answer(console: Console, board: Board, store: Store, json_file: Path | None) -> int:
    """The tables of an order that was carried out, what failed and why, and where its records are."""
    found = list(_finished(board))
    runs = [run for run, _ in found]
    failed = [_as_labelled(board, cell, record) for cell, record in board.failed()]
    if runs or failed:
        console.print(show([*runs, *failed]))
    for table in (gap_table(runs), optimism_table(runs)):
        if table is not None:
            console.print(table)
    console.print(f"records: {store.results / 'runs'}", highlight=False, soft_wrap=True)
    if board.plan.order.name in STUDIES:
        console.print(f"tables and figures: python bench.py report {board.plan.order.name}", highlight=False)
    if json_file is not None:
        as_json = [
            as_row(Outcome(run.record, True, store.run_id(folder)), run.record.arm, run.record.preset)
            | {"label": run.label, "tried": run.tried}
            for run, folder in found
        ]
        write_whole(json_file, (json.dumps(as_json, indent=1) + "\n").encode())
    missing = board.done - len(runs)
    if missing:
        line = (
            f"{missing} runs were made on other machines; `python bench.py sync` with their --tracking-uri brings them"
        )
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    _say_lost(console, board)
    if store.away:
        return say_away(console, store.away)
    return INCOMPLETE if board.lost else DONE


def _begin(board: Board, store: Store) -> None:
    """Begin the MLflow runs of the study, one in each data set's experiment, and of its searches."""
    order = board.plan.order
    asked = {"seeds": order.seeds, "preset": order.preset, "budget": order.budget, "tuning": _tunings(order)}
    for dataset, data in sorted(board.spaces):
        if order.name and board.left:
            begin_parent(store, dataset, data, order.name, asked)
    for search in board.searches:
        if not search.is_over():
            begin_search(search, store)


def _store_requests(board: Board) -> None:
    """Store with the runs that were made before why they are asked for now."""
    for cell, folder in board.outcomes():
        record = folder.record() if folder is not None else None
        if folder is not None and record is not None:
            requests = name_files(board.requests(cell), record.spec.weights)
            if lacks_requests(folder, requests):
                with folder.held(lambda: None):
                    add_requests(folder, requests)


def _end_study(board: Board, store: Store, status: Status) -> None:
    """Close the study's MLflow runs; those of searches that were interrupted too."""
    metrics = {"runs/done": float(board.done), "runs/failed": float(len(board.lost))}
    for dataset, data in sorted(board.spaces):
        if board.plan.order.name:
            end_parent(store, dataset, data, board.plan.order.name, status, metrics, [], {})
    for search in board.searches:
        if status == "KILLED":
            end_parent(store, search.spec.dataset, search.spec.data, search.title, status, {}, [], {})


def _overlapping(board: Board) -> list[str]:
    """Titles of data sets of which several folds are planned whose test clips overlap."""
    folds: dict[str, set[int]] = {}
    for cell in board.plan.cells:
        folds.setdefault(cell.dataset, set()).add(cell.fold)
    cards = [board.plan.datasets[name].card for name, found in folds.items() if len(found) > 1]
    return [card.title for card in cards if card.overlap]


def _tunings(order: Order) -> str:
    """Whose values the arms run with."""
    return ", ".join(dict.fromkeys(part.tuning for part in order.parts)) if order.budget.asked else "none"


def _summary(board: Board, order: Order) -> str:
    """What will be done, in a line."""
    budget, total = order.budget, len(board.plan.cells)
    name = order.name or "asked for"
    shard = f", shard {order.shard[0]} of {order.shard[1]}" if order.shard != (1, 1) else ""
    searches = ""
    if board.plan.searches:
        ends = [f"{budget.trials} trials" if budget.trials else "", f"{budget.hours:g} hours" if budget.hours else ""]
        ends += [f"val Acc E {100 * budget.target:g}" if budget.target else ""]
        tried = sum(search.tried().total for search in board.searches)
        searches = f", {len(board.plan.searches)} searches of {' or '.join(end for end in ends if end)} ({tried} tried)"
        searches += f", values {_tunings(order)}" if order.name else ""
    return f"{name}{shard}: {total} runs, {board.done} of them done, {len(board.lost)} impossible{searches}"


def _show(screen: Terminal, board: Board) -> None:
    """The bars of the whole order."""
    trials = board.plan.order.budget.trials
    if board.searches and trials:
        tried = sum(min(trials, search.tried().total) for search in board.searches)
        screen.overall("trials", tried, trials * len(board.plan.searches))
    screen.overall("runs", board.done + len(board.lost), len(board.plan.cells))


def _planned(board: Board) -> list[Planned]:
    """The plan by data set and arm."""
    left, counts = set(board.left), dict[tuple[str, str, str], list[int]]()
    for cell in board.plan.cells:
        which = (cell.dataset, board.plan.label(cell), cell.tuning if cell.tuned_by else board.plan.order.preset)
        count = counts.setdefault(which, [0, 0, 0])
        count[1 if cell in left else 2 if cell in board.lost else 0] += 1
    return [Planned(*which, *count) for which, count in counts.items()]


def _finished(board: Board) -> Iterator[tuple[Run, RunFolder]]:
    """The runs that are here, under their names in the tables, with their folders."""
    tried = {cell: search.tried().total for cell, search in board.by_cell.items()}
    for cell, folder in board.outcomes():
        record = folder.record() if folder is not None else None
        if folder is not None and record is not None:
            yield _as_labelled(board, cell, record, tried.get(cell.search, 1) if cell.search else 1), folder


def _as_labelled(board: Board, cell: Cell, record: Record, tried: int = 1) -> Run:
    """A run under the name that its study gives it."""
    record = replace(record, arm=cell.arm, preset=board.plan.order.preset)
    folder, card = board.desk.results / "runs" / record.key, board.plan.datasets[cell.dataset].card
    return Run(record, folder, card, board.plan.label(cell), find_arm(cell.arm).method, tried=tried)


def _say_lost(console: Console, board: Board) -> None:
    """What failed, and why; what failed for one reason in one line."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    for cell, why in board.lost.items():
        reasons.setdefault((why.kind, why.message), []).append(cell)
    for (kind, message), cells in reasons.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        console.print(f"failed: {cells[0]}{more}: {kind}: {message}", style="red", markup=False, soft_wrap=True)
