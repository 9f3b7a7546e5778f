"""An order carried out: what is left is done in this process, by workers beside it, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable

from bench.execute import Desk
from studies.work.board import Board
from studies.work.order import Place
from studies.work.worker import work


def carry_out(
    board: Board,
    desk: Desk,
    place: Place,
    workers: int,
    launcher: str,
    show: Callable[[Board], None],
    tell: Callable[[str], None],
) -> None:
    """Do everything that is left; on return each cell of the board is done or lost.

    `show` is told how the board stands, `tell` is given a line for each piece of work that ended.
    """
    show(board)
    if not board.left:
        return
    if launcher == "processes" and workers == 1:

        def told(line: str) -> None:
            tell(line)
            show(board)

        work(board, desk, told)
        show(board)
        return
    seen = _Seen(board, show, tell)
    if launcher == "processes":
        import torch

        from studies.work.processes import run_workers

        gpus = torch.cuda.device_count() if place.device == "cuda" else 0
        run_workers(board.plan.order, place, workers, gpus, seen.look)
    else:
        from studies.work.cluster import run_on_ray

        run_on_ray(board.plan.order, place, launcher, workers, seen.look)
    board.watch()
    show(board)


class _Seen:
    """Looks at the board for the one who waits, and tells what changed since the last look."""

    def __init__(self, board: Board, show: Callable[[Board], None], tell: Callable[[str], None]) -> None:
        self._board, self._show, self._tell = board, show, tell
        self._left = set(board.left)
        self._tried: dict[str, int] = {}

    def look(self) -> bool:
        """Whether nothing is left."""
        board = self._board
        board.watch()
        for search in board.searches:
            tried = search.tried().total
            if tried > self._tried.get(search.name, 0):
                best = search.winner()
                so_far = f", best val Acc E {100 * best.value:.1f}" if best is not None else ""
                dataset = search.base.dataset.card.name
                self._tell(f"{dataset}: {search.title}: {tried} configurations tried{so_far}")
            self._tried[search.name] = tried
        for cell in sorted(self._left - set(board.left), key=str):
            why = board.lost.get(cell)
            self._tell(f"{cell}: done" if why is None else f"{cell}: failed: {why.kind}: {why.message}")
        self._left = set(board.left)
        self._show(board)
        return not board.left
