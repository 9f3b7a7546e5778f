"""Trials and cells handed to a Ray cluster as tasks with their CPU and GPU needs. Which piece of work a task does, it
learns from the shared storage when it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from bench.errors import ConfigError
from bench.provenance import ROOT
from studies.work.order import Order, Place

MOST = 64  # tasks that wait or run at once


def run_on_ray(order: Order, place: Place, launcher: str, workers: int, look: Callable[[], bool]) -> None:
    """Keep a cluster busy until `look` says that nothing is left. `ray` starts one on this machine (or joins the one
    that RAY_ADDRESS names), `ray://HEAD:PORT` joins another. `workers` over 1 bounds how many tasks run at once.

    Raises ConfigError where Ray is not installed or the cluster is not reached.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--launcher ray wants Ray: pip install 'ray[default]'") from None
    address = os.environ.get("RAY_ADDRESS") if launcher == "ray" else launcher
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(place.threads)}},
            include_dashboard=None if address else False,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        raise ConfigError(f"no Ray cluster at {launcher} ({str(error).splitlines()[0]})") from None
    gpus = place.devices if place.device == "cuda" else 0
    task = ray.remote(num_cpus=place.threads * place.devices, num_gpus=gpus, max_retries=0)(_one)
    _feed(ray, lambda: task.remote(order, place), workers if workers > 1 else MOST, look)


def _feed(ray: Any, submit: Callable[[], Any], most: int, look: Callable[[], bool]) -> None:
    """Submit tasks while there is work that nobody has; on the way out, end those that still run."""
    tasks: list[Any] = []
    idle = False  # the last task that ended found nothing to do
    try:
        while not look():
            if not tasks or (not idle and len(tasks) < most):
                tasks += [submit() for _ in range(min(max(1, len(tasks)), most - len(tasks)))]
            ended, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=1.0)
            for one in ended:
                try:
                    idle = not ray.get(one)
                except ray.exceptions.RayError:
                    idle = False  # a task or its node died: what it had is queued again
            if idle:
                time.sleep(0.5)
    finally:
        for one in tasks:
            ray.cancel(one, force=True)
        ray.shutdown()


def _one(order: Order, place: Place) -> bool:
    """A task: one trial or cell; whether there was one."""
    from studies.work.desk import take_part

    return take_part(order, place, once=True)
