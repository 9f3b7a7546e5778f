"""Data-parallel fits over several devices of one machine, with a process for each device.

Only `fit` runs in these processes. Rank 0 writes the checkpoints and returns the predictor; its tracker calls go
through a pipe to the waiting process, which holds the real tracker. No process outlives the fit.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
import torch.distributed
from safetensors.torch import load_file, save_file

from bench.config import Config
from bench.errors import ConfigError
from bench.files import atomic_path
from bench.method import FitContext, Method, Predictor, Replica
from bench.processes import exit_with_parent
from bench.rng import RngTree
from bench.timing import Timer
from bench.types import ClipSet, DatasetInfo, Explanation

PREDICTOR_FILE = "fitted.safetensors"  # among the checkpoints: the predictor on its way back
EXIT_TIMEOUT = 10  # seconds that a process has to end by itself once its work is done
SEND_LOCK = threading.Lock()  # libraries log from threads of their own


def fit_distributed(
    method: Method,
    config: Config,
    info: DatasetInfo,
    train: ClipSet,
    val: ClipSet,
    rng: RngTree,
    ctx: FitContext,
    devices: int,
) -> Predictor:
    """The predictor that `method.fit` makes when every batch is shared among so many devices of this machine.

    Raises what a process raised, with that process's traceback as a note; RuntimeError where one was killed.
    """
    if ctx.device.startswith("cuda") and torch.cuda.device_count() < devices:
        raise ConfigError(f"{devices} devices are asked for, this machine has {torch.cuda.device_count()} GPUs")
    bare = replace(ctx, tracker=_PipeTracker(None, Timer()), timer=Timer())
    try:
        job = pickle.dumps((method, config, info, train, val, rng, bare))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"'{method.name}' cannot be sent to other processes ({error}); write its functions in a module of its own, "
            "or use one device"
        ) from None
    with _rank_processes(job, devices) as ranks:
        _relay(ranks, ctx)
    fitted = ctx.folder / PREDICTOR_FILE
    predictor = method.build(config, info)
    predictor.load_state_dict(load_file(fitted))
    predictor.to(ctx.device)
    fitted.unlink()
    return predictor


@dataclass(frozen=True)
class _RankProcess:
    """A process of the fit, as the one that waits sees it."""

    number: int
    process: BaseProcess
    pipe: Connection


@contextmanager
def _rank_processes(job: bytes, devices: int) -> Iterator[list[_RankProcess]]:
    """A process for each device, for as long as the block lasts."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read as torch is imported, before a child's first line
    spawn = multiprocessing.get_context("spawn")
    meeting = tempfile.TemporaryDirectory()
    ranks: list[_RankProcess] = []
    done = False
    try:
        for number in range(devices):
            here, there = spawn.Pipe()
            replica = Replica(number, devices)
            process = spawn.Process(target=_run_rank, args=(there, replica, meeting.name, job), name=f"device {number}")
            process.start()
            there.close()
            ranks.append(_RankProcess(number, process, here))
        yield ranks
        done = True
    finally:
        for rank in ranks:
            if done:
                rank.process.join(EXIT_TIMEOUT)
            rank.process.terminate()
        for rank in ranks:
            rank.process.join(EXIT_TIMEOUT)
            rank.process.kill()
            rank.process.join()
            rank.pipe.close()
        meeting.cleanup()


def _relay(ranks: list[_RankProcess], ctx: FitContext) -> None:
    """Pass on what the processes tell until all are done."""
    at_work = {rank.pipe: rank for rank in ranks}
    while at_work:
        for pipe in wait(list(at_work)):
            rank = at_work[pipe]  # type: ignore[index]
            try:
                what, given = pickle.loads(rank.pipe.recv_bytes())
            except (EOFError, OSError):
                raise _rank_died(rank) from None
            if what == "done":
                del at_work[rank.pipe]
            elif what == "failed":
                error, told = given
                error.add_note(f"in the process of device {rank.number}:\n{told}")
                killed = [other for other in at_work.values() if other.process.exitcode]
                if killed:  # for want of it this one failed
                    raise _rank_died(killed[0]) from error
                raise error
            elif what == "spent":
                ctx.timer.reassign(*given)
            elif what == "log":
                logging.getLogger(given[0]).log(*given[1:])
            else:
                getattr(ctx.tracker, what)(*given)


def _rank_died(rank: _RankProcess) -> RuntimeError:
    """What to say of a process that ended without a word."""
    rank.process.join(1)
    code = rank.process.exitcode or 0
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
    return RuntimeError(f"the process of device {rank.number} {how}; the same command goes on after the last epoch")


class _PipeTracker:
    """The tracker of a process: whatever it is told goes through the pipe. Without a pipe nothing is told."""

    def __init__(self, pipe: Connection | None, timer: Timer) -> None:
        self._pipe, self._timer = pipe, timer
        self._sent_seconds: dict[str, float] = {}

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Pass on."""
        self.send("log_epoch", stage, epoch, values)

    def before_checkpoint(self) -> None:
        """First the seconds spent since, which are to be kept."""
        self.send_seconds()
        self.send("before_checkpoint")

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """Pass on."""
        self.send("report_progress", stage, done, total)

    def notify(self, text: str) -> None:
        """Pass on."""
        self.send("notify", text)

    def log_selected_epoch(self, epochs: int) -> None:
        """Pass on."""
        self.send("log_selected_epoch", epochs)

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Pass on."""
        self.send("log_explanations", stage, explanations)

    def send_seconds(self) -> None:
        """Tell the seconds that the clock has counted since they were told last."""
        now = self._timer.get_seconds()
        self.send("spent", {name: seconds - self._sent_seconds.get(name, 0.0) for name, seconds in now.items()})
        self._sent_seconds = now

    def send(self, what: str, *given: Any) -> None:
        """Send one message."""
        if self._pipe is not None:
            message = _serialise((what, given))
            with SEND_LOCK:
                self._pipe.send_bytes(message)


class _PipeLogHandler(logging.Handler):
    """Sends what libraries log to where the log file is."""

    def __init__(self, teller: _PipeTracker) -> None:
        super().__init__()
        self._tracker = teller

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._tracker.send("log", record.name, record.levelno, "%s", record.getMessage())


def _run_rank(pipe: Connection, replica: Replica, meeting: str, job: bytes) -> None:
    """Life of one process; one that fails waits to be ended, lest the others fail for want of it first."""
    exit_with_parent()
    os.environ["LOCAL_RANK"] = str(replica.rank)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    timer = Timer()
    teller = _PipeTracker(pipe if replica.rank == 0 else None, timer)
    logging.getLogger().handlers = [_PipeLogHandler(teller)]
    logging.captureWarnings(True)
    try:
        _fit_rank(job, replica, meeting, teller, timer)
        teller.send_seconds()
        pipe.send_bytes(_serialise(("done", ())))
    except Exception as error:
        pipe.send_bytes(_serialise(("failed", (_make_picklable_error(error), traceback.format_exc()))))
        while True:
            signal.pause()


def _fit_rank(job: bytes, replica: Replica, meeting: str, teller: _PipeTracker, timer: Timer) -> None:
    """Meet the other processes, fit, and leave the predictor's state in the folder."""
    method, config, info, train, val, rng, ctx = pickle.loads(job)
    cuda = ctx.device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(replica.rank)
    ctx = replace(
        ctx,
        tracker=teller,
        timer=timer,
        replica=replica,
        device=f"cuda:{replica.rank}" if cuda else ctx.device,
        threads=max(1, ctx.threads // replica.world_size),
        loaders=-(-ctx.loaders // replica.world_size),
    )
    torch.set_num_threads(ctx.threads)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo", f"file://{meeting}/all", rank=replica.rank, world_size=replica.world_size
    )
    predictor = method.fit(config, info, train, val, rng, ctx)
    if replica.rank == 0:
        with atomic_path(ctx.folder / PREDICTOR_FILE) as temporary:
            save_file({name: value.contiguous().cpu() for name, value in predictor.state_dict().items()}, temporary)
    torch.distributed.destroy_process_group()


class _TensorPickler(pickle.Pickler):
    """Tensors travel as their own values: not as files shared with a process that ends, nor with what they view."""

    def reducer_override(self, value: Any) -> Any:
        """numpy's way for tensors, the usual one for all else."""
        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.detach().cpu().numpy().copy(),)
        return NotImplemented


def _serialise(message: tuple[str, tuple[Any, ...]]) -> bytes:
    """A message, ready for a pipe."""
    buffer = io.BytesIO()
    _TensorPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getvalue()


def _make_picklable_error(error: Exception) -> Exception:
    """The error as it is where it survives a pipe, else its class and message in a RuntimeError."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # whatever an error of any library does when it is pickled
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
