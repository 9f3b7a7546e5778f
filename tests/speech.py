"""Learning from real acted speech, actors left out: mbt beside a logistic regression on MFCC statistics.

`python -m tests.speech [FOLDER]` prints the table of docs/speech.md. Nothing of the program is bent for it: the folder
becomes a data set like any other, and each fold is one run.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.data import Card, Clip, Corpus, Dataset, Files, Problem, Request
from bench.execute import Ask, Desk, execute
from bench.record import Record
from bench.store import Store
from datasets.opening import PreparedClips
from datasets.prepared import Form, Prepared, prepare
from datasets.splits import fingerprint
from methods.registry import METHODS

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "java_sed_audio"
FOLDS = 5
SETTINGS: dict[str, object] = {"modalities": "audio"}
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression, chosen on val
CARD = Card(
    name="java-sed",
    title="Java-SED, acted Javanese speech",
    classes=("neutral", "sad", "happy", "surprise", "fear", "anger"),
    sentiment=(0, -1, 1, 1, -1, -1),
    emotions={
        "neutral": frozenset(),
        "sad": frozenset({"sadness"}),
        "happy": frozenset({"joy"}),
        **{name: frozenset({name}) for name in ("surprise", "fear", "anger")},
    },
    language="jv",
    licence="MIT",
    cite="github.com/2black0/sound-emotion-recognition-javanese",
    obtain="SOURCE.txt in its folder says where it is from",
    unreached=("neutral",),
)


@dataclass
class Silent:
    """A screen that shows nothing but notices."""

    problems: list[Problem] = field(default_factory=list)

    def start_run(self, title: str) -> None:
        print(title, file=sys.stderr, flush=True)

    def progress(self, what: str, done: int, total: int) -> None:
        pass

    def corpus(self, corpus_sample: bool, problems: Sequence[Problem]) -> None:
        self.problems.extend(problems)

    def notice(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def speech(folder: Path) -> Dataset:
    """The folder as a data set; a request's seed says which two actors are for test, the next two are for val."""
    return Dataset(CARD, lambda request: _load(folder, request))


def _load(folder: Path, request: Request) -> Corpus:
    clips = _clips(folder, request.seed % FOLDS)
    form = Form.of(request.size, request.mels)
    prepared = prepare([clip for _, clip in clips], form, request.cache / "prepared" / CARD.name, request.report)
    splits: dict[str, list[Prepared]] = {"train": [], "val": [], "test": []}
    for (split, _), item in zip(clips, prepared, strict=True):
        if item.path is not None:
            splits[split].append(item)
    sets = {
        split: PreparedClips(tuple(item.clip for item in items), tuple(item.path for item in items if item.path))
        for split, items in splits.items()
    }
    return Corpus(
        CARD,
        **sets,
        fingerprint=fingerprint({split: found.clips for split, found in sets.items()}, CARD),
        content=f"{form.folder}:{fingerprint({item.content: [item.clip] for item in prepared}, CARD)}",
        problems=tuple(problem for item in prepared for problem in item.problems),
    )


def _clips(folder: Path, fold: int) -> list[tuple[str, Clip]]:
    """Every clip with its split: actors 2 fold + 1 and 2 fold + 2 for test, the next two for val."""
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    actors = sorted({row["group"] for row in rows})
    part = {actor: {fold: "test", (fold + 1) % FOLDS: "val"}.get(i // 2, "train") for i, actor in enumerate(actors)}
    return [
        (
            part[row["group"]],
            Clip(
                f"{row['label']}/{row['clip']}",
                CARD.classes.index(row["label"]),
                "test" if part[row["group"]] == "test" else "train",
                row["group"],
                Files(audio=folder / row["audio"]),
            ),
        )
        for row in rows
    ]


def statistics_of(path: Path) -> np.ndarray:
    """(80,) mean and deviation over time of 20 MFCCs and of their deltas."""
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


def logistic(corpus: Corpus, known: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """Logistic regression trained on the same actors: its C, chosen on val, and its accuracies on val and test."""

    def table(split: Any) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([known[c.key] for c in split.clips]), np.array([c.label for c in split.clips])

    fitted: list[tuple[float, Pipeline]] = []
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        fitted.append((strength, model.fit(*table(corpus.train))))
    strength, best = max(fitted, key=lambda pair: pair[1].score(*table(corpus.val)))
    return strength, best.score(*table(corpus.val)), best.score(*table(corpus.test))


def run(folder: Path, results: Path, fold: int, method: str, **values: object) -> Record:
    """One fold of a method as one run, on one thread."""
    entry = METHODS[method]
    config = entry.config.preset("quick").override(values)
    desk = Desk(results, Store(results), Silent(), lambda *_: [], threads=1, keep_weights=False)
    return execute(Ask(method, entry, config, "quick", speech(folder), fold), desk).record


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean of paired differences, and its 95 % interval after Student."""
    mean, count = statistics.mean(differences), len(differences)
    half = float(student.ppf(0.975, count - 1)) * statistics.stdev(differences) / count**0.5
    return mean, mean - half, mean + half


def measure(folder: Path, results: Path) -> dict[str, list[float]]:
    """Print the folds; the test accuracies by column, percent."""
    known = {clip.key: statistics_of(clip.files.audio) for _, clip in _clips(folder, 0) if clip.files.audio}
    found: dict[str, list[float]] = {name: [] for name in ("most frequent", "majority", "logistic", "mbt")}
    print("| fold | test actors | clips | most frequent | `majority` | logistic regression | `mbt` | val: LR (C), `mbt` |")
    print("|---|---|---|---|---|---|---|---|")
    for fold in range(FOLDS):
        size = METHODS["mbt"].sampling(METHODS["mbt"].config.preset("quick"), False)
        corpus = speech(folder).load(Request(None, results, size.size, size.mels, fold))
        counts = Counter(clip.label for clip in corpus.test.clips)
        strength, on_val, logistic_test = logistic(corpus, known)
        mbt = run(folder, results, fold, "mbt", **SETTINGS).scores
        majority = run(folder, results, fold, "majority").scores
        row = [max(counts.values()) / counts.total(), majority["test/acc_e"], logistic_test, mbt["test/acc_e"]]
        for name, value in zip(found, row, strict=True):
            found[name].append(100 * (value or 0.0))
        actors = ", ".join(sorted({clip.group.removeprefix("actor") for clip in corpus.test.clips}))
        cells = " | ".join(f"{values[-1]:.1f}" for values in found.values())
        told = f"{100 * on_val:.1f} ({strength:g}), {100 * (mbt['val/acc_e'] or 0):.1f}"
        print(f"| {fold} | {actors} | {counts.total()} | {cells} | {told} |", flush=True)
    return found


def main(folder: Path) -> None:
    """The table, its means, and the paired difference."""
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
