"""Cross-validation of mbt on acted speech, with actors left out, against a logistic regression on MFCC statistics.

`python -m tests.speech [FOLDER]` prints the table of docs/speech.md. The folder is an ordinary data set, and each fold
is one run.
"""

from __future__ import annotations

import csv
import hashlib
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.execute import RunEnvironment, RunRequest, execute
from bench.mlflow import MlflowStore
from bench.record import Record
from bench.tasks import Classification
from bench.types import Clip, ClipSources, DataIssue, Dataset, DatasetInfo, DatasetSplits, Split, SplitRequest
from datasets.prepare import PreparedClip, PrepareSpec, prepare_clips
from datasets.prepared_clips import PreparedClipSet
from datasets.rows import compute_fingerprint
from methods import METHODS

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "java_sed_audio"
FOLDS = 5
SETTINGS: dict[str, object] = {"modalities": "audio", "segments": 3, "test_segments": 3, "scale": "released"}
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression, selected on val
CARD = DatasetInfo(
    name="java-sed",
    title="Java-SED, acted Javanese speech",
    task=Classification(("neutral", "sad", "happy", "surprise", "fear", "anger"), (0, -1, 1, 1, -1, -1)),
    emotions={
        "neutral": frozenset(),
        "sad": frozenset({"sadness"}),
        "happy": frozenset({"joy"}),
        **{name: frozenset({name}) for name in ("surprise", "fear", "anger")},
    },
    language="jv",
    licence="MIT",
    cite="github.com/2black0/sound-emotion-recognition-javanese",
    obtain="see SOURCE.txt in its folder",
    unreached=("neutral",),
)


class Titles:
    """Progress reporter that prints titles and notices on stderr; the table goes to stdout."""

    def start_run(self, title: str) -> None:
        print(title, file=sys.stderr, flush=True)

    def report_progress(self, what: str, done: int, total: int) -> None:
        pass

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float], metric: Any = None) -> None:
        pass

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        pass

    def notify(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def speech(folder: Path) -> Dataset:
    """Make the folder a data set; a request's seed selects two test actors, and the next two are for val."""
    return Dataset(CARD, lambda request: _load(folder, request))


def _load(folder: Path, request: SplitRequest) -> DatasetSplits:
    spec = PrepareSpec.for_size(request.size, request.mels)
    place = request.cache / "prepared" / CARD.name
    clips = split(folder, request.seed % FOLDS)
    found = {name: prepare_clips(part, spec, place, request.report_progress) for name, part in clips.items()}
    items = [item for part in found.values() for item in part]
    sets = {name: _clip_set(part) for name, part in found.items()}
    return DatasetSplits(
        CARD,
        **sets,
        fingerprint=compute_fingerprint({name: part.clips for name, part in sets.items()}, CARD),
        content_hash=_content(items, spec),
        issues=tuple(problem for item in items for problem in item.issues),
    )


def _clip_set(items: Sequence[PreparedClip]) -> PreparedClipSet:
    usable = [(item.clip, item.path) for item in items if item.path is not None]
    return PreparedClipSet(tuple(clip for clip, _ in usable), tuple(path for _, path in usable))


def _content(items: Sequence[PreparedClip], spec: PrepareSpec) -> str:
    rows = sorted(f"{item.clip.key}\t{item.content}" for item in items if item.path is not None)
    return hashlib.sha256("\n".join([spec.folder_name, *rows]).encode()).hexdigest()


def split(folder: Path, fold: int) -> dict[str, list[Clip]]:
    """Split clips by actor: actors 2 fold + 1 and 2 fold + 2 are for test, the next two for val, the rest for train."""
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    actors = sorted({row["group"] for row in rows})
    part = {actor: {fold: "test", (fold + 1) % FOLDS: "val"}.get(i // 2, "train") for i, actor in enumerate(actors)}
    found: dict[str, list[Clip]] = {"train": [], "val": [], "test": []}
    for row in rows:
        name, label = part[row["group"]], CARD.classes.index(row["label"])
        files = ClipSources(audio=folder / row["audio"])
        listed: Split = "test" if name == "test" else "train"
        found[name].append(Clip(f"{row['label']}/{row['clip']}", label, listed, row["group"], files))
    return found


def statistics_of(path: Path) -> np.ndarray:
    """Return the (80,) means and deviations over time of 20 MFCCs and of their deltas."""
    import torch
    from torchaudio.compliance.kaldi import mfcc
    from torchaudio.functional import compute_deltas

    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        samples = np.concatenate([p.to_ndarray()[0] for f in container.decode(audio=0) for p in resampler.resample(f)])
    found = mfcc(torch.from_numpy(samples)[None], sample_frequency=rate, num_ceps=20, num_mel_bins=40, dither=0.0)
    deltas = compute_deltas(found.T).T
    return torch.cat([part for x in (found, deltas) for part in (x.mean(0), x.std(0))]).numpy()


def table(clips: Sequence[Clip], known: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistics, (n, 80), and the labels, (n,), of clips."""
    return np.stack([known[clip.key] for clip in clips]), np.array([clip.target for clip in clips])


def logistic(clips: Mapping[str, Sequence[Clip]], known: Mapping[str, np.ndarray]) -> tuple[float, float, float]:
    """Fit a logistic regression on the same split; return its C, selected on val, and its accuracy on val and test."""
    train, val, test = (table(clips[name], known) for name in ("train", "val", "test"))
    fitted = [
        (strength, make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(*train))
        for strength in STRENGTHS
    ]
    strength, best = max(fitted, key=lambda pair: pair[1].score(*val))
    return strength, best.score(*val), best.score(*test)


def run(folder: Path, results: Path, fold: int, method: str, **values: object) -> Record:
    """Execute one fold of a method as a run on one thread; raise RuntimeError if it fails."""
    entry = METHODS[method]
    config = entry.config.from_preset("quick").override(values)
    environment = RunEnvironment(results, MlflowStore(results), Titles(), lambda *_: [], threads=1, keep_weights=False)
    record = execute(RunRequest(method, entry, config, "quick", speech(folder), fold), environment).record
    if record.error is not None:
        raise RuntimeError(record.error.traceback)
    return record


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Return the mean of paired differences and its 95 % interval by Student's t."""
    mean, count = statistics.mean(differences), len(differences)
    half = float(student.ppf(0.975, count - 1)) * statistics.stdev(differences) / count**0.5
    return mean, mean - half, mean + half


def describe(folder: Path) -> dict[str, np.ndarray]:
    """Return clip key -> MFCC statistics."""
    clips = [clip for part in split(folder, 0).values() for clip in part]
    return {clip.key: statistics_of(clip.sources.audio) for clip in clips if clip.sources.audio is not None}


def measure(folder: Path, results: Path) -> dict[str, list[float]]:
    """Print one row per fold; return the test accuracies in percent by column."""
    known = describe(folder)
    found: dict[str, list[float]] = {name: [] for name in ("most frequent", "majority", "logistic", "mbt")}
    print(
        "| fold | test actors | clips | most frequent | `majority` | logistic regression | `mbt` | val: LR (C), `mbt` |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for fold in range(FOLDS):
        clips = split(folder, fold)
        counts = Counter(clip.target for clip in clips["test"])
        strength, on_val, on_test = logistic(clips, known)
        mbt, majority = run(folder, results, fold, "mbt", **SETTINGS), run(folder, results, fold, "majority")
        row = max(counts.values()) / counts.total(), majority.scores["test/acc_e"], on_test, mbt.scores["test/acc_e"]
        for values, value in zip(found.values(), row, strict=True):
            values.append(100 * (value or 0.0))
        actors = ", ".join(sorted({clip.group.removeprefix("actor") for clip in clips["test"]}))
        cells = " | ".join(f"{values[-1]:.1f}" for values in found.values())
        val = f"{100 * on_val:.1f} ({strength:g}), {100 * (mbt.scores['val/acc_e'] or 0.0):.1f}"
        print(f"| {fold} | {actors} | {counts.total()} | {cells} | {val} |", flush=True)
    return found


def main(folder: Path) -> None:
    """Print the table, its means and the paired differences."""
    if not (folder / "manifest.csv").is_file():
        raise SystemExit(
            f"no manifest.csv in {folder}; give the folder of the speech clips: python -m tests.speech FOLDER"
        )
    with tempfile.TemporaryDirectory() as results:
        found = measure(folder, Path(results))
    means = " | ".join(f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f}" for v in found.values())
    print(f"| mean ± sd | | | {means} | |\n")
    for other in ("logistic", "most frequent"):
        differences = [a - b for a, b in zip(found["mbt"], found[other], strict=True)]
        mean, low, high = interval(differences)
        each = ", ".join(f"{value:+.1f}" for value in differences)
        print(f"mbt - {other}: {mean:+.1f}, 95 % interval {low:+.1f} to {high:+.1f}; by fold {each}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
