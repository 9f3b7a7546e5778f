"""Data-parallel fits on several devices of one machine, one process per device.

Only `Method.fit` runs in these processes. Rank 0 writes checkpoints and the predictor. Its tracker calls are sent
through a pipe to the parent process, which has the real tracker. All processes end with the fit.
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
from collections.abc import Callable, Mapping
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

from bench.errors import ConfigError
from bench.evaluate import save_weights
from bench.method import FitContext, FitFunction, Method, Predictor, Replica, StageFunction, Tracker
from bench.processes import exit_with_parent
from bench.timing import Timer

PREDICTOR_FILE = "fitted.safetensors"  # in the checkpoint folder: predictor that rank 0 passes to the parent process
ERROR_FILE = "error"  # in the rendezvous folder: rank, error and traceback of the first process that failed
EXIT_TIMEOUT = 10  # seconds between SIGTERM and SIGKILL of a process


def fit_distributed(method: Method, ctx: FitContext, devices: int) -> Predictor:
    """Return the predictor of `method.fit`, run in this process or, with several devices, data-parallel.

    Re-raises the error of a process with its traceback as a note. Raises RuntimeError if a process was killed, and
    ConfigError if there are fewer GPUs than `devices`, the method cannot be pickled, or it is coupled and the devices
    are CPU processes, for which torch has no synchronised batch norm.
    """
    if devices == 1:
        return method.fit(ctx)
    tensors = _train(method, method.fit, ctx, devices)
    predictor = method.build(ctx.config, ctx.info)
    predictor.load_state_dict(tensors)
    predictor.to(ctx.device)
    return predictor


def train_distributed(
    method: Method, function: StageFunction, ctx: FitContext, devices: int
) -> Mapping[str, torch.Tensor]:
    """Return the weights of the module that `function(ctx)` trains, a stage of a method; see `fit_distributed`."""
    if devices == 1:
        weights: Mapping[str, torch.Tensor] = function(ctx).state_dict()
        return weights
    return _train(method, function, ctx, devices)


def _train(
    method: Method, function: StageFunction | FitFunction, ctx: FitContext, devices: int
) -> dict[str, torch.Tensor]:
    """Return the weights of the module that a function trains in several processes."""
    if ctx.device.startswith("cuda") and torch.cuda.device_count() < devices:
        count = torch.cuda.device_count()
        raise ConfigError(f"--devices {devices}: more than the GPUs of this machine; use --devices {count} or fewer")
    if method.coupled and not ctx.device.startswith("cuda"):
        raise ConfigError(
            f"--devices {devices}: the losses of method '{method.name}' depend on whole batches, and only GPUs can "
            "synchronise batch norms; use --devices 1"
        )
    bare = replace(ctx, tracker=cast(Tracker, None), timer=Timer())
    try:
        job = pickle.dumps((method.plugin, pickle.dumps((function, bare))))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"--devices {devices}: method '{method.name}' cannot be pickled ({error}); move its functions to the top "
            "level of a module, or use --devices 1"
        ) from None
    _run_processes(job, devices, ctx)
    fitted = ctx.folder / PREDICTOR_FILE
    tensors: dict[str, torch.Tensor] = load_file(fitted)
    fitted.unlink()
    return tensors


def _run_processes(job: bytes, devices: int, ctx: FitContext) -> None:
    """Run the fit in one process per device, and relay the calls of rank 0 until all processes have ended."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # must be set before a child process imports torch
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # the raised error has the same details
    receiver, sender = Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as rendezvous, receiver:
        with sender:
            context = start_processes(  # type: ignore[no-untyped-call]
                _run_rank, (devices, sender, rendezvous, job), devices, join=False
            )
        try:
            _relay_messages(receiver, context, Path(rendezvous), ctx)
        finally:
            for process in context.processes:
                process.terminate()
            for process in context.processes:
                process.join(EXIT_TIMEOUT)
                process.kill()
                process.join()


def _relay_messages(receiver: Connection, context: ProcessContext, rendezvous: Path, ctx: FitContext) -> None:
    """Execute the tracker, timer and logger calls of rank 0 until all processes have ended."""
    pipes = [receiver]
    while context.sentinels:
        if receiver not in wait([*pipes, *context.sentinels]):
            _check_processes(context, rendezvous)
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


def _check_processes(context: ProcessContext, rendezvous: Path) -> None:
    """Check the processes that have ended.

    Raises the error of the first that failed, or RuntimeError if one was killed, since the errors of the others are
    then only its consequence.
    """
    codes = [process.exitcode or 0 for process in context.processes]
    try:
        context.join(timeout=0)
    except ProcessException as ended:
        failed = ended.error_index
        codes[failed] = context.processes[failed].exitcode or 0
    else:
        return
    path, error = rendezvous / ERROR_FILE, None
    if path.exists():
        rank, error, text = pickle.loads(path.read_bytes())
        error.add_note(f"in the process of device {rank}:\n{text}")
    # NCCL aborts the remaining processes with SIGABRT, so that signal is a consequence
    killed = [rank for rank, code in enumerate(codes) if code < 0 and code != -signal.SIGABRT]
    if error is not None and not killed:
        raise error
    rank = killed[0] if killed else failed
    how = f"was killed ({signal.Signals(-codes[rank]).name})" if codes[rank] < 0 else f"exited with code {codes[rank]}"
    raise RuntimeError(
        f"the process of device {rank} {how}; give the same command again to resume from the last checkpoint"
    ) from error


class _PipeTracker:
    """Tracker of a fit process: sends each call through a pipe, or ignores it if there is none (rank > 0)."""

    def __init__(self, sender: Connection | None, timer: Timer) -> None:
        self._sender, self._timer = sender, timer
        self._lock = threading.Lock()  # libraries log from several threads
        self._sent_seconds: dict[str, float] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return partial(self.send, name)

    def before_checkpoint(self) -> None:
        """Send the seconds, which a resumed run needs, before the call."""
        self.send_seconds()
        self.send("before_checkpoint")

    def send_seconds(self) -> None:
        """Send the seconds that the timer has counted since the last call."""
        now = self._timer.get_seconds()
        self.send("reassign", {name: seconds - self._sent_seconds.get(name, 0.0) for name, seconds in now.items()})
        self._sent_seconds = now

    def put_nowait(self, record: logging.LogRecord) -> None:
        """Send a log record. QueueHandler calls this method of its queue."""
        self.send("log", record)

    def send(self, name: str, *values: Any) -> None:
        """Send a call with its arguments."""
        if self._sender is not None:
            message = _serialise((name, values))
            with self._lock:
                self._sender.send_bytes(message)


def _run_rank(rank: int, devices: int, sender: Connection, rendezvous: str, job: bytes) -> None:
    """Run the fit of one process. The first process that fails writes its error; all exit without clean-up."""
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
        _fit_rank(job, Replica(rank, devices), rendezvous, tracker, timer)
        tracker.send_seconds()
    except Exception as error:
        path = Path(rendezvous, f"{ERROR_FILE}-{rank}")
        path.write_bytes(pickle.dumps((rank, _make_picklable_error(error), traceback.format_exc())))
        with suppress(FileExistsError):
            os.link(path, path.with_name(ERROR_FILE))
        os._exit(1)
    os._exit(0)  # at a normal exit a thread of gloo can abort the process


def _fit_rank(job: bytes, replica: Replica, rendezvous: str, tracker: _PipeTracker, timer: Timer) -> None:
    """Join the process group, fit, and write the predictor's weights on rank 0."""
    plugin, packed = pickle.loads(job)
    if plugin is not None:
        plugin.load()
    function, ctx = pickle.loads(packed)
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
        "nccl" if cuda else "gloo", f"file://{rendezvous}/all", rank=replica.rank, world_size=replica.world_size
    )
    trained = function(ctx)
    if replica.rank == 0:
        save_weights(ctx.folder / PREDICTOR_FILE, trained)
    torch.distributed.destroy_process_group()


def _serialise(message: tuple[str, tuple[Any, ...]]) -> bytes:
    """Pickle a message with tensors by value.

    torch would share their memory with a process that is about to end, and pickle the whole storage of a view.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {
        torch.Tensor: lambda tensor: (torch.from_numpy, (tensor.detach().cpu().numpy().copy(),))
    }
    pickler.dump(message)
    return buffer.getvalue()


def _make_picklable_error(error: Exception) -> Exception:
    """Return the error if it can be pickled, else a RuntimeError with its class and message."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # errors of libraries may raise anything when pickled
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
