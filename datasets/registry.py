"""Registry of data sets: those of the catalog by name, custom ones by path.

A path names a CSV manifest, a folder of classes, or a tree in the layout of the authors' tools.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.config import propose_name
from bench.errors import DataError
from bench.method import Deferred
from bench.tasks import Classification, Regression, SelectedMetric, TargetRange
from bench.types import (
    FEATURES,
    MEDIA_STREAMS,
    VALIDATION_FOLDS,
    Clip,
    ClipSources,
    DataIssue,
    Dataset,
    DatasetInfo,
    Split,
)
from datasets.catalog import affwild2, ekman6, iemocap, perr, videoemotion8
from datasets.feature_file import FEATURE_FILE_SUFFIXES, is_feature_file, read_feature_file_once
from datasets.index import MEDIA_FOLDERS, DatasetSource, has_annotation, index_tree, make_tree_source, scan_media
from datasets.manifest import ManifestEntry, is_media_tree, parse_number, read_class_folders, read_manifest
from datasets.paths import explain_unsafe_link, is_valid_name, list_folder
from datasets.rows import (
    MISSING,
    Listing,
    NamingRules,
    assign_folds,
    group_parts,
    has_media,
    hold_out_fold,
    make_clip,
    parse_key,
    remove_media_suffix,
    validate_rows,
)
from datasets.streams.features import find_widths

CATALOG = (ekman6, videoemotion8, perr, iemocap, affwild2)
SOURCES = {entry.INFO.name: make_tree_source(entry.INFO, entry.NAMING_RULES) for entry in CATALOG}
SOURCES[affwild2.VA_INFO.name] = DatasetSource(
    affwild2.VA_INFO, affwild2.index_valence_arousal, drawn=affwild2.SAMPLE_INFO
)
TASKS = {("affwild2", "va"): "affwild2-va", ("affwild2", "classes"): "affwild2"}
"""(data set, value of --task) -> the data set with this task."""

USUAL_RANGES = (
    *((0.0, 1.0), (-1.0, 1.0), (-3.0, 3.0), (1.0, 5.0), (0.0, 5.0), (1.0, 7.0), (1.0, 9.0), (0.0, 10.0)),
    *((-5.0, 5.0), (-10.0, 10.0), (0.0, 100.0), (-100.0, 100.0)),
)
"""Ranges of scores that a custom data set need not state."""

SEGMENT_MARK = "$_$"  # between video and segment in the ids of a feature file
Emotion = Literal["anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"]


def make_dataset(source: DatasetSource) -> Dataset:
    """Wrap a source as the Dataset that runs load their splits from; its decoders are imported on first use."""
    load, identify = Deferred("datasets.splits:load_splits"), Deferred("datasets.splits:identify_data")
    return Dataset(source.info, partial(load, source), partial(identify, source))


DATASETS: dict[str, Dataset] = {name: make_dataset(source) for name, source in SOURCES.items()}


class DatasetToml(BaseModel):
    """Fields of the TOML file next to a manifest, or of dataset.toml in a folder."""

    model_config = ConfigDict(extra="forbid")

    title: str = ""
    language: str = "en"
    licence: str = "not stated"
    cite: str = ""
    classes: list[str] = Field(default_factory=list)  # in this order; the others follow alphabetically
    sentiment: dict[str, Annotated[int, Field(ge=-1, le=1, strict=True)]] = Field(default_factory=dict)
    emotions: dict[str, list[Emotion]] = Field(default_factory=dict)
    task: Literal["", "classes", "scores"] = ""  # meaning of a numeric column 'label'
    targets: dict[str, tuple[float, float]] = Field(default_factory=dict)  # lowest and highest value of each
    select: SelectedMetric = Regression.select  # metric that selects epochs and orders tables


def is_path(name: str) -> bool:
    """Return whether `name` is a path to custom data rather than a name of the registry."""
    name = re.sub("@(classes|scores)$", "", name)  # see studies.requests.split_task
    return "/" in name or name.lower().endswith((".csv", *FEATURE_FILE_SUFFIXES)) or name in (".", "..")


def make_manifest_source(path: Path, known: Sequence[DatasetInfo], task: str = "") -> DatasetSource:
    """Return the data set in a manifest or a folder; `task` is "classes" or "scores" where the labels leave it open.

    A class named like one of a `known` data set takes its sentiment and emotions from there unless stated. Raises
    DataError for a path, a TOML file or a manifest that cannot be used.
    """
    try:
        os.stat(path)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise DataError(
            f"no such file or folder: {str(path)[:200]}{reason}; give a manifest (.csv), a feature file "
            "(.pkl) or a folder of <Class>/<clip>.mp4"
        ) from None
    if path.is_dir() and task == "scores":
        raise DataError(f"--task scores: {path} is a folder of classes; list the clips and their scores in a manifest")
    if path.is_dir():
        facts, name = _read_toml(path / "dataset.toml"), path.resolve().name
        if is_media_tree(path):
            lists = any((path / f"{part}list01.txt").exists() for part in ("train", "test"))
            split = lists or has_annotation(path)
            info, issues = _make_info(name, facts, _find_tree_classes(path), {}, known, split)
            return DatasetSource(info, partial(_index_custom_tree, info=info, issues=issues), path)
        entries, problems = read_class_folders(path)
    elif is_feature_file(path):
        return _make_feature_source(path, known, task)
    elif path.suffix.lower() != ".csv":
        raise DataError(
            f"{path}: neither a .csv file, a .pkl file nor a folder; give a manifest (.csv), a feature file (.pkl) "
            "or a folder of <Class>/<clip>.mp4"
        )
    else:
        facts = _read_toml(path.with_suffix(".toml"))
        name = path.stem if path.stem not in ("manifest", "labels") else path.resolve().parent.name
        entries, problems = read_manifest(path)
    split = any(entry.split for entry in entries)
    unsplit = next((entry.location for entry in entries if split and entry.split is None), None)
    if unsplit is not None:
        raise DataError(f"{unsplit} has no split but other rows do; state train, val or test in every row or in none")
    if _choose_task(path, entries, task or facts.task) == "scores":
        entries = _move_labels_to_targets(entries)
        info, issues = _make_scored_info(name, facts, entries, split)
    else:
        labels = sorted({entry.label for entry in entries})
        info, issues = _make_info(name, facts, labels, _collect_sentiments(entries), known, split)
    info = replace(info, **_find_streams(entries))
    return DatasetSource(info, partial(_index_entries, info=info, entries=entries, issues=(*problems, *issues)), path)


def _make_feature_source(path: Path, known: Sequence[DatasetInfo], task: str) -> DatasetSource:
    """Return the data set in a feature file: its scores, or its classes if it has no scores or `task` is "classes".

    Raises DataError for a file that cannot be used.
    """
    found, facts = read_feature_file_once(path), _read_toml(path.with_suffix(".toml"))
    scored = all(part.scores is not None for part in found.splits.values())
    named = all(part.classes is not None for part in found.splits.values())
    task = task or facts.task or ("scores" if scored else "classes")
    if not (scored if task == "scores" else named):
        raise DataError(f"--task {task}: {path.name} has no {task} in all of its splits; omit the option")
    entries = [
        ManifestEntry(
            f"{path.name}: {name}",
            part.classes[at] if task == "classes" and part.classes is not None else "",
            name,
            ClipSources(text=part.texts[at] if part.texts is not None else ""),
            split,
            name.partition(SEGMENT_MARK)[0],
            targets={"sentiment": float(part.scores[at])} if task == "scores" and part.scores is not None else {},
        )
        for split, part in found.splits.items()
        for at, name in enumerate(part.ids)
    ]
    if task == "scores":
        info, issues = _make_scored_info(path.stem, facts, entries, True)
    else:
        info, issues = _make_info(path.stem, facts, sorted({entry.label for entry in entries}), {}, known, True)
        info = replace(info, name=f"{info.name}-classes" if scored else info.name)
    widths = {name: values.shape[2] for name, values in found.splits["train"].streams.items()}
    words = ["text"] if any(part.texts for part in found.splits.values()) else []
    info = replace(
        info,
        streams=(*words, *(f"{FEATURES}{name}" for name in widths)),
        features=widths,
        splits="those of the file; its valid split is val for every seed",
        group="video",
    )
    return DatasetSource(info, partial(_index_feature_file, info=info, entries=entries, issues=issues), path)


def _index_feature_file(
    path: Path, info: DatasetInfo, entries: Sequence[ManifestEntry], issues: Sequence[DataIssue], fold: int
) -> Listing:
    """List the clips of a feature file in their order; videos with clips in two splits are reported."""
    clips = tuple(_make_row(entry, info) for entry in entries)
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        splits[clip.group].add(clip.split)
    straddling = sorted(group for group, among in splits.items() if len(among) > 1)
    found = list(issues) + list(read_feature_file_once(path).issues)
    if straddling:
        why = f"the file splits the clips of {len(straddling)} of {len(splits)} videos; used as they are"
        found.append(DataIssue("straddles", f"video {straddling[0]}", why))
    return Listing(clips, clips, tuple(found))


def _find_streams(entries: Sequence[ManifestEntry]) -> dict[str, Any]:
    """Return the fields `streams` and `features` of a data set: which of its clips name a file."""
    sources = [entry.files for entry in entries]
    widths = find_widths({entry.location: entry.files.features for entry in entries})
    media = any(files.frames or files.video for files in sources), any(files.audio or files.video for files in sources)
    words = any(files.transcript or files.text for files in sources) or any(media)
    known = [name for name, here in zip(MEDIA_STREAMS, (*media, words), strict=True) if here]
    return {"streams": (*known, *(f"{FEATURES}{name}" for name in widths)), "features": widths}


def _index_custom_tree(path: Path, info: DatasetInfo, issues: Sequence[DataIssue], fold: int) -> Listing:
    """Index a tree: split by its lists if it has any, else into folds of its media."""
    if info.folds == (0,):
        index = index_tree(path, info)
        return index._replace(issues=(*issues, *index.issues))
    media, problems = scan_media(path, info)
    clips = [
        replace(make_clip(*parse_key(key, key), "train", info, key), sources=sources) for key, sources in media.items()
    ]
    return _index_rows(list(filter(has_media, clips)), info, [*issues, *problems], fold)


def _index_entries(
    path: Path, info: DatasetInfo, entries: Sequence[ManifestEntry], issues: Sequence[DataIssue], fold: int
) -> Listing:
    rows = [_make_row(entry, info) for entry in entries]
    _refuse_conflicting_rows(entries, rows)
    rows, found = group_parts(rows, [entry.media for entry in entries])
    return _index_rows(rows, info, [*issues, *found], fold)


def _make_row(entry: ManifestEntry, info: DatasetInfo) -> Clip:
    """Return the clip of an entry, with its target, group and sources."""
    split: Split = entry.split or "train"
    if isinstance(info.task, Regression):
        key, values = remove_media_suffix(entry.clip), tuple(entry.targets[name] for name in info.task.output_names)
        row = Clip(key, values, split, key)
    else:
        row = make_clip(entry.label, entry.clip, split, info, entry.location)
    part = replace(row, sources=entry.files, start=entry.start, end=entry.end)
    return replace(part, group=entry.group or row.key)


def _index_rows(rows: Sequence[Clip], info: DatasetInfo, issues: Sequence[DataIssue], fold: int) -> Listing:
    """Validate rows and keep their stated splits; without stated splits, hold out fold `fold` of their groups."""
    listed, found = validate_rows(rows, info, NamingRules())
    if info.folds != (0,):
        folds = assign_folds(listed, info.name)
        listed = hold_out_fold(listed, {row.key: folds[row.group] + 1 for row in listed}, fold, VALIDATION_FOLDS)
    missing = [DataIssue("missing", row.key, MISSING) for row in listed if not has_media(row)]
    return Listing(tuple(listed), tuple(filter(has_media, listed)), (*issues, *found, *missing))


def _refuse_conflicting_rows(entries: Sequence[ManifestEntry], rows: Sequence[Clip]) -> None:
    """Raise DataError if two rows name the same clip but different files, times, or numbers to predict."""
    first: dict[str, tuple[ManifestEntry, Clip]] = {}
    for entry, row in zip(entries, rows, strict=True):
        before, clip = first.setdefault(row.key, (entry, row))
        if (clip.sources, clip.start, clip.end) != (row.sources, row.start, row.end):
            what = "files" if clip.sources != row.sources else "times"
            raise DataError(
                f"{before.location} and {entry.location} are both clip '{row.key}' but name different {what}; "
                "give each a different name in the column 'clip'"
            )
        if clip.target != row.target:
            raise DataError(f"{before.location} and {entry.location} state different targets of clip '{row.key}'")


def _choose_task(path: Path, entries: Sequence[ManifestEntry], task: str) -> str:
    """Return "classes" or "scores". Raises DataError where the labels leave it open, or contradict `task`."""
    numbers = [entry for entry in entries if _is_number(entry.label)]
    labelled, targets = all(entry.label for entry in entries), any(entry.targets for entry in entries)
    if task == "classes" and not labelled:
        raise DataError(f"--task classes: {path.name} has rows without a label; fill in the column 'label'")
    if task == "scores" and not targets and len(numbers) < len(entries):
        other = next(entry for entry in entries if not _is_number(entry.label))
        raise DataError(f"--task scores: {other.location} has the label '{other.label}', which is not a number")
    if not task and targets and labelled:
        raise DataError(f"{path.name}: has both labels and targets: classes or scores? Add --task classes or scores")
    if not task and not targets and len(numbers) == len(entries):
        few = ", ".join(list(dict.fromkeys(entry.label for entry in entries))[:3])
        raise DataError(f"{path.name}: labels are numbers ({few}): classes or scores? Add --task classes or scores")
    return task or ("scores" if targets else "classes")


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e300
    except ValueError:
        return False


def _move_labels_to_targets(entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    """Return the entries with their numeric labels as a target named "score", where they have no target columns."""
    return [
        entry
        if entry.targets
        else replace(entry, targets={"score": parse_number(entry.label, "label", entry.location)})
        for entry in entries
    ]


def _make_scored_info(
    name: str, facts: DatasetToml, entries: Sequence[ManifestEntry], split: bool
) -> tuple[DatasetInfo, tuple[DataIssue, ...]]:
    """Describe a custom data set of numbers to predict, and list warnings about ranges that it does not state.

    A range that the TOML file does not state is the narrowest usual one that holds all numbers. Raises DataError for
    a number outside a stated range, or outside all usual ones, and for facts of classes.
    """
    if facts.classes or facts.sentiment or facts.emotions:
        raise DataError(f"{name}: has scores, no classes; remove classes, sentiment and emotions from its TOML file")
    targets, issues, names = [], [], list(entries[0].targets)
    for target in facts.targets:
        if target not in names:
            raise DataError(f"targets: {name} has no target '{target}'; {propose_name(target, names)}")
    for target in names:
        low, high = facts.targets.get(target, (math.nan, math.nan))
        if target in facts.targets and not low < high:
            raise DataError(f"targets: the range of '{target}' is {low:g} to {high:g}; state the lowest value first")
        values = {entry.targets[target]: entry.location for entry in entries}
        least, most = min(values), max(values)
        if target not in facts.targets:
            usual = next((pair for pair in USUAL_RANGES if pair[0] <= least and most <= pair[1]), None)
            state = f"state it in the TOML file: [targets] {target} = [LOW, HIGH]"
            if usual is None:
                raise DataError(f"{name}: '{target}' goes from {least:g} to {most:g} and has no range; {state}")
            low, high = usual
            why = f"range not stated, taken as {low:g} to {high:g}; {state}"
            issues.append(DataIssue("warning", f"target {target}", why))
        outside = next((value for value in (least, most) if not low <= value <= high), None)
        if outside is not None:
            where = f"{values[outside]}: {target} is {outside:g}"
            raise DataError(f"{where}, outside its range of {low:g} to {high:g}; correct the number or the range")
        targets.append(TargetRange(target, low, high))
    suffix = "" if all(entry.label == "" for entry in entries) else "-scores"
    info = DatasetInfo(
        name=_make_identifier(name) + suffix,
        title=facts.title or name,
        task=Regression(tuple(targets), facts.select),
        emotions={},
        language=facts.language,
        licence=facts.licence,
        cite=facts.cite,
        obtain="custom data of the user",
        **_describe_custom_splits(split),
    )
    return info, tuple(issues)


def _find_tree_classes(root: Path) -> list[str]:
    """Return the names of the class folders, without links that leave the data folder."""
    tops = {root / folder for folder, _, _ in MEDIA_FOLDERS}
    found = [entry for top in sorted(tops) for entry in list_folder(top) if entry.is_dir()]
    safe = [entry for entry in found if explain_unsafe_link(Path(entry.path), root) is None]
    return sorted({entry.name for entry in safe if is_valid_name(entry.name)})


def _collect_sentiments(entries: Sequence[ManifestEntry]) -> dict[str, int]:
    """Return class -> sentiment from the column 'sentiment'; raises DataError if two rows of a class differ."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in entries:
        if entry.sentiment is not None:
            found[entry.label].setdefault(entry.sentiment, entry.location)
    for label, signs in found.items():
        if len(signs) > 1:
            values = " and ".join(f"{sign:+d} ({where})" for sign, where in signs.items())
            raise DataError(f"sentiment: class '{label}' has two values, {values}; use one value per class")
    return {label: next(iter(signs)) for label, signs in found.items()}


def _read_toml(path: Path) -> DatasetToml:
    try:
        if not path.exists():
            return DatasetToml()
        return DatasetToml.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not readable TOML ({error}); correct or remove the file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        tail = propose_name(where, DatasetToml.model_fields) if first["type"] == "extra_forbidden" else first["msg"]
        raise DataError(f"{path}: '{where}': {tail}") from None


def _make_info(
    name: str,
    facts: DatasetToml,
    labels: Sequence[str],
    signs: Mapping[str, int],
    known: Sequence[DatasetInfo],
    split: bool,
) -> tuple[DatasetInfo, tuple[DataIssue, ...]]:
    """Describe a custom data set, and list warnings about its classes.

    The sentiment of a class comes from the TOML file, else from the column (`signs`), else from the class of the same
    name in a `known` data set, else it is 0 with a warning. If it is unknown for all classes, it is
    not scored. Raises DataError for fewer than two classes and for a name that is misspelt or listed twice.
    """
    spellings: dict[str, str] = {}
    for label in labels:
        if (other := spellings.setdefault(label.lower(), label)) != label:
            raise DataError(f"classes '{other}' and '{label}' of {name} differ only in case; use one spelling")
    if len(labels) < 2:
        present = f"only one class, '{labels[0]}'" if labels else "no class"
        raise DataError(
            f"{name} has {present}; at least two are needed (to use a manifest, give its path: FOLDER/manifest.csv)"
        )
    repeated = [label for label, count in Counter(facts.classes).items() if count > 1]
    if repeated:
        raise DataError(f"classes: '{repeated[0]}' of {name} is listed twice; remove one")
    for where, names in (("classes", facts.classes), ("sentiment", facts.sentiment), ("emotions", facts.emotions)):
        for label in names:
            if label not in labels:
                raise DataError(f"{where}: {name} has no class '{label}'; {propose_name(label, labels)}")
    order = [*facts.classes, *(label for label in labels if label not in facts.classes)]
    namesakes = {alias: (info, label) for info in known for alias, label in info.aliases.items()}
    namesakes |= {label.lower(): (info, label) for info in reversed(known) for label in info.classes}
    signs_of: list[int | None] = []
    emotions, reasons, problems = {}, {}, []
    for label in order:
        info, namesake = namesakes.get(label.lower(), (None, ""))
        sign = facts.sentiment.get(label, signs.get(label))
        if sign is None and info is not None:
            sign = info.sentiment[info.classes.index(namesake)]
        signs_of.append(sign)
        if label in facts.emotions:
            emotions[label], reasons[label] = frozenset[str](facts.emotions[label]), "stated in the TOML file"
        elif info is not None:
            emotions[label] = info.emotions.get(namesake, frozenset())
            reasons[label] = f"taken from class '{namesake}' of {info.title}"
        else:
            emotions[label] = frozenset({label.lower()} & set(get_args(Emotion)))
            reasons[label] = "an emotion of the lexicon has this name" if emotions[label] else "not stated"
    state = "state it in a column or a TOML file (docs/data.md)"
    if all(sign is None for sign in signs_of):
        problems.append(DataIssue("warning", "sentiment", f"unknown for all classes, so it is not scored; {state}"))
        sentiment = None
    else:
        unknown = [label for label, sign in zip(order, signs_of, strict=True) if sign is None]
        problems += [DataIssue("warning", label, f"sentiment unknown, set to neutral; {state}") for label in unknown]
        sentiment = tuple(sign or 0 for sign in signs_of)
    if sentiment is not None and len(set(sentiment)) == 1:
        why = "all classes have the same sentiment, so every sentiment score is 100 %; state them in a TOML file"
        problems.append(DataIssue("warning", "sentiment", why))
    return DatasetInfo(
        name=_make_identifier(name),
        title=facts.title or name,
        task=Classification(tuple(order), sentiment),
        emotions=emotions,
        language=facts.language,
        licence=facts.licence,
        cite=facts.cite,
        obtain="custom data of the user",
        unreached=tuple(label for label in order if not emotions[label]),
        reasons=reasons,
        **_describe_custom_splits(split),
    ), tuple(problems)


def _describe_custom_splits(split: bool) -> dict[str, Any]:
    """Return the fields of a custom data set on its splits; `split` = it states them."""
    if split:
        return {"splits": "as stated in its rows or lists", "group": "group"}
    return {
        "splits": f"{VALIDATION_FOLDS} folds of whole groups: one for test, the next one for validation",
        "group": "group",
        "folds": tuple(range(1, VALIDATION_FOLDS + 1)),
        "fold": "fold held out for test",
    }


def _make_identifier(name: str) -> str:
    """Return the registry name of a custom data set: "own-" and the name in a-z, 0-9 and dashes.

    A name with other characters gets a short hash, so that two such names stay different.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    removed = re.sub(r"[a-z0-9 ._-]", "", name.lower())
    tail = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6] if removed else ""
    return "-".join(part for part in ("own", plain, tail) if part)
