"""Make a results folder of tiny runs, and pack the files that later versions must read.

`python -m tests.guard.make_results ARCHIVE NUMBERS` is for reference: version 0.1 made results-0.1.tar.xz, which must
not change, since the guard checks that later versions read it.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from matplotlib.figure import Figure

from datasets.catalog.ekman6 import INFO
from studies.cli.main import main
from tests.datasets.trees import tone, write_srt, write_tree
from tests.guard.results import numbers_of

CLASSES = {"anger": "what a rage", "joy": "what joy", "sadness": "so sad"}
CLIPS, SECONDS, RATE = 15, 0.6, 16000  # clips per class; length in s; samples per second
TINY = (
    *("segments=2", "test_segments=2", "frames=2", "stride=2", "size=12", "patch=12", "mels=16"),
    *("audio_patch=16", "audio_stride=16", "width=8", "depth=1", "heads=2", "fusion_depth=1", "bottleneck=2"),
    *("batch=6", "epochs=5", "ema=0.6", "lr=0.006"),
)
PRETRAINED = ("pretrain_epochs=1", "decoder_width=8", "decoder_heads=2", "contrast_width=4")
DROPPED, HEAVY = (".lock", ".db-wal", ".db-shm"), "weights.safetensors"
DOTS = 8  # per inch: `report --check` only needs the figures to exist
KEPT = ("runs", "searches", "studies", "mlflow.db", "optuna.db")


def write_clip(path: Path, label: int, number: int) -> None:
    """Write a clip whose grey level and tone indicate its class with noise, so that no method is perfect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(100 * label + number)
    middle, shade = 60 + 60 * label + dice.normal(0, 40), round(40 * label + dice.normal(0, 40))
    with av.open(str(path), "w") as container:
        shown, heard = container.add_stream("mpeg4", rate=25), container.add_stream("libmp3lame", rate=RATE)
        shown.width, shown.height, shown.pix_fmt, heard.layout = 32, 24, "yuv420p", "mono"
        for index in range(round(SECONDS * 25)):
            grey = np.clip(middle + dice.normal(0, 20), 0, 255)
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), grey, np.uint8))
            frame.pts = index
            container.mux(shown.encode(frame))
        container.mux(shown.encode(None))
        wave = tone(SECONDS, RATE, shade)
        sound = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        sound.sample_rate = RATE
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE, frame_size=576)
        for part in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(heard.encode(part))
        container.mux(heard.encode(None))


def write_data(folder: Path) -> Path:
    """Write a data set of three classes."""
    for label, (name, words) in enumerate(CLASSES.items()):
        for number in range(CLIPS):
            write_clip(folder / name / f"c{number}.avi", label, number)
            write_srt(folder / name / f"c{number}.srt", words, 0.1, 0.5)
    return folder


@contextmanager
def small_figures() -> Iterator[None]:
    """Save figures at a low resolution, so that the archive is small."""
    draw: Any = Figure.savefig

    def savefig(figure: Figure, path: Any, **options: Any) -> None:
        draw(figure, path, **{**options, "dpi": DOTS})

    Figure.savefig = savefig
    try:
        yield
    finally:
        Figure.savefig = draw


def list_commands(own: Path, named: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the commands that fill the results folder, each with its exit code."""
    tiny = [word for value in TINY for word in ("--set", value)]
    more = [word for value in PRETRAINED for word in ("--set", value)]
    on = ["--dataset", str(own), *tiny, "--threads", "1"]
    breaks = ["--set", "lr=1e30", "--no-weights"]
    yield 0, ["--method", "majority,probe,mbt", "--seeds", "2", *on]
    yield 0, ["--method", "mbt", "--trials", "3", "--no-weights", *on]
    yield 3, ["--method", "mbt", *on, *breaks]
    yield 3, ["--method", "majority,mbt", "--dataset", "ekman6", "--data", str(named), *on[2:], *breaks]
    yield 0, ["study", "optimism", "--datasets", str(own), "--seeds", "2", *on[2:], *more]


def pack(results: Path, clip: Path, archive: Path) -> None:
    """Pack the files that later versions read: run folders, searches, studies, databases and the clips' ledgers.

    Logs, checkpoints, prepared clips, and the weights of all seeds but the first are left out.
    """

    def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = Path(entry.name)
        record = results.parent / path.parent / "record.json"
        first = not record.exists() or json.loads(record.read_text())["spec"]["seed"] == 0
        if path.suffix in DROPPED or path.name in ("log", "checkpoints") or (path.name == HEAVY and not first):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    for name in ("mlflow.db", "optuna.db"):
        database = sqlite3.connect(results / name)
        database.execute("VACUUM")
        database.close()
    with tarfile.open(archive, "w:xz", preset=9 | lzma.PRESET_EXTREME) as file:
        for name in KEPT:
            file.add(results / name, f"results/{name}", filter=keep)
        for ledger in sorted(results.glob("prepared/*/*/ledger.jsonl")):
            file.add(ledger, f"results/{ledger.relative_to(results)}", filter=keep)
        file.add(clip, f"clip{clip.suffix}", filter=keep)


def make(archive: Path, numbers: Path) -> int:
    """Run all commands, pack the results and store their numbers; return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own, results = write_data(folder / "moods"), folder / "results"
        named = write_tree(folder / "ekman6", INFO, 5, 1, layout="video", seconds=0.4)
        for code, words in list_commands(own, named):
            with small_figures():
                found = main([*words, "--results", str(results)])
            if found != code:
                print(f"{' '.join(words)} ended with {found}, not {code}", file=sys.stderr)
                return 1
        pack(results, own / "joy" / "c0.avi", archive)
        shutil.copy(own / "joy" / "c0.avi", folder / "clip.avi")
        for weights in results.glob(f"runs/*/{HEAVY}"):
            if json.loads((weights.parent / "record.json").read_text())["spec"]["seed"]:
                weights.unlink()
        numbers.write_text(json.dumps(numbers_of(results), indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(make(Path(sys.argv[1]), Path(sys.argv[2])))
