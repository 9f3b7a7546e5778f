"""Benchmark of a data set of PERR's size with one-byte files: `check`, and a run's start on a prepared store."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from bench.types import SplitRequest
from datasets.prepare import (
    PrepareSpec,
    StoreRow,
    write_store_manifest,
)
from datasets.registry import SOURCES, make_dataset
from datasets.sources import hash_clips, make_prepared_name
from datasets.summary import locate_dataset
from tests.speed.commands import timed

CLIPS, DRAMAS = 31_182, 200
SOURCE = SOURCES["perr"]
SIZE, MELS = 112, 128


def write_tree(root: Path) -> None:
    """Write one-byte clips and the two lists; the clips of a drama are in one list."""
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(CLIPS):
        label, name = SOURCE.info.classes[number % 5], f"drama{number % DRAMAS:03d}_{number:05d}"
        for path in (root / "video" / label / f"{name}.mp4", root / "srt" / label / f"{name}.srt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        rows["train" if number % DRAMAS < 150 else "test"].append(f"{label}/{name}")
    for split, lines in rows.items():
        (root / f"{split}list01.txt").write_text("\n".join(lines) + "\n")


def write_store(root: Path, results: Path) -> None:
    """Write a store manifest that lists every clip as prepared."""
    place = results / "prepared" / SOURCE.info.name / PrepareSpec.for_size(SIZE, MELS).folder_name
    place.mkdir(parents=True)
    rows = []
    clips = locate_dataset(SOURCE, root, 0).listing.available
    hashed = hash_clips(clips, place.parent, lambda *_: None).clips
    for number, clip in enumerate(clips):
        content, digest = hashed[clip.key].content, f"{number:064d}"
        name = make_prepared_name(clip, content)
        (place / f"{name}.safetensors").touch()
        rows.append(StoreRow(clip.key, name, content, True, (), 700, 2400, 40, digest, digest, 10**6))
    write_store_manifest(place, rows)


def main() -> None:
    """Print each figure on a line."""
    with tempfile.TemporaryDirectory() as name:
        root, results = Path(name) / "data", Path(name) / "results"
        write_tree(root)
        wall, memory = timed("bench.py", "check", "--dataset", SOURCE.info.name, "--data", str(root))
        print(
            f"check, {CLIPS} clips             {wall:7.1f} s   (target: under 60; {memory:.0f} MB, target: under 1000)"
        )
        write_store(root, results)
        dataset = make_dataset(SOURCE)
        import datasets.splits  # noqa: F401  # import before the timer starts

        start = time.perf_counter()
        corpus = dataset.load(SplitRequest(root, results, SIZE, MELS, 0))
        wall = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        counted = sum(len(clips.clips) for clips in (corpus.train, corpus.val, corpus.test))
        print(f"start on a store of {counted} clips    {wall:7.1f} s   (target: under 5; {peak:.0f} MB with imports)")
