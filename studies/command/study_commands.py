"""Named studies on the command line, and what they share with runs that are searched, shared out or refit."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.errors import ConfigError
from studies.command.options import (
    RESULTS,
    Data,
    Devices,
    DryRun,
    Hours,
    Interrupted,
    JsonFile,
    Launcher,
    Loaders,
    Preset,
    Pruner,
    Results,
    Retries,
    Sampler,
    Settings,
    Shard,
    StorageUrl,
    Target,
    Threads,
    Tracking,
    Trials,
    TrialSeeds,
    Weights,
    Workers,
    check_places,
    choose_device,
    choose_threads,
    parse_shard,
)

if TYPE_CHECKING:
    from studies.study import Study
    from studies.work.order import Order, Part, Place


def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of `list studies`.")] = "",
    datasets: Annotated[str, typer.Option(help="Data sets, with commas between; default: the study's own.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each arm is run with.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="First seed; validation fold = seed mod 5.")] = 0,
    tuning: Annotated[
        str, typer.Option(help="shared, per-arm, or both with a comma between; default: the study's own.")
    ] = "",
    preset: Preset = "quick",
    settings: Settings = None,
    data: Data = None,
    trials: Trials = None,
    hours: Hours = None,
    target: Target = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "auto",
    trial_seeds: TrialSeeds = 1,
    workers: Workers = 1,
    threads: Threads = None,
    devices: Devices = 1,
    shard: Shard = "1/1",
    retries: Retries = 1,
    storage: StorageUrl = None,
    launcher: Launcher = "processes",
    dry_run: DryRun = False,
    json_file: JsonFile = None,
    weights: Weights = False,
    loaders: Loaders = 0,
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Run a named study, or go on with it: what is done is skipped, what failed is tried again.

    Example: python bench.py study ablation --seeds 10 --trials 20 --workers 2
    """
    from studies.search.search import Budget, How
    from studies.work.order import Order, Place

    found = _find(name)
    console = Console()
    for line in _left_out(found, settings or []):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    parts = _parts(found, datasets, tuning, preset, data, settings or [])
    if tuning and (trials, hours, target) == (None, None, None):
        raise ConfigError(f"--tuning {tuning} wants a search: say --trials 20, or --hours, or --target")
    numbers = tuple(range(seed, seed + seeds))
    budget, how = Budget(trials, hours, target), How(sampler, pruner, trial_seeds)
    order = Order(name, parts, numbers, preset, tuple(settings or []), data, budget, how, parse_shard(shard), retries)
    order = replace(order, typed=str(context.obj or ""))
    cores = choose_threads(preset, threads, workers, devices)
    place = Place(results, tracking_uri, storage, choose_device(), devices, cores, loaders, weights)
    raise typer.Exit(run_order(console, order, place, workers, launcher, dry_run, json_file))


def run_order(
    console: Console, order: Order, place: Place, workers: int, launcher: str, dry_run: bool, json_file: Path | None
) -> int:
    """Check what an order names, and carry it out; the exit code."""
    from bench.names import look_up
    from studies.command.orders import answer_order
    from studies.queue.storage import storage_url
    from studies.search.pruners import PRUNERS
    from studies.search.samplers import SAMPLERS

    look_up(order.how.sampler, SAMPLERS, "sampler")
    look_up(order.how.pruner, dict.fromkeys(PRUNERS), "pruner")
    if launcher != "processes" and launcher.partition("://")[0] != "ray":
        raise ConfigError(f"unknown launcher '{launcher}'; known: processes, ray, ray://HEAD:PORT")
    storage_url(place.results, place.storage)
    check_places(place.results, place.tracking_uri, json_file)
    place = replace(place, results=place.results.resolve(), command=secrets.token_hex(6))
    order = replace(order, data=order.data.resolve() if order.data is not None else None)
    try:
        return answer_order(console, order, place, workers, launcher, dry_run, json_file)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the state is kept, the same command goes on where it was") from None


def _find(name: str) -> tuple[Study, ...]:
    from bench.names import look_up
    from studies.registry import STUDIES

    if not name:
        raise ConfigError(f"which study? one of {', '.join(STUDIES)}; `python bench.py list studies` tells of each")
    return look_up(name, STUDIES, "study")


def _parts(
    found: tuple[Study, ...], datasets: str, tuning: str, preset: str, data: Path | None, settings: list[str]
) -> tuple[Part, ...]:
    """What a study runs, for each of its protocols and ways of tuning. Raises ConfigError for a wrong name."""
    from bench.config import parse_overrides
    from bench.names import look_up
    from bench.requests import Tuning
    from studies.ask import check_fields, find_arm, find_dataset, refuse_twins, split_names
    from studies.study import TUNINGS
    from studies.work.order import Part

    given = parse_overrides(settings)
    check_fields([find_arm(arm) for one in found for arm in one.arms], given)
    named = split_names(datasets, "--datasets") if datasets else []
    refuse_twins([find_dataset(dataset, data) for dataset in named])
    known: dict[str, Tuning] = {way: way for way in TUNINGS}
    ways = [look_up(way, known, "tuning") for way in split_names(tuning, "--tuning")] if tuning else []
    parts = []
    for one in found:
        wanting = {arm for arm, field in one.needs if field not in given}
        for way in ways or [one.tuning]:
            for protocol in one.protocols:
                parts.append(
                    Part(
                        arms=tuple(arm for arm in one.arms if arm not in wanting),
                        datasets=tuple(named) or one.datasets,
                        folds=() if one.every_fold else None,
                        tuning=way,
                        full=one.full,
                        protocol=protocol,
                        settings=one.quick if preset == "quick" else (),
                        study=one.name,
                    )
                )
    return tuple(parts)


def _left_out(found: tuple[Study, ...], settings: list[str]) -> list[str]:
    """Arms that a study leaves out, each with the setting it wants."""
    from bench.config import parse_overrides

    given = parse_overrides(settings)
    missing = dict.fromkeys((arm, field) for one in found for arm, field in one.needs if field not in given)
    return [f"{arm} is left out: it wants --set {field}=..." for arm, field in missing]
