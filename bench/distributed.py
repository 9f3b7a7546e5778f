"""Data-parallel fits over several devices of one machine, with a process for each device.

Only `fit` runs in these processes. Rank 0 writes the checkpoints and leaves the predictor; its tracker calls go
through a pipe to the waiting process, which holds the real tracker. No process outlives the fit.
"""

from __future__ import annotations

import copyreg
import io
import logging
import os
import pickle
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed
from safetensors.torch import load_file
from torch.multiprocessing.spawn import ProcessContext, ProcessException, start_processes

from bench.config import Config
from bench.errors import ConfigError
from bench.evaluate import save_weights
from bench.method import FitContext, Method, Predictor, Replica, Tracker
from bench.processes import exit_with_parent
from bench.rng import RngTree
from bench.timing import Timer
from bench.types import ClipSet, DatasetInfo

PREDICTOR_FILE = "fitted.safetensors"  # among the checkpoints: the predictor on its way back
ERROR_FILE = "error"  # in the meeting folder: rank, error and traceback of the first process that failed
EXIT_TIMEOUT = 10  # seconds that a process has to end once it is asked to


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
    """Return the predictor that `method.fit` makes here, or when every batch is shared among several devices.

    Raises what a process raised, with that process's traceback as a note; RuntimeError where one was killed.
    """
    if devices == 1:
        return method.fit(config, info, train, val, rng, ctx)
    if ctx.device.startswith("cuda") and torch.cuda.device_count() < devices:
        raise ConfigError(f"{devices} devices are asked for, this machine has {torch.cuda.device_count()} GPUs")
    bare = replace(ctx, tracker=cast(Tracker, None), timer=Timer())
    try:
        job = pickle.dumps((method, config, info, train, val, rng, bare))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"'{method.name}' cannot be sent to other processes ({error}); write its functions in a module of its own, "
            "or use one device"
        ) from None
    _run_processes(job, devices, ctx)
    fitted = ctx.folder / PREDICTOR_FILE
    predictor = method.build(config, info)
    predictor.load_state_dict(load_file(fitted))
    predictor.to(ctx.device)
    fitted.unlink()
    return predictor


def _run_processes(job: bytes, devices: int, ctx: FitContext) -> None:
    """Fit in a process for each device, and pass rank 0's calls on until all have ended."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read as torch is imported, before a child's first line
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # the error that is raised says enough
    receiver, sender = Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as meeting, receiver:
        with sender:
            context = start_processes(  # type: ignore[no-untyped-call]
                _run_rank, (devices, sender, meeting, job), devices, join=False
            )
        try:
            _relay_messages(receiver, context, Path(meeting), ctx)
        finally:
            for process in context.processes:
                process.terminate()
            for process in context.processes:
                process.join(EXIT_TIMEOUT)
                process.kill()
                process.join()


def _relay_messages(receiver: Connection, context: ProcessContext, meeting: Path, ctx: FitContext) -> None:
    """Call the tracker, the timer and the loggers as rank 0 asks, until all processes have ended."""
    pipes = [receiver]
    while context.sentinels:
        if receiver not in wait([*pipes, *context.sentinels]):
            _check_processes(context, meeting)
            continue
        try:
            name, values = pickle.loads(receiver.recv_bytes())
        except (EOFError, OSError):  # rank 0 has ended
            pipes.clear()
            continue
        if name == "reassign":
            ctx.timer.reassign(*values)
        elif name == "log":
            logging.getLogger(values[0].name).handle(values[0])
        else:
            getattr(ctx.tracker, name)(*values)


def _check_processes(context: ProcessContext, meeting: Path) -> None:
    """Take note of processes that have ended. Raise the error of the first that failed, or RuntimeError where one was
    killed: those that fail for want of it are not the cause."""
    codes = [process.exitcode or 0 for process in context.processes]
    try:
        context.join(timeout=0)
    except ProcessException as ended:
        failed = ended.error_index
        codes[failed] = context.processes[failed].exitcode or 0
    else:
        return
    path, error = meeting / ERROR_FILE, None
    if path.exists():
        rank, error, text = pickle.loads(path.read_bytes())
        error.add_note(f"in the process of device {rank}:\n{text}")
    # NCCL aborts a process for want of another, so that this is no cause
    killed = [rank for rank, code in enumerate(codes) if code < 0 and code != -signal.SIGABRT]
    if error is not None and not killed:
        raise error
    rank = killed[0] if killed else failed
    how = f"was killed ({signal.Signals(-codes[rank]).name})" if codes[rank] < 0 else f"ended with code {codes[rank]}"
    raise RuntimeError(f"the process of device {rank} {how}; the same command resumes after the last epoch") from error


class _PipeTracker:
    """The tracker of a process: sends every call through the pipe; without a pipe every call is lost."""

    def __init__(self, sender: Connection | None, timer: Timer) -> None:
        self._sender, self._timer = sender, timer
        self._lock = threading.Lock()  # libraries log from threads of their own
        self._sent_seconds: dict[str, float] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return partial(self.send, name)

    def before_checkpoint(self) -> None:
        """Send the seconds first: a run that resumes from the checkpoint needs them."""
        self.send_seconds()
        self.send("before_checkpoint")

    def send_seconds(self) -> None:
        """Send the seconds that the timer has counted since they were sent last."""
        now = self._timer.get_seconds()
        self.send("reassign", {name: seconds - self._sent_seconds.get(name, 0.0) for name, seconds in now.items()})
        self._sent_seconds = now

    def put_nowait(self, record: logging.LogRecord) -> None:
        """Send a line of the log: the queue of a QueueHandler."""
        self.send("log", record)

    def send(self, name: str, *values: Any) -> None:
        """Send one call."""
        if self._sender is not None:
            message = _serialise((name, values))
            with self._lock:
                self._sender.send_bytes(message)


def _run_rank(rank: int, devices: int, sender: Connection, meeting: str, job: bytes) -> None:
    """Run the fit of one process. The first that fails leaves its error, and none waits at its exit."""
    exit_with_parent()
    os.environ["LOCAL_RANK"] = str(rank)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if rank:
        sender.close()
    timer = Timer()
    tracker = _PipeTracker(None if rank else sender, timer)
    logging.getLogger().handlers = [QueueHandler(cast(Any, tracker))]
    logging.captureWarnings(True)
    try:
        _fit_rank(job, Replica(rank, devices), meeting, tracker, timer)
        tracker.send_seconds()
    except Exception as error:
        own = Path(meeting, f"{ERROR_FILE}-{rank}")
        own.write_bytes(pickle.dumps((rank, _make_picklable_error(error), traceback.format_exc())))
        with suppress(FileExistsError):
            os.link(own, own.with_name(ERROR_FILE))
        os._exit(1)
    os._exit(0)  # without Python's own exit, in which a thread of gloo can abort the process


def _fit_rank(job: bytes, replica: Replica, meeting: str, tracker: _PipeTracker, timer: Timer) -> None:
    """Meet the other processes, fit, and leave the predictor's state in the folder."""
    method, config, info, train, val, rng, ctx = pickle.loads(job)
    cuda = ctx.device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(replica.rank)
    ctx = replace(
        ctx,
        tracker=tracker,
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
        save_weights(ctx.folder / PREDICTOR_FILE, predictor)
    torch.distributed.destroy_process_group()


def _serialise(message: tuple[str, tuple[Any, ...]]) -> bytes:
    """Return a message as bytes in which tensors are their own values: not files shared with a process that ends, nor
    all of what they view."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {
        torch.Tensor: lambda tensor: (torch.from_numpy, (tensor.detach().cpu().numpy().copy(),))
    }
    pickler.dump(message)
    return buffer.getvalue()


def _make_picklable_error(error: Exception) -> Exception:
    """Return the error itself where it survives a pipe, else its class and message in a RuntimeError."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # whatever an error of any library does when it is pickled
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
