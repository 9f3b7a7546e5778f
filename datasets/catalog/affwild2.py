"""Aff-Wild2: faces in web videos, cut into clips of one expression each (Kollias and Zafeiriou, 2019).

The clips also form a data set of valence and arousal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from bench.errors import DataError
from bench.tasks import Classification, Regression, TargetRange
from bench.types import DataIssue, DatasetInfo, Split
from datasets.index import index_tree, read_text
from datasets.paths import explain_unsafe_link
from datasets.rows import Listing, NamingRules

BY_NAME = ("Anger", "Disgust", "Fear", "Sadness", "Surprise")  # classes named like an emotion of the lexicon
INFO = DatasetInfo(
    name="affwild2",
    title="Aff-Wild2",
    task=Classification(
        ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"),
        sentiment=(-1, -1, -1, 1, 0, -1, 1),  # ours; the paper gives no map
    ),
    emotions={
        **{name: frozenset({name.lower()}) for name in BY_NAME},
        "Happiness": frozenset({"joy"}),
        "Neutral": frozenset(),
    },
    reasons={
        **dict.fromkeys(BY_NAME, "an emotion of the lexicon has this name"),
        "Happiness": "the lexicon calls it joy",
        "Neutral": "a cue never agrees with a neutral segment, so cues would be useless",
    },
    unreached=("Neutral",),
    aliases={"happy": "Happiness", "sad": "Sadness", "angry": "Anger"},
    language="mul",  # several; the owners do not list them
    licence="research only, by a signed agreement with the owners; no redistribution",
    cite=(
        "Kollias, Zafeiriou: Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and ArcFace, "
        "BMVC 2019, arXiv:1910.04855"
    ),
    obtain=(
        "Obtain Aff-Wild2 from its owners: mail them as described on "
        "https://sites.google.com/view/dimitrioskollias/databases/aff-wild2 (folders: docs/datasets.md#affwild2)"
    ),
    splits="from the clips' names; the owners' validation part is the test split",
    group="video",
)
SPLIT_OF_PART: dict[str, Split] = {"Train": "train", "Validation": "test", "Val": "test", "Test": "test"}
_CLIP_NAME = re.compile(rf"(?P<video>.+)_(?P<part>{'|'.join(SPLIT_OF_PART)})_(?P<first>\d+)to(?P<last>\d+)")


def parse_video(clip: str) -> str | None:
    """Return the video of a clip "<video>_Train_<first>to<last>", or None for other names.

    Both people in a video ("_left", "_right") get the same one.
    """
    found = _CLIP_NAME.fullmatch(clip)
    return re.sub(r"_(left|right)$", "", found["video"]) if found else None


def parse_split(clip: str) -> Split | None:
    """Return the split in a clip's name, or None for other names; the owners' validation part is the test split."""
    found = _CLIP_NAME.fullmatch(clip)
    return SPLIT_OF_PART[found["part"]] if found else None


NAMING_RULES = NamingRules(group=parse_video, split=parse_split)

VALENCE_AROUSAL = Regression((TargetRange("valence", -1.0, 1.0), TargetRange("arousal", -1.0, 1.0)), select="ccc")
VA_INFO = replace(
    INFO,
    name="affwild2-va",
    title="Aff-Wild2 VA",
    task=VALENCE_AROUSAL,
    emotions={},
    reasons={},
    unreached=(),
    aliases={},
    splits=f"{INFO.splits}; targets are means over the valid frames of a clip",
    folder=INFO.name,
)
SAMPLE_INFO = replace(INFO, name=VA_INFO.name)
VA_FOLDERS = ("va", "VA_Set", "VA_Estimation_Challenge", "annotations/VA_Set", "annotations/VA_Estimation_Challenge")
MAX_ANNOTATION_BYTES = 50_000_000  # of a file: 10 hours of frames have about 20 MB


def index_valence_arousal(root: Path, fold: int = 0) -> Listing:
    """List the clips of Aff-Wild2 with their valence and arousal: the means over the valid frames of each clip.

    A file va/<Class>/<clip>.txt has the values of a clip's frames; else the file <video>.txt of the owners has those of
    a video, and the clip's name its first and last frame, from 1. A frame whose value is not between -1 and 1 (the
    owners write -5) is invalid and left out. Clips without a valid frame are left out and reported.
    """
    listing = index_tree(root, INFO, NAMING_RULES, fold)
    files = _find_annotations(root)
    if not files:
        raise DataError(
            f"{root}: no annotations of valence and arousal; add the owners' VA_Set/Train_Set/<video>.txt files "
            "(docs/datasets.md#affwild2)"
        )
    read = cache(_read_annotation)
    targets: dict[str, tuple[float, ...]] = {}
    invalid, total, issues = 0, 0, []
    for clip in listing.listed:
        frames = _read_frames(clip.key, files, read)
        if isinstance(frames, str):
            issues.append(DataIssue("no target", clip.key, f"{frames}; left out"))
            continue
        valid = [pair for pair in frames if all(-1 <= value <= 1 for value in pair)]
        invalid, total = invalid + len(frames) - len(valid), total + len(frames)
        if valid:
            targets[clip.key] = tuple(round(math.fsum(values) / len(valid), 6) for values in zip(*valid, strict=True))
        else:
            issues.append(DataIssue("no target", clip.key, f"none of its {len(frames)} frames is valid; left out"))
    if invalid:
        why = f"{invalid} of {total} annotated frames have no valid valence and arousal; left out of the means"
        issues.append(DataIssue("invalid frames", VA_INFO.name, why))
    listed, available = (
        tuple(replace(clip, target=targets[clip.key]) for clip in clips if clip.key in targets)
        for clips in (listing.listed, listing.available)
    )
    return Listing(listed, available, (*listing.issues, *issues))


def _find_annotations(root: Path) -> dict[str, Path]:
    """Return name -> annotation file: "<Class>/<clip>" of a clip, or "<video>" in any other folder."""
    files: dict[str, Path] = {}
    for name in VA_FOLDERS:
        for path in sorted((root / name).rglob("*.txt")):
            inside = path.parent.name
            if not explain_unsafe_link(path, root):
                files.setdefault(f"{inside}/{path.stem}" if inside in INFO.classes else path.stem, path)
    return files


def _read_frames(
    key: str, files: Mapping[str, Path], read: Callable[[Path], list[tuple[float, ...]]]
) -> list[tuple[float, ...]] | str:
    """Return the (valence, arousal) of each frame of a clip, or why there are none."""
    if key in files:
        return read(files[key])
    found = _CLIP_NAME.fullmatch(key.partition("/")[2])
    if found is None or found["video"] not in files:
        video = found["video"] if found else key
        return f"no annotation file {video}.txt"
    first, last = int(found["first"]), int(found["last"])
    frames = read(files[found["video"]])[max(0, first - 1) : last]
    return frames or f"{files[found['video']].name} has no frame {first} to {last}"


def _read_annotation(path: Path) -> list[tuple[float, ...]]:
    """Return the (valence, arousal) of each frame in a file. Raises DataError for a file that is not an annotation."""
    try:
        if path.stat().st_size > MAX_ANNOTATION_BYTES:
            raise DataError(f"{path}: larger than {MAX_ANNOTATION_BYTES / 1e6:.0f} MB, so not an annotation; remove it")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    header, *lines = read_text(path).split("\n")
    if header.strip().lower().replace(" ", "") != "valence,arousal":
        raise DataError(f"{path}: the first line is {header[:40]!r}, not 'valence,arousal'; correct the file")
    frames: list[tuple[float, ...]] = []
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            valence, arousal = map(float, line.split(","))
        except ValueError:
            raise DataError(f"{path}:{number}: {line[:40]!r} is not valence,arousal; correct the line") from None
        frames.append((valence, arousal))
    return frames
