"""Publish the results of a search: summary file, figures and MLflow run."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from optuna import Study
from optuna.visualization import matplotlib as drawing

from bench.errors import StoreError
from bench.files import atomic_path, atomic_write, parse_json
from bench.record import RunFolder, is_run_key, lock_folder
from bench.tracker import ExperimentTracker, ParentStatus
from reports.runs import SUMMARY_FILE
from studies.search import BestTrial, HyperparameterSearch, TrialCounts

FIGURES = {
    "history.png": "plot_optimization_history",
    "curves.png": "plot_intermediate_values",
    "importances.png": "plot_param_importances",
    "parallel.png": "plot_parallel_coordinate",
    "slices.png": "plot_slice",
    "timeline.png": "plot_timeline",
}
_log = logging.getLogger(__name__)


def start_search_run(search: HyperparameterSearch, store: ExperimentTracker) -> None:
    """Start the parent MLflow run of a search's trials."""
    params = {
        "search": search.name,
        "sampler": search.options.sampler,
        "pruner": search.options.pruner,
        "runs of a trial": search.options.seeds,
        **{f"range of {name}": _format_range(limits) for name, limits in search.ranges.items()},
    }
    store.start_parent_run(search.spec.dataset, search.spec.data, search.title, params)


def publish_search(search: HyperparameterSearch, store: ExperimentTracker) -> None:
    """Write the summary and figures of a search and finish its MLflow run. Do nothing if all are up to date."""
    if search.is_imported:
        return
    folder = get_search_folder(store.results, search)
    with lock_folder(folder, lambda: None):
        _publish_search(search, store, folder)


def _publish_search(search: HyperparameterSearch, store: ExperimentTracker, folder: Path) -> None:
    summary = _make_summary(search)
    known = json.loads((folder / SUMMARY_FILE).read_text()) if (folder / SUMMARY_FILE).exists() else {}
    if known == {**summary, "published": True}:
        return
    sample = " (BUILT-IN SAMPLE)" if search.spec.data == "sample" else ""
    title = f"{search.title} on {search.base_request.dataset.info.title}{sample}: val {search.metric.title}"
    figures = draw_search(search.study, folder, title)
    _write_summary(folder, summary, published=False)
    winner, tried = search.find_best_trial(), search.count_trials()
    status: ParentStatus = "FAILED" if winner is None else "FINISHED" if search.is_over() else "KILLED"
    metrics = {f"tried/{name}": float(count) for name, count in vars(tried).items()}
    tags = {"bench.search": search.name}
    if winner is not None:
        metrics[f"best/val/{search.metric.name}"] = winner.value
        tags |= {f"bench.winner.{name}": str(value) for name, value in winner.params.items()}
        before = {key for key in (known.get("winner") or {}).get("keys", []) if is_run_key(key)}
        for key in [*(before - set(winner.keys)), *winner.keys]:
            tag = {"bench.winner": "true" if key in winner.keys else "false"}
            store.tag_run(RunFolder(store.results / "runs" / key), tag)
    files = [*figures, folder / SUMMARY_FILE]
    store.finish_parent_run(search.spec.dataset, search.spec.data, search.title, status, metrics, files, tags)
    if store.unavailable_reason is None:
        _write_summary(folder, summary, published=True)


def import_summary(search: HyperparameterSearch, results: Path) -> None:
    """Use the result of another machine's search if its summary was copied here.

    Raises StoreError if the summary cannot be read.
    """
    path = get_search_folder(results, search) / SUMMARY_FILE
    if not path.exists():
        return
    try:
        found = parse_json(path.read_text())
        winner = BestTrial(**found["winner"]) if found["winner"] is not None else None
        search.import_result(winner, TrialCounts(**found["tried"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a valid search summary ({type(error).__name__}); move the file away") from None


def get_search_folder(results: Path, search: HyperparameterSearch) -> Path:
    """Return the folder of a search's summary and figures."""
    return results / "searches" / search.digest


def _make_summary(search: HyperparameterSearch) -> dict[str, Any]:
    winner = search.find_best_trial()
    found = {
        "name": search.name,
        "arm": search.base_request.arm,
        "dataset": search.spec.dataset,
        "data": search.spec.data,
        "fold": search.base_request.fold,
        "metric": vars(search.metric),
        "preset": search.base_request.preset,
        "sampler": search.options.sampler,
        "pruner": search.options.pruner,
        "seeds": search.options.seeds,
        "ranges": {name: _format_range(limits) for name, limits in search.ranges.items()},
        "base": search.spec.config,
        "weights": search.spec.weights,
        "version": search.spec.version,
        "tried": vars(search.count_trials()),
        "trials": search.trial_history(),
        "winner": vars(winner) if winner is not None else None,
        "failures": search.list_failures(),
    }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _format_range(search: Any) -> list[Any]:
    return list(search.choices) or [search.low, search.high, "log" if search.log else "linear"]


def _write_summary(folder: Path, summary: dict[str, Any], published: bool) -> None:
    atomic_write(folder / SUMMARY_FILE, (json.dumps({**summary, "published": published}, indent=1) + "\n").encode())


def draw_search(study: Study, folder: Path, title: str) -> list[Path]:
    """Draw the figures of a search into a folder and return their paths. Figures that need more trials are skipped."""
    matplotlib.use("Agg")
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, plot in FIGURES.items():
            try:
                _save_figure(getattr(drawing, plot)(study), folder / name, title)
                made.append(folder / name)
            except Exception as error:  # a missing figure must not prevent the tables
                _log.warning("no %s: %s", name, error)
    return made


def _save_figure(axes: Any, path: Path, title: str) -> None:
    """Write a figure atomically, under a title."""
    figure = axes.figure if hasattr(axes, "figure") else axes.flat[0].figure
    figure.suptitle(title, fontsize=10, y=1.04)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
    pyplot.close(figure)
