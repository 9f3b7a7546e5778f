"""What a data set holds on this machine: listed in seconds, or prepared to the last clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.data import Clip, Problem, Word
from bench.errors import DataError
from bench.facts import ClipFacts, Facts, Still
from datasets.copies import drop_leaks, find_copies
from datasets.index.places import find_folder, store_name
from datasets.index.rows import Index
from datasets.index.source import Source
from datasets.store.prepared import Form, Prepared, prepare, read_facts

STILLS = 6  # of a class
SIDE = 120  # pixels of a still's short side

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Found:
    """A data set's folder, and what it lists."""

    source: Source
    folder: Path
    fold: int
    index: Index

    @property
    def root(self) -> Path:
        """The folder that names of files are relative to."""
        return self.folder if self.folder.is_dir() else self.folder.parent

    def facts(self) -> Facts:
        """What is known without opening any clip: what is listed and there, and which files are empty."""
        clips = tuple(ClipFacts(clip.key, clip.label, clip.split, clip.group, None) for clip in self.index.listed)
        empty = [problem for clip in self.index.clips for problem in _empty_files(clip)]
        return Facts(self.source.card, self.fold, False, clips, (*self.index.problems, *empty))


@dataclass(frozen=True)
class Surveyed:
    """A data set prepared: its facts, and its clips for whoever wants to count their words."""

    facts: Facts
    prepared: tuple[Prepared, ...]

    def words(self) -> Iterator[tuple[Clip, list[Word]]]:
        """Each readable clip with the words that are said in it."""
        for item in self.prepared:
            if item.path is not None:
                yield item.clip, [Word(*row) for row in read_facts(item.path)["words"]]


def find(source: Source, data: Path | None, fold: int) -> Found:
    """Index a data set where it is; raises DataError where it is not found."""
    folder = source.place or find_folder(source.card, data)
    if folder is None:
        raise DataError(
            f"no {source.card.title} was found in data/{source.card.name} or BENCH_DATA; say --data DIR "
            f"({source.card.obtain})"
        )
    return Found(source, folder, fold, source.index(folder, fold))


def survey(found: Found, form: Form, cache: Path, report: Report) -> Surveyed:
    """Prepare every clip, looking at each source anew, and gather what is in it."""
    card, index = found.source.card, found.index
    place = cache / "prepared" / store_name(card, sample=False)
    prepared = prepare(index.clips, form, place, report)
    problems = [*index.problems, *(problem for item in prepared for problem in item.problems)]
    usable = [item for item in prepared if item.path is not None]
    told = find_copies(usable)
    splits = {split: [item for item in usable if item.clip.split == split] for split in ("train", "val", "test")}
    leaks = drop_leaks(splits)[1]
    problems += [*told, *leaks]
    dropped = {leak.where for leak in leaks}
    known = {item.clip.key: item for item in prepared}
    facts = Facts(
        card,
        found.fold,
        False,
        tuple(_clip_facts(clip, known.get(clip.key), clip.key in dropped) for clip in index.listed),
        tuple(problems),
        bytes=sum(item.row.bytes for item in usable if item.row is not None),
    )
    return Surveyed(facts, tuple(prepared))


def _empty_files(clip: Clip) -> Iterator[Problem]:
    """The clip's media of 0 bytes; without any that are not, it is unreadable."""
    media = [path for path in (clip.files.frames, clip.files.video, clip.files.audio) if path is not None]
    empty = [path for path in media if _is_hollow(path)]
    if empty:
        what = "unreadable" if len(empty) == len(media) else "empty"
        yield Problem(what, clip.key, f"{', '.join(path.name for path in empty)}: 0 bytes")


def _is_hollow(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:  # out of reach: preparing will say so
        return False


def _clip_facts(clip: Clip, item: Prepared | None, dropped: bool) -> ClipFacts:
    if item is None or item.path is None or item.row is None:
        return ClipFacts(clip.key, clip.label, clip.split, clip.group, None)
    present = (item.row.frames > 0, item.row.sound > 0, item.row.words > 0)
    return ClipFacts(clip.key, clip.label, clip.split, clip.group, item.row.seconds, item.row.words, present, dropped)


def read_stills(surveyed: Surveyed, report: Report) -> dict[str, tuple[Still, ...]]:
    """A few pictures of each class, from clips spread over its list."""
    from datasets.media.still import read_still

    by_class: dict[int, list[Clip]] = defaultdict(list)
    for item in surveyed.prepared:
        if item.row is not None and item.row.frames:
            by_class[item.clip.label].append(item.clip)
    chosen = {
        name: [clips[place * len(clips) // min(STILLS, len(clips))] for place in range(min(STILLS, len(clips)))]
        for name, clips in ((name, by_class[label]) for label, name in enumerate(surveyed.facts.card.classes))
    }
    total, done = sum(map(len, chosen.values())), 0
    stills: dict[str, tuple[Still, ...]] = {}
    for name, clips in chosen.items():
        found = []
        for clip in clips:
            data = read_still(clip, SIDE)
            done += 1
            report("stills", done, total)
            if data is not None:
                found.append(Still(clip.key, data))
        stills[name] = tuple(found)
    return stills
