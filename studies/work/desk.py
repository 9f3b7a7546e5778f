"""A process's place at the work: its desk, board and loop, made from an order's plain values."""

from __future__ import annotations

import logging
from functools import partial

from bench.execute import Desk
from bench.logs import logs_to
from bench.notebook import Screen
from bench.store import Store
from reports.clips.pictures import draw_all
from studies.queue.storage import Storage, storage_url
from studies.work.board import Board
from studies.work.order import Order, Place
from studies.work.plan import make_plan
from studies.work.silent import Silent
from studies.work.worker import work

_log = logging.getLogger("bench")


def make_desk(order: Order, place: Place, screen: Screen) -> Desk:
    """Where this process makes runs."""
    return Desk(
        results=place.results,
        store=Store(place.results, place.tracking_uri),
        screen=screen,
        draw=partial(draw_all, notice=screen.notice),
        data=order.data,
        device=place.device,
        threads=place.threads,
        loaders=place.loaders,
        keep_weights=place.keep_weights,
        devices=place.devices,
    )


def make_board(order: Order, place: Place, desk: Desk, waits: bool = False) -> Board:
    """The plan as it stands now; a worker `waits` for a database that is away when it starts."""
    storage = Storage(storage_url(place.results, place.storage), desk.screen.notice, waits)
    return Board(make_plan(order), desk, storage, place.command)


def take_part(order: Order, place: Place, once: bool = False) -> bool:
    """Work without a screen until nothing is left, or for one piece, if `once`; whether there was a piece to run."""
    with logs_to(place.results / "log"):
        desk = make_desk(order, place, Silent())
        return work(make_board(order, place, desk, waits=True), desk, lambda line: _log.warning("%s", line), once)
