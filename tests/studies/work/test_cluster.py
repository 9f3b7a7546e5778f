"""Tests with a Ray cluster of two simulated machines: work is shared and survives failures, and no process is left."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest

from bench.errors import ConfigError
from datasets.catalog.ekman6 import INFO
from studies import launchers as cluster
from studies.launchers import TaskResources, cancel_tasks, run_on_ray
from studies.plan import Resources, StudyRequest
from studies.scheduler import RUNS_STUDY
from studies.storage import PROCESS_ATTR
from tests.datasets.trees import write_tree
from tests.studies.work.commands import (
    MARK,
    Command,
    check_runs,
    check_search,
    records,
    trials_of,
    wait_for,
)
from tests.studies.work.commands import commands as commands

SLOW = ("--method", "toy", "--dataset", "toy", "--set", "epochs=4", "--set", "pause=0.05", "--threads", "1")
SMALL = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000}


class Machines:
    """A cluster of a head that also serves Ray Client, and a second machine, shared by tests."""

    def __init__(self) -> None:
        self._cluster: Any = None
        self._second: Any = None
        self._mark, self._port = "", 0

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def client(self) -> str:
        return f"ray://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the machines that are not running; the head takes 5 s."""
        if self._cluster is None:
            from ray.cluster_utils import Cluster

            self._mark, self._port, self._cluster = uuid4().hex, free_port(), Cluster()
            self._add(include_dashboard=False, ray_client_server_port=self._port)
        if self._second is None:
            self._second = self._add()

    def lose_second(self) -> None:
        """Kill the second machine."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def end(self) -> None:
        """Stop both machines, and check that no process is left."""
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = self._second = None
            wait_for(lambda: not find_marked(self._mark), seconds=30)

    def _add(self, **how: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(MARK, self._mark)
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            patch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")  # or the Ray Client server may hang: see docs/clusters.md
            return self._cluster.add_node(**SMALL, **how)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toys in Ray's workers."""
    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", f"{__name__}.with_toys")


@pytest.fixture(scope="module")
def shared_machines() -> Iterator[Machines]:
    made = Machines()
    yield made
    made.end()


@pytest.fixture
def machines(shared_machines: Machines, monkeypatch: pytest.MonkeyPatch, toys: None) -> Machines:
    """Provide two machines that `--launcher ray` finds, reusing those of the previous test."""
    shared_machines.start()
    monkeypatch.setenv("RAY_ADDRESS", shared_machines.address)
    return shared_machines


@pytest.fixture
def no_machines(shared_machines: Machines) -> None:
    """Stop the cluster, which a command that starts one might join."""
    shared_machines.end()


def with_toys(env: dict[str, Any] | None) -> dict[str, Any]:
    """Add the worker setup hook to the runtime environment of a command (called by Ray)."""
    return {**(env or {}), "worker_process_setup_hook": f"{__name__}.register_toys"}


def register_toys() -> None:
    """Register the toys in a new worker (called by Ray)."""
    import tests.toy_bench  # noqa: F401


def find_marked(mark: str) -> list[psutil.Process]:
    """Return the running processes with this mark."""
    found = []
    for process in psutil.process_iter():
        try:
            found += [process] if process.environ().get(MARK) == mark else []
        except psutil.Error:
            continue
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_busy_machines(results: Path) -> set[int]:
    """Return the machines (parent processes of workers) that currently run something."""
    time.sleep(0.3)
    if not (results / "optuna.db").exists():
        return set()
    running = [trial for trials in trials_of(results).values() for trial in trials if trial.state.name == "RUNNING"]
    found = set()
    for trial in running:
        try:
            found.add(psutil.Process(int(trial.user_attrs[PROCESS_ATTR].partition(":")[0])).ppid())
        except (KeyError, psutil.NoSuchProcess):
            continue
    return found


def wait_for_both(command: Command, results: Path) -> None:
    wait_for(lambda: len(find_busy_machines(results)) == 2, command)


@pytest.mark.slow
def test_two_machines_share_a_search_and_execute_every_trial_and_run_once(commands, machines, results):
    command = commands.start(results, *SLOW, "--seeds", "4", "--trials", "4", "--launcher", "ray")
    wait_for_both(command, results)
    output = command.ends()
    check_search(results, 4)
    check_runs(results, 4)
    assert "ray" not in output.lower(), output


@pytest.mark.slow
def test_the_work_of_a_dead_machine_is_done_by_the_other(commands, machines, results):
    command = commands.start(results, *SLOW, "--seeds", "5", "--launcher", "ray")
    wait_for_both(command, results)
    machines.lose_second()
    assert "ray" not in command.ends().lower()
    check_runs(results, 5)
    states = [trial.state.name for trial in trials_of(results)[RUNS_STUDY]]
    assert states.count("FAIL") == 1 and states.count("COMPLETE") == 5


@pytest.mark.slow
def test_a_cluster_is_reached_through_ray_client_too(commands, machines, results, tmp_path_factory):
    data = write_tree(tmp_path_factory.mktemp("data"), INFO, 5, 1, layout="video", seconds=0.1)
    words = ("--method", "majority", "--dataset", "ekman6", "--data", str(data), "--seeds", "2", "--threads", "1")
    output = commands.start(results, *words, "--launcher", machines.client).ends()
    check_runs(results, 2)
    assert "ray" not in output.lower(), output


@pytest.mark.slow
def test_an_interrupted_command_releases_its_work_and_the_cluster_keeps_running(commands, machines, results):
    command = commands.start(results, *SLOW, "--seeds", "4", "--launcher", "ray")
    wait_for_both(command, results)
    command.process.send_signal(signal.SIGINT)
    assert "interrupted" in command.ends(130)
    assert all(trial.state.is_finished() for trial in trials_of(results)[RUNS_STUDY])
    commands.start(results, *SLOW, "--seeds", "4", "--launcher", "ray").ends()
    check_runs(results, 4)


@pytest.mark.slow
def test_a_run_that_fits_on_no_machine_is_refused_in_one_line(commands, machines, results):
    output = commands.start(results, *SLOW, "--threads", "7", "--launcher", "ray").ends(2)
    assert "error: no machine of the Ray cluster has 7 CPUs" in output
    assert not records(results)


@pytest.mark.slow
def test_the_cluster_that_a_command_starts_ends_with_it(commands, toys, no_machines, results):
    command = commands.start(results, *SLOW, "--seeds", "4", "--launcher", "ray")
    wait_for(lambda: find_busy_machines(results), command)
    command.process.send_signal(signal.SIGTERM)
    command.ends(130)


@pytest.mark.parametrize("launcher", ["ray://127.0.0.1:9", "ray://127.0.0.1:99999", "ray://nowhere"])
def test_an_invalid_address_is_reported_in_one_line_within_seconds(launcher, tmp_path):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=launcher) as error:
        run_on_ray(StudyRequest("", (), ()), Resources(tmp_path), launcher, 1, lambda: True)
    assert time.monotonic() - began < 30  # Ray itself retries for a minute
    assert "\n" not in str(error.value)


HANGS = ConnectionAbortedError(
    "Initialization failure from server:\nTraceback (most recent call last):\n  File ...\n"
    "RuntimeError: Starting Ray client server failed."
)
OTHER_VERSION = RuntimeError("Version mismatch: the cluster was started with another Python\nmore of it")


@pytest.mark.parametrize(
    ("answers", "attempts", "message"),
    [
        ([HANGS, HANGS, None], 3, None),
        (
            [HANGS, HANGS, HANGS],
            3,
            r"ray://head:10001 \(RuntimeError: Starting Ray client server failed\.\); start one",
        ),
        (
            [OTHER_VERSION],
            1,
            r"ray://head:10001 \(Version mismatch: .* another Python\); start one",
        ),
    ],
)
def test_only_a_client_server_that_did_not_start_is_retried(answers, attempts, message, tmp_path, monkeypatch):
    addresses = []

    def init(address, **options):
        addresses.append(address)
        if answer := answers[len(addresses) - 1]:
            raise answer

    monkeypatch.setattr(cluster, "_check_reachable", lambda address: None)
    ray = SimpleNamespace(init=init)
    with pytest.raises(ConfigError, match=message) if message else nullcontext():
        cluster._connect(ray, "ray://head:10001", Resources(tmp_path))
    assert len(addresses) == attempts


def test_without_ray_one_line_shows_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="pip install"):
        run_on_ray(StudyRequest("", (), ()), Resources(tmp_path), "ray", 1, lambda: True)


def test_only_running_tasks_are_cancelled_and_forced_only_if_they_do_not_end():
    """Cancel only running tasks: Ray aborts a process that cancels a task whose result just arrived."""
    ended, cancelled = {"done"}, []

    def cancel(task, force):
        cancelled.append((task, force))
        ended.add(task if task == "obeys" or force else "done")

    ray = SimpleNamespace(
        wait=lambda tasks, num_returns, timeout: ([], [task for task in tasks if task not in ended]),
        cancel=cancel,
        exceptions=SimpleNamespace(RayError=OSError),
    )
    cancel_tasks(ray, ["done", "obeys", "hangs"])
    assert cancelled == [("obeys", False), ("hangs", False), ("hangs", True)]


def test_a_task_reserves_cores_for_its_threads_and_gpus_for_its_devices():
    cpu, gpu = Resources(Path(), threads=2), Resources(Path(), device="cuda", devices=2, threads=16, loaders=1)
    machines = [{"CPU": 5.0}, {"CPU": 16.0, "GPU": 8.0}, {"CPU": 64.0, "GPU": 5.0}]
    assert (TaskResources.for_resources(cpu), TaskResources.for_resources(gpu)) == (
        TaskResources(2, 0),
        TaskResources(4, 2),
    )
    assert TaskResources.for_resources(cpu).count_tasks(machines) == 2 + 8 + 32
    assert TaskResources.for_resources(gpu).count_tasks(machines) == 0 + 4 + 2


@pytest.mark.parametrize(
    ("device", "is_chosen", "expected"), [("cpu", False, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")]
)
def test_the_device_of_a_cluster_is_used_unless_the_user_named_one(device, is_chosen, expected, tmp_path):
    machine = {"NodeManagerHostname": socket.gethostname(), "Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    resources = Resources(tmp_path, device=device, is_device_chosen=is_chosen)
    assert cluster._adapt_resources(SimpleNamespace(nodes=lambda: [machine]), resources).device == expected


@pytest.mark.parametrize(("device", "assigned"), [("cuda", {"0", "1"}), ("cuda:1", {None}), ("cpu", {None})])
def test_workers_share_the_gpus_or_all_use_the_numbered_one(device, assigned, tmp_path, monkeypatch):
    visible = []
    pool = SimpleNamespace(
        submit=lambda *given: visible.append(os.environ.get("CUDA_VISIBLE_DEVICES")), shutdown=lambda wait: None
    )
    monkeypatch.setattr(cluster, "ProcessPoolExecutor", lambda *given, **more: pool)
    monkeypatch.setattr(cluster.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for number in range(2):
        cluster._start_worker(StudyRequest("", (), (0,)), Resources(tmp_path, device=device), number)
    assert set(visible) == assigned
