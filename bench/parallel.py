"""One fit over several devices: a process for each, of which the first tells, writes and hands the predictor back.

Only `fit` runs in these processes. What the first one tells its tracker comes through a pipe to the process that
waits here, where the real tracker is; no process outlives the fit.
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

from bench.children import exit_with_parent
from bench.clock import Clock
from bench.config import Config
from bench.data import Card, ClipSet, Explanation
from bench.errors import ConfigError
from bench.files import whole
from bench.method import Context, Method, Predictor
from bench.share import Share
from bench.streams import Streams

FITTED = "fitted.safetensors"  # among the checkpoints: the predictor on its way back
PATIENCE = 10  # seconds that a process has to end by itself once its work is done
SENDING = threading.Lock()  # libraries log from threads of their own


def fit_together(
    method: Method,
    config: Config,
    card: Card,
    train: ClipSet,
    val: ClipSet,
    streams: Streams,
    ctx: Context,
    devices: int,
) -> Predictor:
    """The predictor that `method.fit` makes when every batch is shared among so many devices of this machine.

    Raises what a process raised, with that process's traceback as a note; RuntimeError where one was killed.
    """
    import torch
    from safetensors.torch import load_file

    if ctx.device.startswith("cuda") and torch.cuda.device_count() < devices:
        raise ConfigError(f"{devices} devices are asked for, this machine has {torch.cuda.device_count()} GPUs")
    bare = replace(ctx, tracker=_Teller(None, Clock()), clock=Clock())
    try:
        job = pickle.dumps((method, config, card, train, val, streams, bare))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"'{method.name}' cannot be sent to other processes ({error}); write its functions in a module of its own, "
            "or use one device"
        ) from None
    with _started(job, devices) as ranks:
        _listen(ranks, ctx)
    fitted = ctx.folder / FITTED
    predictor = method.build(config, card)
    predictor.load_state_dict(load_file(fitted))
    predictor.to(ctx.device)
    fitted.unlink()
    return predictor


@dataclass(frozen=True)
class _Rank:
    """A process of the fit, as the one that waits sees it."""

    number: int
    process: BaseProcess
    pipe: Connection


@contextmanager
def _started(job: bytes, devices: int) -> Iterator[list[_Rank]]:
    """A process for each device, for as long as the block lasts."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read as torch is imported, before a child's first line
    spawn = multiprocessing.get_context("spawn")
    meeting = tempfile.TemporaryDirectory()
    ranks: list[_Rank] = []
    done = False
    try:
        for number in range(devices):
            here, there = spawn.Pipe()
            share = Share(number, devices)
            process = spawn.Process(target=_work, args=(there, share, meeting.name, job), name=f"device {number}")
            process.start()
            there.close()
            ranks.append(_Rank(number, process, here))
        yield ranks
        done = True
    finally:
        for rank in ranks:
            if done:
                rank.process.join(PATIENCE)
            rank.process.terminate()
        for rank in ranks:
            rank.process.join(PATIENCE)
            rank.process.kill()
            rank.process.join()
            rank.pipe.close()
        meeting.cleanup()


def _listen(ranks: list[_Rank], ctx: Context) -> None:
    """Pass on what the processes tell until all are done."""
    at_work = {rank.pipe: rank for rank in ranks}
    while at_work:
        for pipe in wait(list(at_work)):
            rank = at_work[pipe]  # type: ignore[index]
            try:
                what, given = pickle.loads(rank.pipe.recv_bytes())
            except (EOFError, OSError):
                raise _lost(rank) from None
            if what == "done":
                del at_work[rank.pipe]
            elif what == "failed":
                error, told = given
                error.add_note(f"in the process of device {rank.number}:\n{told}")
                killed = [other for other in at_work.values() if other.process.exitcode]
                if killed:  # for want of it this one failed
                    raise _lost(killed[0]) from error
                raise error
            elif what == "spent":
                ctx.clock.move(*given)
            elif what == "log":
                logging.getLogger(given[0]).log(*given[1:])
            else:
                getattr(ctx.tracker, what)(*given)


def _lost(rank: _Rank) -> RuntimeError:
    """What to say of a process that ended without a word."""
    rank.process.join(1)
    code = rank.process.exitcode or 0
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
    return RuntimeError(f"the process of device {rank.number} {how}; the same command goes on after the last epoch")


class _Teller:
    """The tracker of a process: whatever it is told goes through the pipe. Without a pipe nothing is told."""

    def __init__(self, pipe: Connection | None, clock: Clock) -> None:
        self._pipe, self._clock = pipe, clock
        self._told: dict[str, float] = {}

    def epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Pass on."""
        self.tell("epoch", stage, epoch, values)

    def keep(self) -> None:
        """First the seconds spent since, which are to be kept."""
        self.spent()
        self.tell("keep")

    def progress(self, stage: str, done: int, total: int) -> None:
        """Pass on."""
        self.tell("progress", stage, done, total)

    def notice(self, text: str) -> None:
        """Pass on."""
        self.tell("notice", text)

    def chose(self, epochs: int) -> None:
        """Pass on."""
        self.tell("chose", epochs)

    def explain(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Pass on."""
        self.tell("explain", stage, explanations)

    def spent(self) -> None:
        """Tell the seconds that the clock has counted since they were told last."""
        now = self._clock.seconds()
        self.tell("spent", {name: seconds - self._told.get(name, 0.0) for name, seconds in now.items()})
        self._told = now

    def tell(self, what: str, *given: Any) -> None:
        """Send one message."""
        if self._pipe is not None:
            message = _packed((what, given))
            with SENDING:
                self._pipe.send_bytes(message)


class _Log(logging.Handler):
    """Sends what libraries log to where the log file is."""

    def __init__(self, teller: _Teller) -> None:
        super().__init__()
        self._teller = teller

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._teller.tell("log", record.name, record.levelno, "%s", record.getMessage())


def _work(pipe: Connection, share: Share, meeting: str, job: bytes) -> None:
    """Life of one process; one that fails waits to be ended, lest the others fail for want of it first."""
    exit_with_parent()
    os.environ["LOCAL_RANK"] = str(share.rank)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    clock = Clock()
    teller = _Teller(pipe if share.rank == 0 else None, clock)
    logging.getLogger().handlers = [_Log(teller)]
    logging.captureWarnings(True)
    try:
        _fit(job, share, meeting, teller, clock)
        teller.spent()
        pipe.send_bytes(_packed(("done", ())))
    except Exception as error:
        pipe.send_bytes(_packed(("failed", (_sendable(error), traceback.format_exc()))))
        while True:
            signal.pause()


def _fit(job: bytes, share: Share, meeting: str, teller: _Teller, clock: Clock) -> None:
    """Meet the other processes, fit, and leave the predictor's state in the folder."""
    import torch
    import torch.distributed
    from safetensors.torch import save_file

    method, config, card, train, val, streams, ctx = pickle.loads(job)
    cuda = ctx.device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(share.rank)
    ctx = replace(
        ctx,
        tracker=teller,
        clock=clock,
        share=share,
        device=f"cuda:{share.rank}" if cuda else ctx.device,
        threads=max(1, ctx.threads // share.world),
        loaders=-(-ctx.loaders // share.world),
    )
    torch.set_num_threads(ctx.threads)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo", f"file://{meeting}/all", rank=share.rank, world_size=share.world
    )
    predictor = method.fit(config, card, train, val, streams, ctx)
    if share.rank == 0:
        with whole(ctx.folder / FITTED) as temporary:
            save_file({name: value.contiguous().cpu() for name, value in predictor.state_dict().items()}, temporary)
    torch.distributed.destroy_process_group()


class _ByValue(pickle.Pickler):
    """Tensors travel as their own values: not as files shared with a process that ends, nor with what they view."""

    def reducer_override(self, value: Any) -> Any:
        """numpy's way for tensors, the usual one for all else."""
        import torch

        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.detach().cpu().numpy().copy(),)
        return NotImplemented


def _packed(message: tuple[str, tuple[Any, ...]]) -> bytes:
    """A message, ready for a pipe."""
    buffer = io.BytesIO()
    _ByValue(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getvalue()


def _sendable(error: Exception) -> Exception:
    """The error as it is where it survives a pipe, else its class and message in a RuntimeError."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # whatever an error of any library does when it is pickled
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
