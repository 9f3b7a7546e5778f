"""The ways to run a plan: in this process, in worker processes of this machine, or as tasks of a Ray cluster.

Worker processes are replaced when one dies, and end with their parent. A Ray task reserves CPUs and GPUs; it learns
which run or trial to execute from the shared database when it starts.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt

from bench.errors import BenchError, ConfigError, StoreError
from bench.execute import RunEnvironment
from bench.processes import check_main_guard, exit_with_parent
from bench.record import REPOSITORY
from studies.plan import Resources, StudyRequest
from studies.scheduler import Scheduler
from studies.storage import make_storage_url
from studies.worker import run_until_done, run_worker

MAX_WORKER_DEATHS = 20  # workers that may die before the command gives up: something kills them
UPLOAD_TIMEOUT = 600.0  # seconds for uploads that are left when all runs are made
SHUTDOWN_TIMEOUT = 15  # seconds for a worker to end after an interruption

POLL_INTERVAL = 1.0  # seconds between two looks at the scheduler
RETRY_INTERVAL = 5.0  # seconds between two tries for work, after one found none
MAX_CONNECT_ATTEMPTS = (
    3  # attempts to start Ray Client: gRPC 1.85 can hang in the fork with which Ray's head starts its server
)
GRACE_PERIOD = 20.0  # seconds that a task has to give back what it does, before its process is killed
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # tasks without GPUs see none, without a warning of Ray's about it
}


def run_plan(
    scheduler: Scheduler,
    environment: RunEnvironment,
    resources: Resources,
    workers: int,
    launcher: str,
    show: Callable[[Scheduler], None],
    tell: Callable[[str], None],
) -> None:
    """Make every run that is left; on return each planned run is done or has failed.

    `show` is called with the scheduler after each change, `tell` with a line for each run or trial that ended.
    """
    show(scheduler)
    if not scheduler.remaining:
        return
    if launcher == "processes" and workers == 1:

        def told(line: str) -> None:
            tell(line)
            show(scheduler)

        run_until_done(scheduler, environment, told)
        show(scheduler)
        return
    seen = _ChangeReporter(scheduler, show, tell)
    if launcher == "processes":
        gpus = torch.cuda.device_count() if resources.device == "cuda" else 0
        run_worker_processes(scheduler.plan.request, resources, workers, gpus, seen.report_changes)
    else:
        run_on_ray(scheduler.plan.request, resources, launcher, workers, seen.report_changes)
    scheduler.refresh_from_database()
    show(scheduler)


class _ChangeReporter:
    """Looks at the board for the one who waits, and tells what changed since the last look."""

    def __init__(self, scheduler: Scheduler, show: Callable[[Scheduler], None], tell: Callable[[str], None]) -> None:
        self._scheduler, self._show, self._print_line = scheduler, show, tell
        self._remaining = set(scheduler.remaining)
        self._trial_counts: dict[str, int] = {}

    def report_changes(self) -> bool:
        """Whether nothing is left."""
        scheduler = self._scheduler
        scheduler.refresh_from_database()
        for search in scheduler.searches:
            tried = search.count_trials().total
            if tried > self._trial_counts.get(search.name, 0):
                best = search.find_best_trial()
                so_far = f", best val Acc E {100 * best.value:.1f}" if best is not None else ""
                dataset = search.base_request.dataset.info.name
                self._print_line(f"{dataset}: {search.title}: {tried} configurations tried{so_far}")
            self._trial_counts[search.name] = tried
        for run in sorted(self._remaining - set(scheduler.remaining), key=str):
            why = scheduler.failed_runs.get(run)
            self._print_line(f"{run}: done" if why is None else f"{run}: failed: {why.kind}: {why.message}")
        self._remaining = set(scheduler.remaining)
        self._show(scheduler)
        return not scheduler.remaining


def run_worker_processes(
    request: StudyRequest, resources: Resources, count: int, gpus: int, look: Callable[[], bool]
) -> None:
    """Keep `count` workers at the order until `look` says that nothing is left, or all of them have ended.

    Raises StoreError with a worker's mistake, or when workers die again and again. Nobody is left behind.
    """
    check_main_guard()
    context = multiprocessing.get_context("spawn")
    mistakes: Any = context.SimpleQueue()
    start = partial(_start_worker, context, request, resources, gpus, mistakes)
    workers = {number: start(number) for number in range(count)}
    deaths = 0
    try:
        while workers and not look():
            time.sleep(0.3)
            for number, worker in list(workers.items()):
                if worker.is_alive():
                    continue
                del workers[number]
                if not mistakes.empty():
                    raise StoreError(mistakes.get())
                if worker.exitcode:
                    deaths += 1
                    if deaths > MAX_WORKER_DEATHS:
                        raise StoreError(f"{deaths} workers died (the last with code {worker.exitcode}); see the log")
                    workers[number] = start(number)
        end = time.monotonic() + UPLOAD_TIMEOUT
        for worker in workers.values():
            worker.join(timeout=max(0.0, end - time.monotonic()))
    finally:
        _stop_workers(list(workers.values()))


def assign_gpus(visible: str | None, gpus: int, number: int, each: int) -> str:
    """The GPUs of a worker: the next `each` of those that this process may see, in turn."""
    names = [name.strip() for name in (visible or ",".join(map(str, range(gpus)))).split(",") if name.strip()]
    return ",".join(names[(number * each + i) % len(names)] for i in range(min(each, len(names))))


def _start_worker(
    context: Any, request: StudyRequest, resources: Resources, gpus: int, mistakes: Any, number: int
) -> BaseProcess:
    """A worker with one GPU of its own where there are any, and as many threads as the place says."""
    changed = {"OMP_NUM_THREADS": str(resources.threads)}
    if gpus:
        changed["CUDA_VISIBLE_DEVICES"] = assign_gpus(
            os.environ.get("CUDA_VISIBLE_DEVICES"), gpus, number, resources.devices
        )
    kept = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        worker: BaseProcess = context.Process(
            target=_run_worker_process, args=(request, resources, mistakes), name=f"worker {number + 1}"
        )
        worker.start()
        return worker
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run_worker_process(request: StudyRequest, resources: Resources, mistakes: Any) -> None:
    """A worker's life."""
    exit_with_parent()
    signal.signal(signal.SIGTERM, _interrupt_worker)
    try:
        run_worker(request, resources)
    except KeyboardInterrupt:
        os._exit(130)
    except BenchError as error:
        mistakes.put(str(error))


def _interrupt_worker(number: int, frame: object) -> None:
    """End in order, and soon: whoever asked may be dead, and the database away."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(SHUTDOWN_TIMEOUT)
    raise KeyboardInterrupt


def _stop_workers(workers: list[BaseProcess]) -> None:
    """Ask workers to stop, and after a while make them."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(timeout=SHUTDOWN_TIMEOUT + 5)
        if worker.is_alive():
            worker.kill()
            worker.join()


@dataclass(frozen=True)
class TaskResources:
    """What one task reserves on a machine."""

    cpus: int
    gpus: int

    @classmethod
    def for_resources(cls, resources: Resources) -> TaskResources:
        """On the CPU a core for each thread; on GPUs one for each, and one for each loader."""
        if resources.device == "cuda":
            return cls(resources.devices * (1 + resources.loaders), resources.devices)
        return cls(max(resources.threads, resources.devices), 0)

    def count_tasks(self, machines: Sequence[dict[str, float]]) -> int:
        """How many tasks the resources of these machines hold at once."""
        fits = [int(one.get("CPU", 0) // self.cpus) for one in machines]
        if self.gpus:
            fits = [min(fit, int(one.get("GPU", 0) // self.gpus)) for fit, one in zip(fits, machines, strict=True)]
        return sum(fits)

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus} GPUs" if self.gpus else "")


def run_on_ray(
    request: StudyRequest, resources: Resources, launcher: str, workers: int, look: Callable[[], bool]
) -> None:
    """Keep a cluster busy until `look` says that nothing is left. `ray` starts one on this machine (or joins the one
    that RAY_ADDRESS names), `ray://HEAD:PORT` joins another. `workers` over 1 bounds how many tasks run at once.

    Raises ConfigError where Ray is not installed, the cluster is not reached or too small, and StoreError with a task's
    mistake, or when tasks die again and again. No task is left behind.
    """
    os.environ.update(RAY_ENVIRONMENT)
    try:
        import ray
    except ImportError:
        raise ConfigError("--launcher ray wants Ray: pip install 'ray[default]'") from None
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts one of its own there
    try:
        _connect(ray, launcher, resources)
        signal.signal(signal.SIGTERM, on_sigterm)
        resources = _adapt_resources(ray, resources)
        needs = TaskResources.for_resources(resources)
        task = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0)(_run_task)
        most = workers if workers > 1 else None
        _submit_tasks(
            ray, lambda: task.remote(request, resources), lambda: most or needs.count_tasks(_list_machines(ray)), look
        )
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)


def _connect(ray: Any, launcher: str, resources: Resources) -> None:
    """Connect to a cluster, or start one of this machine alone. Raises ConfigError for one that is not there."""
    address = os.environ.get("RAY_ADDRESS") if launcher == "ray" else launcher
    logger = logging.getLogger("ray")
    logger.handlers, logger.propagate = [], True  # what it has to say goes to the log, as of every library
    ray._private.worker._worker_logs_enabled = False  # a machine that dies would fill the screen; no public switch
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    how: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": str(resources.threads), **RAY_ENVIRONMENT}},
        "log_to_driver": False,
    }
    if address in (None, "local"):
        gpus = resources.devices if resources.device == "cuda" else 0
        if gpus:
            gpus = torch.cuda.device_count()
        how |= {"num_gpus": gpus, "object_store_memory": 80_000_000, "include_dashboard": False}
    else:
        _check_reachable(str(address))
    if not str(address).startswith("ray://"):
        how["configure_logging"] = False
    retrying = Retrying(
        retry=retry_if_exception_type(ConnectionAbortedError),
        stop=stop_after_attempt(MAX_CONNECT_ATTEMPTS),
        before_sleep=before_sleep_log(logging.getLogger(__name__), logging.WARNING, exc_info=True),
        reraise=True,
    )
    try:
        retrying(ray.init, address=address, **how)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address or 'this machine'} ({_get_error_reason(error)})") from None


def _check_reachable(address: str) -> None:
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


def _adapt_resources(ray: Any, resources: Resources) -> Resources:
    """The place with the device that the cluster has. Raises ConfigError where its machines are too small for a run, or
    could not share the storage."""
    machines = _list_machines(ray)
    resources = replace(resources, device="cuda" if any(one.get("GPU", 0) >= 1 for one in machines) else "cpu")
    if not TaskResources.for_resources(resources).count_tasks(machines):
        raise ConfigError(
            f"no machine of the Ray cluster has {TaskResources.for_resources(resources)} for a run; fewer with "
            "--threads, --devices"
        )
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if make_storage_url(resources.results, resources.storage).startswith("sqlite") and hosts != {socket.gethostname()}:
        raise ConfigError("a Ray cluster of other machines wants a database that all reach: --storage postgresql://...")
    return resources


def _list_machines(ray: Any) -> list[dict[str, float]]:
    """The resources of each machine of the cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _submit_tasks(ray: Any, submit: Callable[[], Any], most: Callable[[], int], look: Callable[[], bool]) -> None:
    """Keep tasks running while there is work that nobody has; on the way out, end those that still run."""
    tasks: list[Any] = []
    deaths, idle, again = 0, False, 0.0  # deaths in a row; whether the last task that ended found nothing to do
    try:
        while not look():
            room = max(0, most() - len(tasks))
            if room and (not idle or time.monotonic() >= again):
                tasks += [submit() for _ in range(1 if idle else room)]
                again = time.monotonic() + RETRY_INTERVAL
            if not tasks:
                time.sleep(POLL_INTERVAL)
                continue
            ended, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=POLL_INTERVAL)
            for one in ended:
                try:
                    idle, deaths = not ray.get(one), 0
                except ray.exceptions.RayError as error:
                    idle, deaths = False, deaths + 1  # what it had is found by the next one, and queued again
                    _check_task_error(error, deaths)
        if tasks:  # their records are there, and may still be on their way to MLflow
            ray.wait(tasks, num_returns=len(tasks), timeout=UPLOAD_TIMEOUT)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise StoreError(
            f"the Ray cluster is gone ({_get_first_line(error)}); the same command goes on where it was"
        ) from None
    finally:
        cancel_tasks(ray, tasks)


def _check_task_error(error: Exception, deaths: int) -> None:
    """Raise StoreError for a mistake that the next task would make too."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BenchError):
        raise StoreError(str(cause)) from None
    logging.getLogger(__name__).warning("a task died", exc_info=error)
    if deaths > MAX_WORKER_DEATHS:
        raise StoreError(
            f"{deaths} tasks died, one after the other (the last: {_get_first_line(cause or error)}); see the log"
        )


def cancel_tasks(ray: Any, tasks: list[Any]) -> None:
    """Ask tasks to stop, and after a while make them. Those that have ended are left alone: Ray 2.60 aborts this very
    process where it is told to cancel a task whose result it is just taking in ("task that was not pending")."""

    def left(seconds: float) -> list[Any]:
        return ray.wait(tasks, num_returns=len(tasks), timeout=seconds)[1] if tasks else []

    with suppress(ConnectionError, ray.exceptions.RayError):
        tasks = left(0)
        for force in (False, True):
            for one in tasks:
                ray.cancel(one, force=force)
            tasks = left(GRACE_PERIOD)


def _run_task(request: StudyRequest, resources: Resources) -> bool:
    """A task: one trial or cell; whether there was one."""
    return run_worker(request, resources, once=True)


def _get_first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _get_error_reason(error: Exception) -> str:
    """Give the last line of a traceback that Ray Client passes on as text, or else the first line of the error."""
    text = str(error).strip()
    return text.splitlines()[-1][:200] if "Traceback (most recent call last)" in text else _get_first_line(error)
