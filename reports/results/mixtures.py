"""What runs that stand in one report do not have in common, and every reader has to be told of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.results.run import Run, opened

SHORT = 8  # signs of a hash
SAMPLE = "BUILT-IN SAMPLE: drawn clips, not the real data set. These numbers say nothing about real videos."
ON_TEST = "EPOCH CHOSEN ON TEST: lines so named let the test list choose the epoch; their scores are too high."
SCRATCH = "FROM SCRATCH: of the paper's sizes, but trained without published weights."


def mixtures(runs: Sequence[Run]) -> tuple[str, ...]:
    """One sentence for each thing that is mixed or marked: data, protocol, weights, presets, commits, splits."""
    runs = list({run.record.key: run for run in reversed(runs)}.values())[::-1]  # a run may stand on two lines
    told = [SAMPLE] if any(run.record.spec.data == "sample" for run in runs) else []
    told += [ON_TEST] if any(run.record.spec.protocol == "best-on-test" for run in runs) else []
    scratch = [run for run in runs if is_scratch(run)]
    told += [f"{SCRATCH[:-1]} ({_labels(scratch)})."] if scratch else []
    told += _mixed(runs, "presets", lambda run: run.record.preset)
    told += _mixed(runs, "commits", lambda run: str(run.record.provenance.get("commit", "unknown"))[:SHORT])
    told += _mixed(runs, "versions of torch", lambda run: str(run.record.provenance.get("torch", "unknown")))
    dirty = [run for run in runs if run.record.provenance.get("dirty")]
    if dirty:
        were = "was" if len(dirty) == 1 else "were"
        told.append(
            f"{len(dirty)} of {len(runs)} runs {were} made by code that differs from its commit ({_labels(dirty)})."
        )
    return (*told, *_splits(runs))


def is_scratch(run: Run) -> bool:
    """Whether a run of the paper's sizes started from no published weights."""
    return run.record.preset == "paper" and run.from_scratch


def _mixed(runs: Sequence[Run], what: str, of: Callable[[Run], str]) -> list[str]:
    """Which value each line's runs have, where there are several."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(of(run), []).append(run)
    if len(found) < 2:
        return []
    parts = [
        f"{value} ({_labels(group)}: {len(group)} {'runs' if len(group) > 1 else 'run'})"
        for value, group in found.items()
    ]
    return [f"MIXED {what}: {', '.join(parts)}."]


def _splits(runs: Sequence[Run]) -> list[str]:
    """Data sets whose runs of one fold and seed had other clips, or whose runs of one fold had other content."""
    told = []
    for what in ("split", "content"):
        found: dict[tuple[object, ...], dict[str, list[Run]]] = {}
        for run in runs:
            spec = run.record.spec
            within = (spec.fold, *((spec.seed,) if what == "split" else opened(spec)))
            found.setdefault((spec.dataset, spec.data, *within), {}).setdefault(getattr(spec, what), []).append(run)
        mixed: dict[str, dict[str, list[Run]]] = {}
        for place, of in found.items():
            if len(of) > 1:
                for hashed, group in of.items():
                    mixed.setdefault(str(place[0]), {}).setdefault(hashed, []).extend(group)
        for dataset, groups in mixed.items():
            parts = [
                f"{hashed[:SHORT]} ({_labels(group)}: {len(group)} {'runs' if len(group) > 1 else 'run'})"
                for hashed, group in groups.items()
            ]
            title = next(run.card.title for run in runs if run.record.spec.dataset == dataset)
            end = "; runs of different splits are not compared" if what == "split" else ""
            told.append(f"MIXED fingerprints of {what} on {title}: {', '.join(parts)}{end}.")
    return told


def _labels(runs: Sequence[Run]) -> str:
    labels = list(dict.fromkeys(run.label for run in runs))
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
