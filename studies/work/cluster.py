"""Trials and cells handed to a Ray cluster as tasks with their CPU and GPU needs. Which piece of work a task does, it
learns from the shared storage when it starts."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import BenchError, ConfigError, StoreError
from bench.provenance import ROOT
from studies.queue.storage import storage_url
from studies.work.order import Order, Place
from studies.work.processes import DEATHS, LAST_WORDS

LOOK, ASK = 1.0, 5.0  # seconds between looks at the board, and between questions for work after one found none
JOINS = 3  # attempts to start Ray Client: gRPC 1.85 can hang in the fork with which Ray's head starts its server
FAREWELL = 20.0  # seconds that a task has to give back what it does, before its process is killed
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # tasks without GPUs see none, without a warning of Ray's about it
}


@dataclass(frozen=True)
class Needs:
    """What one task reserves on a machine."""

    cpus: int
    gpus: int

    @classmethod
    def of(cls, place: Place) -> Needs:
        """On the CPU a core for each thread; on GPUs one for each, and one for each loader."""
        if place.device == "cuda":
            return cls(place.devices * (1 + place.loaders), place.devices)
        return cls(max(place.threads, place.devices), 0)

    def fit(self, machines: Sequence[dict[str, float]]) -> int:
        """How many tasks the resources of these machines hold at once."""
        fits = [int(one.get("CPU", 0) // self.cpus) for one in machines]
        if self.gpus:
            fits = [min(fit, int(one.get("GPU", 0) // self.gpus)) for fit, one in zip(fits, machines, strict=True)]
        return sum(fits)

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus} GPUs" if self.gpus else "")


def run_on_ray(order: Order, place: Place, launcher: str, workers: int, look: Callable[[], bool]) -> None:
    """Keep a cluster busy until `look` says that nothing is left. `ray` starts one on this machine (or joins the one
    that RAY_ADDRESS names), `ray://HEAD:PORT` joins another. `workers` over 1 bounds how many tasks run at once.

    Raises ConfigError where Ray is not installed, the cluster is not reached or too small, and StoreError with a task's
    mistake, or when tasks die again and again. No task is left behind.
    """
    os.environ.update(QUIET)
    try:
        import ray
    except ImportError:
        raise ConfigError("--launcher ray wants Ray: pip install 'ray[default]'") from None
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts one of its own there
    try:
        _join(ray, launcher, place)
        signal.signal(signal.SIGTERM, on_sigterm)
        place = _fit_in(ray, place)
        needs = Needs.of(place)
        task = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0)(_one)
        most = workers if workers > 1 else None
        _feed(ray, lambda: task.remote(order, place), lambda: most or needs.fit(_machines(ray)), look)
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)


def _join(ray: Any, launcher: str, place: Place) -> None:
    """Connect to a cluster, or start one of this machine alone. Raises ConfigError for one that is not there."""
    address = os.environ.get("RAY_ADDRESS") if launcher == "ray" else launcher
    logger = logging.getLogger("ray")
    logger.handlers, logger.propagate = [], True  # what it has to say goes to the log, as of every library
    ray._private.worker._worker_logs_enabled = False  # a machine that dies would fill the screen; no public switch
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    how: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": str(place.threads), **QUIET}},
        "log_to_driver": False,
    }
    if address in (None, "local"):
        gpus = place.devices if place.device == "cuda" else 0
        if gpus:
            import torch

            gpus = torch.cuda.device_count()
        how |= {"num_gpus": gpus, "object_store_memory": 80_000_000, "include_dashboard": False}
    else:
        _knock(str(address))
    if not str(address).startswith("ray://"):
        how["configure_logging"] = False
    for attempt in range(1, JOINS + 1):
        try:
            ray.init(address=address, **how)
            return
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            if isinstance(error, ConnectionAbortedError) and attempt < JOINS:
                logging.getLogger(__name__).warning("Ray Client did not start, attempt %d", attempt, exc_info=error)
                continue
            raise ConfigError(f"no Ray cluster at {address or 'this machine'} ({_reason(error)})") from None


def _knock(address: str) -> None:
    """Raise ConfigError within seconds where nobody listens: Ray itself would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        if address == "auto":  # Ray finds the cluster of this machine
            return
        raise ConfigError(f"'{address}' is no address of a Ray cluster; for example ray://HEAD:10001")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        hint = "`ray start --head` there listens at port 10001 for ray://, and at 6379 for RAY_ADDRESS=HEAD:6379"
        raise ConfigError(f"no Ray cluster at {address} ({error}); {hint}") from None


def _fit_in(ray: Any, place: Place) -> Place:
    """The place with the device that the cluster has. Raises ConfigError where its machines are too small for a run, or
    could not share the storage."""
    machines = _machines(ray)
    place = replace(place, device="cuda" if any(one.get("GPU", 0) >= 1 for one in machines) else "cpu")
    if not Needs.of(place).fit(machines):
        raise ConfigError(
            f"no machine of the Ray cluster has {Needs.of(place)} for a run; fewer with --threads, --devices"
        )
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if storage_url(place.results, place.storage).startswith("sqlite") and hosts != {socket.gethostname()}:
        raise ConfigError("a Ray cluster of other machines wants a database that all reach: --storage postgresql://...")
    return place


def _machines(ray: Any) -> list[dict[str, float]]:
    """The resources of each machine of the cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _feed(ray: Any, submit: Callable[[], Any], most: Callable[[], int], look: Callable[[], bool]) -> None:
    """Keep tasks running while there is work that nobody has; on the way out, end those that still run."""
    tasks: list[Any] = []
    deaths, idle, again = 0, False, 0.0  # deaths in a row; whether the last task that ended found nothing to do
    try:
        while not look():
            room = max(0, most() - len(tasks))
            if room and (not idle or time.monotonic() >= again):
                tasks += [submit() for _ in range(1 if idle else room)]
                again = time.monotonic() + ASK
            if not tasks:
                time.sleep(LOOK)
                continue
            ended, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=LOOK)
            for one in ended:
                try:
                    idle, deaths = not ray.get(one), 0
                except ray.exceptions.RayError as error:
                    idle, deaths = False, deaths + 1  # what it had is found by the next one, and queued again
                    _judge(error, deaths)
        if tasks:  # their records are there, and may still be on their way to MLflow
            ray.wait(tasks, num_returns=len(tasks), timeout=LAST_WORDS)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise StoreError(f"the Ray cluster is gone ({_first(error)}); the same command goes on where it was") from None
    finally:
        end_tasks(ray, tasks)


def _judge(error: Exception, deaths: int) -> None:
    """Raise StoreError for a mistake that the next task would make too."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BenchError):
        raise StoreError(str(cause)) from None
    logging.getLogger(__name__).warning("a task died", exc_info=error)
    if deaths > DEATHS:
        raise StoreError(f"{deaths} tasks died, one after the other (the last: {_first(cause or error)}); see the log")


def end_tasks(ray: Any, tasks: list[Any]) -> None:
    """Ask tasks to stop, and after a while make them. Those that have ended are left alone: Ray 2.60 aborts this very
    process where it is told to cancel a task whose result it is just taking in ("task that was not pending")."""

    def left(seconds: float) -> list[Any]:
        return ray.wait(tasks, num_returns=len(tasks), timeout=seconds)[1] if tasks else []

    with suppress(ConnectionError, ray.exceptions.RayError):
        tasks = left(0)
        for force in (False, True):
            for one in tasks:
                ray.cancel(one, force=force)
            tasks = left(FAREWELL)


def _one(order: Order, place: Place) -> bool:
    """A task: one trial or cell; whether there was one."""
    from studies.work.desk import take_part

    return take_part(order, place, once=True)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _reason(error: Exception) -> str:
    """Give the last line of a traceback that Ray Client passes on as text, or else the first line of the error."""
    text = str(error).strip()
    return text.splitlines()[-1][:200] if "Traceback (most recent call last)" in text else _first(error)
