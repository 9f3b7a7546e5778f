"""An order on the command line: its plan, the work under progress bars, the tables, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.execute import Outcome
from bench.files import write_whole
from bench.logs import logs_to
from bench.parents import Status, end_parent
from bench.record import RunFolder
from bench.store import Store
from reports.studies import Labelled, Planned, gap_table, optimism_table, plan_table
from reports.terminal import show
from studies.command.answer import as_row, say_away
from studies.command.exits import DONE, INCOMPLETE
from studies.command.screen import Terminal
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
        desk.store.reap()
        board = make_board(order, place, desk)
        screen.tell(_summary(board, order))
        screen.tell(estimate(board, read_timings(place.results), workers))
        if not dry_run:
            for search in board.searches:
                if not search.is_over():
                    begin_search(search, desk.store)
            carry_out(board, desk, place, workers, launcher, lambda board: _show(screen, board), screen.tell)
            publish_rest(board, desk)
            for search in board.searches:
                publish_search(search, desk.store)
            _end_study(board, desk.store)
    if dry_run:
        console.print(plan_table(_planned(board)))
        _say_lost(console, board)
        return DONE
    return _answer(console, board, desk.store, json_file)


def _answer(console: Console, board: Board, store: Store, json_file: Path | None) -> int:
    """The tables of an order that was carried out, what failed and why, and where its records are."""
    rows = list(_labelled(board))
    titles = {name: dataset.card.title for name, dataset in board.plan.datasets.items()}
    titles |= {dataset.card.name: dataset.card.title for dataset in board.plan.datasets.values()}
    if rows:
        console.print(show([replace(row.record, arm=row.label) for row in rows], titles))
    for table in (gap_table(rows), optimism_table(rows)):
        if table is not None:
            console.print(table)
    console.print(f"records: {store.results / 'runs'}", highlight=False, soft_wrap=True)
    if json_file is not None:
        found = [(row.record, store.run_id(folder)) for row, folder in _with_folders(board)]
        as_json = [as_row(Outcome(record, True, run_id), record.arm, record.preset) for record, run_id in found]
        write_whole(json_file, (json.dumps(as_json, indent=1) + "\n").encode())
    missing = board.done - len(rows)
    if missing:
        line = (
            f"{missing} runs were made on other machines; `python bench.py sync` with their --tracking-uri brings them"
        )
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    _say_lost(console, board)
    if store.away:
        return say_away(console, store.away)
    return INCOMPLETE if board.lost or missing else DONE


def _end_study(board: Board, store: Store) -> None:
    """Close the study's MLflow run in each data set's experiment."""
    if board.plan.order.name:
        where = {(row.record.spec.dataset, row.record.spec.data) for row in _labelled(board)}
        metrics = {"runs/done": float(board.done), "runs/failed": float(len(board.lost))}
        for dataset, data in sorted(where):
            status: Status = "FAILED" if board.lost else "FINISHED"
            end_parent(store, dataset, data, board.plan.order.name, status, metrics, [], {})


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
        which = (cell.dataset, _label(board, cell), cell.tuning or board.plan.order.preset)
        count = counts.setdefault(which, [0, 0, 0])
        count[1 if cell in left else 2 if cell in board.lost else 0] += 1
    return [Planned(*which, *count) for which, count in counts.items()]


def _with_folders(board: Board) -> Iterator[tuple[Labelled, RunFolder]]:
    tried = {cell: search.tried().total for cell, search in board.by_cell.items()}
    for cell, folder in board.outcomes():
        record = folder.record() if folder is not None else None
        if folder is not None and record is not None:
            record = replace(record, arm=cell.arm, preset=board.plan.order.preset)
            yield Labelled(_label(board, cell), record, tried.get(cell.search, 1) if cell.search else 1), folder


def _labelled(board: Board) -> Iterator[Labelled]:
    """The records that are here, under their names in the tables."""
    for row, _ in _with_folders(board):
        yield row


def _label(board: Board, cell: Cell) -> str:
    """The arm's name; where it stands in the plan with several ways of coming by its values, with that as well."""
    more = [cell.tuning or "not tuned"] if len(board.plan.ways(cell.arm, "tuning")) > 1 else []
    more += [" ".join(cell.settings) or "as it is"] if len(board.plan.ways(cell.arm, "settings")) > 1 else []
    return f"{cell.arm} ({', '.join(more)})" if more else cell.arm


def _say_lost(console: Console, board: Board) -> None:
    """What failed, and why."""
    for cell, why in board.lost.items():
        console.print(f"failed: {cell}: {why.kind}: {why.message}", style="red", markup=False, soft_wrap=True)
