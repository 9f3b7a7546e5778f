"""The implementation details of a paper, written from what the runs were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reports.results.mixtures import SHORT
from reports.results.pools import datasets_of
from reports.results.run import Run
from reports.results.searched import Summary
from reports.tables.columns import only_fold
from reports.tables.costs import HOUR
from reports.tables.rounding import quantity

EPOCHS = {
    "clean": "Epochs were chosen on a validation fold; each run scored the test list once, after training.",
    "refit": "Runs marked as refit trained on the validation fold too, for as many epochs as others had chosen on it.",
    "best-on-test": "Those marked EPOCH CHOSEN ON TEST had it chosen on the test list instead.",
}
"""Protocol -> what a paper has to say of it."""


def details(runs: Sequence[Run], searches: Sequence[Summary], full: str) -> tuple[str, ...]:
    """Paragraphs: data and protocol, training, searches, machines and code. Numbers are those of finished runs."""
    good = [run for run in runs if not run.failed]
    if not good:
        return ("No run is finished.",)
    paragraphs = [_data(good), _training(good, full), _searches(searches), _making(good, len(runs) - len(good))]
    return tuple(text for text in paragraphs if text)


def _data(runs: Sequence[Run]) -> str:
    told = []
    for name, title in datasets_of(runs).items():
        here = [run for run in runs if run.record.spec.dataset == name]
        trained = _range(run.record.notes.get("clips/train") for run in here)
        tested = _range(run.record.scores.get("test/n") for run in here)
        folds = len({run.record.spec.fold for run in here})
        sizes = f"{f'{trained} clips for training and ' if trained else ''}{tested} for test"
        told.append(
            f"{title} ({sizes}{f', {folds} folds' if folds > 1 else ''.join(f', {text}' for text in only_fold(here))})"
        )
    sample = " The data are the built-in sample, not the real data set." if any(_sample(run) for run in runs) else ""
    seeds = sorted({run.record.spec.seed for run in runs})
    count = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})" if len(seeds) > 1 else f"one seed ({seeds[0]})"
    each: dict[str, set[int]] = {}
    for run in runs:
        each.setdefault(f"{run.label} {run.record.spec.dataset} {run.record.spec.fold}", set()).add(
            run.record.spec.seed
        )
    whole = all(len(of) == len(seeds) for of in each.values())
    ran = "Every method was run with" if whole else "Methods were run with up to"
    return f"We used {'; '.join(told)}.{sample} {ran} {count}. {_epochs(runs)}"


def _epochs(runs: Sequence[Run]) -> str:
    """What chose epochs, for each protocol that is there."""
    there = {run.record.spec.protocol for run in runs}
    return " ".join(text for protocol, text in EPOCHS.items() if protocol in there)


def _sample(run: Run) -> bool:
    return run.record.spec.data == "sample"


def _training(runs: Sequence[Run], full: str) -> str:
    """The values of the full method, or of the first that has any."""
    arms = [full, *(run.arm for run in runs if _list_shown_fields(run)), runs[0].arm]
    mine = next(found for arm in arms if (found := [run for run in runs if run.arm == arm]))
    configs = [run.record.spec.config for run in mine]
    known = dict.fromkeys(name for run in mine for name in _list_shown_fields(run))
    values = [f"{name} {_values(config.get(name) for config in configs)}" for name in known]
    presets = _values(run.record.preset for run in runs)
    weights = sorted({f"{name} {sha[:SHORT]}" for run in runs for name, sha in run.record.spec.weights.items()})
    files = f" Files (sha256): {', '.join(weights)}." if weights else " No published weights were loaded."
    return f"Preset {presets}; {mine[0].arm}: {', '.join(values) or 'no values to tell of'}.{files}"


def _list_shown_fields(run: Run) -> list[str]:
    """The fields of a run's config that its method wants named."""
    return [name for name in run.method.shown_fields if name in run.record.spec.config]


def _searches(searches: Sequence[Summary]) -> str:
    if not searches:
        return "No values were searched."
    tried = _range(float(search.tried) for search in searches)
    samplers = _values(search.sampler for search in searches)
    pruners = _values(search.pruner for search in searches)
    several = "searches" if len(searches) > 1 else "search"
    return (
        f"Values were searched on validation folds alone ({len(searches)} {several} of {tried} configurations, sampler "
        f"{samplers}, pruner {pruners}); the winners were run anew with other seeds."
    )


def _making(runs: Sequence[Run], failed: int) -> str:
    def facts(of: Callable[[Run], object]) -> str:
        return _values(str(of(run)) for run in runs)

    spent = sum(sum(run.record.seconds.values()) for run in runs) / HOUR
    lost = f" {failed} {'runs' if failed > 1 else 'run'} failed: counted, not averaged." if failed else ""
    commits = facts(lambda run: str(run.record.provenance.get("commit", "unknown"))[:SHORT])
    torch = facts(lambda run: run.record.provenance.get("torch", "unknown"))
    device = facts(lambda run: run.record.provenance.get("device", "unknown"))
    processor = facts(lambda run: run.record.provenance.get("processor", "unknown"))
    which = "The finished run" if len(runs) == 1 else f"The {len(runs)} finished runs"
    dirty = sum(bool(run.record.provenance.get("dirty")) for run in runs)
    changed = f" with changes that were not committed ({dirty} of {len(runs)} runs)" if dirty else ""
    made = f"on {device} ({processor}), with PyTorch {torch}, at commit {commits}{changed}"
    return f"{which} took {quantity(spent)} hours in all {made}.{lost}"


def _values(found: Iterable[object]) -> str:
    return " / ".join(dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in found))


def _range(found: Iterable[float | None]) -> str:
    known = sorted({value for value in found if value is not None})
    if not known:
        return ""
    return f"{known[0]:,.0f}" if len(known) == 1 else f"{known[0]:,.0f} to {known[-1]:,.0f}"
