"""Optuna's pictures of a search: how the best grew, which values mattered, what was tried, and when."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import whole

if TYPE_CHECKING:
    from optuna import Study

PLOTS = {
    "history.png": "plot_optimization_history",
    "curves.png": "plot_intermediate_values",
    "importances.png": "plot_param_importances",
    "parallel.png": "plot_parallel_coordinate",
    "slices.png": "plot_slice",
    "timeline.png": "plot_timeline",
}
_log = logging.getLogger(__name__)


def draw_search(study: Study, folder: Path, title: str) -> list[Path]:
    """Draw what can be drawn of a search into a folder; the pictures. Some want more trials than there are."""
    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as drawing

    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, plot in PLOTS.items():
            try:
                _save(getattr(drawing, plot)(study), folder / name, title)
                made.append(folder / name)
            except Exception as error:  # a picture is not worth the tables that come after it
                _log.warning("no %s: %s", name, error)
    return made


def _save(axes: Any, path: Path, title: str) -> None:
    """Write a picture whole, headed by what it is of."""
    from matplotlib import pyplot

    figure = axes.figure if hasattr(axes, "figure") else axes.flat[0].figure
    figure.suptitle(title, fontsize=10, y=1.04)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
    pyplot.close(figure)
