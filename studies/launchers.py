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
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
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
from studies.storage import get_first_line, make_storage_url
from studies.worker import run_until_done, run_worker

MAX_WORKER_DEATHS = 20  # workers that may die before the command gives up: something kills them
UPLOAD_TIMEOUT = 600.0  # seconds for uploads that are left when all runs are made
SHUTDOWN_TIMEOUT = 15  # seconds for a worker to end after an interruption

POLL_INTERVAL = 1.0  # seconds between two looks at the scheduler
RETRY_INTERVAL = 5.0  # seconds between two tries for work, after one found none
MAX_CONNECT_ATTEMPTS = 3  # to start Ray Client: gRPC 1.85 can hang in the fork with which Ray's head starts its server
GRACE_PERIOD = 20.0  # seconds that a task has to give back what it does, before its process is killed
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # tasks without GPUs see none, without a warning of Ray's about it
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # or a machine that dies fills the screen, whatever `log_to_driver` is
}


def run_plan(
    scheduler: Scheduler,
    environment: RunEnvironment,
    resources: Resources,
    workers: int,
    launcher: str,
    show: Callable[[], None],
    print_line: Callable[[str], None],
) -> None:
    """Make every run that is left; on return each planned run is done or has failed.

    `show` is called after each change, `print_line` with a line for each run or trial that ended.
    """
    show()
    if not scheduler.remaining:
        return
    if launcher == "processes" and workers == 1:

        def report(line: str) -> None:
            print_line(line)
            show()

        run_until_done(scheduler, environment, report)
        show()
        return
    seen = _ChangeReporter(scheduler, show, print_line)
    if launcher == "processes":
        run_worker_processes(scheduler.plan.request, resources, workers, seen.report_changes)
    else:
        run_on_ray(scheduler.plan.request, resources, launcher, workers, seen.report_changes)
    scheduler.refresh_from_database()
    show()


class _ChangeReporter:
    """Reads the shared database for the process that waits, and reports what changed since it last did."""

    def __init__(self, scheduler: Scheduler, show: Callable[[], None], print_line: Callable[[str], None]) -> None:
        self._scheduler, self._show, self._print_line = scheduler, show, print_line
        self._remaining = set(scheduler.remaining)
        self._trial_counts: dict[str, int] = {}

    def report_changes(self) -> bool:
        """Report what changed, and return whether nothing is left."""
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
        self._show()
        return not scheduler.remaining


def run_worker_processes(request: StudyRequest, resources: Resources, count: int, look: Callable[[], bool]) -> None:
    """Keep `count` workers running until `look` says that nothing is left, or all of them have ended.

    Raises StoreError with a worker's error, or when workers die again and again. Nobody is left behind.
    """
    check_main_guard()
    others, deaths = set(multiprocessing.active_children()), 0
    try:
        workers = {number: _start_worker(request, resources, number) for number in range(count)}
        while workers and not look():
            time.sleep(0.3)
            for number, worker in list(workers.items()):
                if not worker.done():
                    continue
                del workers[number]
                if (error := worker.exception()) is not None:
                    deaths += 1
                    _check_death(error, f"{deaths} workers died", deaths)
                    workers[number] = _start_worker(request, resources, number)
        end = time.monotonic() + UPLOAD_TIMEOUT
        for process in set(multiprocessing.active_children()) - others:
            process.join(timeout=max(0.0, end - time.monotonic()))
    finally:
        _stop_processes(set(multiprocessing.active_children()) - others)


def _check_death(error: BaseException, what: str, deaths: int) -> None:
    """Raise StoreError for an error that the next worker or task would make too, or after too many deaths."""
    cause = getattr(error, "cause", None) or error  # Ray's errors have a task's own error as cause
    if isinstance(cause, BenchError):
        raise StoreError(str(cause)) from None
    logging.getLogger(__name__).warning("a worker died", exc_info=error)
    if deaths > MAX_WORKER_DEATHS:
        raise StoreError(f"{what} (the last: {get_first_line(cause)}); see the log")


def _count_gpus(resources: Resources) -> int:
    return torch.cuda.device_count() if resources.device == "cuda" else 0


def assign_gpus(visible: str | None, gpus: int, number: int, each: int) -> str:
    """The GPUs of a worker: the next `each` of those that this process may see, in turn."""
    names = [name.strip() for name in (visible or ",".join(map(str, range(gpus)))).split(",") if name.strip()]
    return ",".join(names[(number * each + i) % len(names)] for i in range(min(each, len(names))))


def _start_worker(request: StudyRequest, resources: Resources, number: int) -> Future[None]:
    """Start a worker with GPUs of its own where there are any, in a pool of its own: others outlive its death.

    Its environment is set before it starts: a script that starts runs may import torch before an initializer runs.
    """
    changed = {"OMP_NUM_THREADS": str(resources.threads)}
    if gpus := _count_gpus(resources):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        changed["CUDA_VISIBLE_DEVICES"] = assign_gpus(visible, gpus, number, resources.devices)
    kept = {name: os.environ[name] for name in changed.keys() & os.environ.keys()}
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=exit_with_parent)
    os.environ.update(changed)
    try:
        return pool.submit(_run_worker_process, request, resources)
    finally:
        for name in changed:
            del os.environ[name]
        os.environ.update(kept)
        pool.shutdown(wait=False)  # its process ends with its work


def _run_worker_process(request: StudyRequest, resources: Resources) -> None:
    """Work in a process of a pool until nothing is left."""
    signal.signal(signal.SIGTERM, _interrupt_worker)
    try:
        run_worker(request, resources)
    except KeyboardInterrupt:
        os._exit(130)  # the pool would wait for more work
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt_worker(number: int, frame: object) -> None:
    """End in order, and soon: whoever asked may be dead, and the database away."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(SHUTDOWN_TIMEOUT)
    raise KeyboardInterrupt


def _stop_processes(processes: Collection[BaseProcess]) -> None:
    """Ask processes to stop, and kill those that do not."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(timeout=SHUTDOWN_TIMEOUT + 5)
        if process.is_alive():
            process.kill()
            process.join()


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
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    how: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": str(resources.threads), **RAY_ENVIRONMENT}},
        "log_to_driver": False,
    }
    if address in (None, "local"):
        how |= {"num_gpus": _count_gpus(resources), "object_store_memory": 80_000_000, "include_dashboard": False}
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
        needs = TaskResources.for_resources(resources)
        raise ConfigError(f"no machine of the Ray cluster has {needs} for a run; fewer with --threads, --devices")
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
                    _check_death(error, f"{deaths} tasks died, one after the other", deaths)
        if tasks:  # their records are there, and may still be on their way to MLflow
            ray.wait(tasks, num_returns=len(tasks), timeout=UPLOAD_TIMEOUT)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise StoreError(
            f"the Ray cluster is gone ({get_first_line(error)}); the same command goes on where it was"
        ) from None
    finally:
        cancel_tasks(ray, tasks)


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


def _get_error_reason(error: Exception) -> str:
    """Give the last line of a traceback that Ray Client passes on as text, or else the first line of the error."""
    text = str(error).strip()
    return text.splitlines()[-1][:200] if "Traceback (most recent call last)" in text else get_first_line(error)
