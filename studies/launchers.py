"""Run a plan in this process, in worker processes on this machine, or as tasks on a Ray cluster.

A worker process that dies is replaced, and all end with their parent. A Ray task reserves CPUs and GPUs, and leases
its run or trial from the shared database when it starts.
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

MAX_WORKER_DEATHS = 20  # dead workers after which the command stops
UPLOAD_TIMEOUT = 600.0  # seconds for the remaining uploads after the last run
SHUTDOWN_TIMEOUT = 15  # seconds for a worker to end after an interruption

POLL_INTERVAL = 1.0  # seconds between two checks of the scheduler
RETRY_INTERVAL = 5.0  # seconds before the next task after one found no work
MAX_CONNECT_ATTEMPTS = 3  # for Ray Client: with gRPC 1.85 the fork that starts its server can hang
GRACE_PERIOD = 20.0  # seconds for a task to release its lease before its process is killed
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # hide GPUs from tasks without GPUs, without a warning
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # otherwise a dead machine floods the terminal, whatever `log_to_driver` is
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
    """Execute the remaining runs of a plan. On return each planned run is done or has failed.

    `show` is called after each change, `print_line` with a line per finished run or trial.
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
    reporter = _ChangeReporter(scheduler, show, print_line)
    if launcher == "processes":
        run_worker_processes(scheduler.plan.request, resources, workers, reporter.report_changes)
    else:
        run_on_ray(scheduler.plan.request, resources, launcher, workers, reporter.report_changes)
    reporter.report_changes()  # those since the last call: all workers may have ended in between


class _ChangeReporter:
    """Reporter of changes in the shared database to the process that waits for the workers."""

    def __init__(self, scheduler: Scheduler, show: Callable[[], None], print_line: Callable[[str], None]) -> None:
        self._scheduler, self._show, self._print_line = scheduler, show, print_line
        self._remaining = set(scheduler.remaining)
        self._trial_counts: dict[str, int] = {}

    def report_changes(self) -> bool:
        """Report the changes since the last call. Return whether nothing is left to run."""
        scheduler = self._scheduler
        scheduler.refresh_from_database()
        for search in scheduler.searches:
            tried = search.count_trials().total
            if tried > self._trial_counts.get(search.name, 0):
                best = search.find_best_trial()
                so_far = f", best val {search.metric.format_named(best.value)}" if best is not None else ""
                dataset = search.base_request.dataset.info.name
                done = "1 configuration" if tried == 1 else f"{tried} configurations"
                self._print_line(f"{dataset}: {search.title}: {done} tried{so_far}")
            self._trial_counts[search.name] = tried
        for run in sorted(self._remaining - set(scheduler.remaining), key=str):
            why = scheduler.failed_runs.get(run)
            self._print_line(f"{run}: done" if why is None else f"{run}: failed: {why.kind}: {why.message}")
        self._remaining = set(scheduler.remaining)
        self._show()
        return not scheduler.remaining


def run_worker_processes(request: StudyRequest, resources: Resources, count: int, is_done: Callable[[], bool]) -> None:
    """Keep `count` worker processes running until `is_done()`, or until all of them have ended.

    Raises StoreError with a worker's error, or if too many workers die. No process is left running.
    """
    check_main_guard()
    previous, deaths = set(multiprocessing.active_children()), 0
    try:
        workers = {number: _start_worker(request, resources, number) for number in range(count)}
        while workers and not is_done():
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
        for process in set(multiprocessing.active_children()) - previous:
            process.join(timeout=max(0.0, end - time.monotonic()))
    finally:
        _stop_processes(set(multiprocessing.active_children()) - previous)


def _check_death(error: BaseException, what: str, deaths: int) -> None:
    """Raise StoreError for an error that would recur in the next worker or task, or after too many deaths."""
    cause = getattr(error, "cause", None) or error  # Ray wraps the error of a task
    if isinstance(cause, BenchError):
        raise StoreError(str(cause)) from None
    logging.getLogger(__name__).warning("a worker died", exc_info=error)
    if deaths > MAX_WORKER_DEATHS:
        raise StoreError(f"{what} (last error: {get_first_line(cause)}); see the log")


def _count_gpus(resources: Resources) -> int:
    """Return the number of GPUs that workers share: none if all use the CPU, or one GPU that the user numbered."""
    return torch.cuda.device_count() if resources.device == "cuda" else 0


def assign_gpus(visible: str | None, gpus: int, number: int, each: int) -> str:
    """Return CUDA_VISIBLE_DEVICES of worker `number`: `each` of the visible GPUs, round-robin."""
    names = [name.strip() for name in (visible or ",".join(map(str, range(gpus)))).split(",") if name.strip()]
    return ",".join(names[(number * each + i) % len(names)] for i in range(min(each, len(names))))


def _start_worker(request: StudyRequest, resources: Resources, number: int) -> Future[None]:
    """Start a worker in a separate process pool, so that its death does not end others, with separate GPUs if any.

    The environment is set before the start: a user's script may import torch before an initializer runs.
    """
    changed = {"OMP_NUM_THREADS": str(resources.threads)}
    if gpus := _count_gpus(resources):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        changed["CUDA_VISIBLE_DEVICES"] = assign_gpus(visible, gpus, number, resources.devices)
    previous = {name: os.environ[name] for name in changed.keys() & os.environ.keys()}
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=exit_with_parent)
    os.environ.update(changed)
    try:
        return pool.submit(_run_worker_process, request, resources)
    finally:
        for name in changed:
            del os.environ[name]
        os.environ.update(previous)
        pool.shutdown(wait=False)  # its process ends with its work


def _run_worker_process(request: StudyRequest, resources: Resources) -> None:
    """Run a worker in a pool process until nothing is left."""
    signal.signal(signal.SIGTERM, _interrupt_worker)
    try:
        run_worker(request, resources)
    except KeyboardInterrupt:
        os._exit(130)  # the pool would wait for more work
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt_worker(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt, and kill the process after SHUTDOWN_TIMEOUT: the database may be unavailable."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(SHUTDOWN_TIMEOUT)
    raise KeyboardInterrupt


def _stop_processes(processes: Collection[BaseProcess]) -> None:
    """Terminate processes, and kill those that do not end in time."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(timeout=SHUTDOWN_TIMEOUT + 5)
        if process.is_alive():
            process.kill()
            process.join()


@dataclass(frozen=True)
class TaskResources:
    """CPUs and GPUs that a task reserves."""

    cpus: int
    gpus: int

    @classmethod
    def for_resources(cls, resources: Resources) -> TaskResources:
        """Reserve a core per thread on CPUs; on GPUs a core per device and per loader process."""
        if resources.device.startswith("cuda"):
            return cls(resources.devices * (1 + resources.loaders), resources.devices)
        return cls(max(resources.threads, resources.devices), 0)

    def count_tasks(self, machines: Sequence[dict[str, float]]) -> int:
        """Return how many tasks fit on these machines at once."""
        fits = [int(machine.get("CPU", 0) // self.cpus) for machine in machines]
        if self.gpus:
            gpu_fits = [int(machine.get("GPU", 0) // self.gpus) for machine in machines]
            fits = list(map(min, fits, gpu_fits))
        return sum(fits)

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus} GPUs" if self.gpus else "")


def run_on_ray(
    request: StudyRequest, resources: Resources, launcher: str, workers: int, is_done: Callable[[], bool]
) -> None:
    """Run tasks on a Ray cluster until `is_done()`.

    The launcher `ray` starts a cluster on this machine, or joins the one at RAY_ADDRESS; `ray://HEAD:PORT` joins that
    one. `workers` over 1 limits the number of concurrent tasks. No task is left running.

    Raises ConfigError if Ray is not installed, or the cluster is unreachable or too small; StoreError with a task's
    error, or if too many tasks die.
    """
    os.environ.update(RAY_ENVIRONMENT)
    try:
        import ray
    except ImportError:
        raise ConfigError("--launcher: Ray is not installed; run `pip install 'ray[default]'`") from None
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray replaces the handler
    try:
        _connect(ray, launcher, resources)
        signal.signal(signal.SIGTERM, on_sigterm)
        resources = _adapt_resources(ray, resources)
        needs = TaskResources.for_resources(resources)
        task = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0)(_run_task)
        limit = workers if workers > 1 else None
        _submit_tasks(
            ray,
            lambda: task.remote(request, resources),
            lambda: limit or needs.count_tasks(_list_machines(ray)),
            is_done,
        )
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)


def _connect(ray: Any, launcher: str, resources: Resources) -> None:
    """Connect to a cluster, or start one on this machine. Raises ConfigError if it cannot be reached."""
    address = os.environ.get("RAY_ADDRESS") if launcher == "ray" else launcher
    logger = logging.getLogger("ray")
    logger.handlers, logger.propagate = [], True  # its messages go to the log
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": str(resources.threads), **RAY_ENVIRONMENT}},
        "log_to_driver": False,
    }
    if address in (None, "local"):
        options |= {"num_gpus": _count_gpus(resources), "object_store_memory": 80_000_000, "include_dashboard": False}
    else:
        _check_reachable(str(address))
    if not str(address).startswith("ray://"):
        options["configure_logging"] = False
    retrying = Retrying(
        retry=retry_if_exception_type(ConnectionAbortedError),
        stop=stop_after_attempt(MAX_CONNECT_ATTEMPTS),
        before_sleep=before_sleep_log(logging.getLogger(__name__), logging.WARNING, exc_info=True),
        reraise=True,
    )
    try:
        retrying(ray.init, address=address, **options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"--launcher: no Ray cluster at {address or 'this machine'} ({_get_error_reason(error)}); start one with "
            "`ray start --head`"
        ) from None


def _check_reachable(address: str) -> None:
    """Raise ConfigError within seconds if the address does not respond: Ray itself retries for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        if address == "auto":  # Ray finds the cluster on this machine
            return
        raise ConfigError(
            f"--launcher: invalid Ray address '{address}'; expected ray://HEAD:PORT, such as ray://HEAD:10001"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        hint = "`ray start --head` listens at 10001 for ray://HEAD:10001 and at 6379 for RAY_ADDRESS=HEAD:6379"
        raise ConfigError(f"--launcher: no Ray cluster at {address} ({error}); {hint}") from None


def _adapt_resources(ray: Any, resources: Resources) -> Resources:
    """Set the device to that of the cluster, unless the user chose one.

    Raises ConfigError if no machine is large enough for a run, or machines cannot share the storage.
    """
    machines = _list_machines(ray)
    if not resources.is_device_chosen:
        has_gpus = any(machine.get("GPU", 0) >= 1 for machine in machines)
        resources = replace(resources, device="cuda" if has_gpus else "cpu")
    if not TaskResources.for_resources(resources).count_tasks(machines):
        needs = TaskResources.for_resources(resources)
        raise ConfigError(f"no machine of the Ray cluster has {needs} for a run; reduce --threads or --devices")
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if make_storage_url(resources.results, resources.storage).startswith("sqlite") and hosts != {socket.gethostname()}:
        raise ConfigError("--storage: a Ray cluster on other machines needs a shared database: postgresql://...")
    return resources


def _list_machines(ray: Any) -> list[dict[str, float]]:
    """Return the resources of each machine of the cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _submit_tasks(
    ray: Any, submit: Callable[[], Any], get_limit: Callable[[], int], is_done: Callable[[], bool]
) -> None:
    """Keep up to `get_limit()` tasks running until `is_done()`; then cancel the rest."""
    tasks: list[Any] = []
    deaths, idle, next_submit = 0, False, 0.0  # deaths in a row; whether the last task found no work
    try:
        while not is_done():
            free = max(0, get_limit() - len(tasks))
            if free and (not idle or time.monotonic() >= next_submit):
                tasks += [submit() for _ in range(1 if idle else free)]
                next_submit = time.monotonic() + RETRY_INTERVAL
            if not tasks:
                time.sleep(POLL_INTERVAL)
                continue
            ended, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=POLL_INTERVAL)
            for task in ended:
                try:
                    idle, deaths = not ray.get(task), 0
                except ray.exceptions.RayError as error:
                    idle, deaths = False, deaths + 1  # the next task queues its work again
                    _check_death(error, f"{deaths} tasks in a row died", deaths)
        if tasks:  # their records are written; uploads to MLflow may be running
            ray.wait(tasks, num_returns=len(tasks), timeout=UPLOAD_TIMEOUT)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise StoreError(
            f"lost the Ray cluster ({get_first_line(error)}); run the same command again to resume"
        ) from None
    finally:
        cancel_tasks(ray, tasks)


def cancel_tasks(ray: Any, tasks: list[Any]) -> None:
    """Cancel tasks, by force after GRACE_PERIOD.

    Tasks that have ended are not cancelled: Ray 2.60 aborts this process if it cancels a task whose result it is just
    receiving ("task that was not pending").
    """

    def list_running(seconds: float) -> list[Any]:
        return ray.wait(tasks, num_returns=len(tasks), timeout=seconds)[1] if tasks else []

    with suppress(ConnectionError, ray.exceptions.RayError):
        tasks = list_running(0)
        for force in (False, True):
            for task in tasks:
                ray.cancel(task, force=force)
            tasks = list_running(GRACE_PERIOD)


def _run_task(request: StudyRequest, resources: Resources) -> bool:
    """Run one trial or planned run as a Ray task. Return whether there was one."""
    return run_worker(request, resources, once=True)


def _get_error_reason(error: Exception) -> str:
    """Return the last line if the message is a traceback (from Ray Client), otherwise the first line."""
    text = str(error).strip()
    return text.splitlines()[-1][:200] if "Traceback (most recent call last)" in text else get_first_line(error)
