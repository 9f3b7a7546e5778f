"""The data sets that can be run: those of the catalog by name, custom ones by their path.

A path names a CSV manifest, a folder of classes, or a tree as the authors' tools write it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.config import propose_name
from bench.errors import DataError
from bench.method import Deferred
from bench.types import VALIDATION_FOLDS, Clip, DataIssue, Dataset, DatasetInfo
from datasets.catalog import affwild2, ekman6, iemocap, perr, videoemotion8
from datasets.index import MEDIA_FOLDERS, DatasetSource, has_annotation, index_tree, make_tree_source, scan_media
from datasets.manifest import ManifestEntry, is_media_tree, read_class_folders, read_manifest
from datasets.paths import explain_unsafe_link, is_valid_name, list_folder
from datasets.rows import (
    MISSING,
    Listing,
    NamingRules,
    assign_folds,
    has_media,
    hold_out_fold,
    make_clip,
    parse_key,
    validate_rows,
)

CATALOG = (ekman6, videoemotion8, perr, iemocap, affwild2)
SOURCES = {entry.INFO.name: make_tree_source(entry.INFO, entry.NAMING_RULES) for entry in CATALOG}

Emotion = Literal["anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"]


def make_dataset(source: DatasetSource) -> Dataset:
    """What a run asks of a data set."""
    return Dataset(source.info, partial(Deferred("datasets.splits:load_splits"), source))


DATASETS: dict[str, Dataset] = {name: make_dataset(source) for name, source in SOURCES.items()}


class DatasetToml(BaseModel):
    """What the TOML file beside a manifest, or dataset.toml in a folder, may say."""

    model_config = ConfigDict(extra="forbid")

    title: str = ""
    language: str = "en"
    licence: str = "as its owner says"
    cite: str = ""
    classes: list[str] = Field(default_factory=list)  # their order; else by the alphabet
    sentiment: dict[str, Annotated[int, Field(ge=-1, le=1, strict=True)]] = Field(default_factory=dict)
    emotions: dict[str, list[Emotion]] = Field(default_factory=dict)


def is_path(name: str) -> bool:
    """Whether a data set is named by where it is, and not by a name of the registry."""
    return "/" in name or name.lower().endswith(".csv") or name in (".", "..")


def make_manifest_source(path: Path, known: Sequence[DatasetInfo]) -> DatasetSource:
    """The data set that a manifest or a folder holds; classes that one of the `known` cards has need no sentiment.

    Raises DataError for what cannot be used.
    """
    try:
        os.stat(path)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise DataError(
            f"there is no {str(path)[:200]}{reason}; name a manifest (.csv) or a folder of <Class>/<clip>.mp4"
        ) from None
    if path.is_dir():
        facts, name = _read_toml(path / "dataset.toml"), path.resolve().name
        if is_media_tree(path):
            lists = any((path / f"{part}list01.txt").exists() for part in ("train", "test"))
            split = lists or has_annotation(path)
            info, told = _make_info(name, facts, _find_tree_classes(path), {}, known, split)
            return DatasetSource(info, partial(_index_tree_of_ones_own, info=info, told=told), path)
        entries, problems = read_class_folders(path)
    elif path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a manifest (.csv) nor a folder of <Class>/<clip>.mp4")
    else:
        facts = _read_toml(path.with_suffix(".toml"))
        name = path.stem if path.stem not in ("manifest", "labels") else path.resolve().parent.name
        entries, problems = read_manifest(path)
    split = any(entry.split for entry in entries)
    unsplit = next((entry.location for entry in entries if split and entry.split is None), None)
    if unsplit is not None:
        raise DataError(f"{unsplit} has no split, others have; say train, val or test for each clip, or for none")
    labels = sorted({entry.label for entry in entries})
    info, told = _make_info(name, facts, labels, _collect_sentiments(entries), known, split)
    return DatasetSource(info, partial(_index_entries, info=info, entries=entries, told=(*problems, *told)), path)


def _index_tree_of_ones_own(path: Path, info: DatasetInfo, told: Sequence[DataIssue], fold: int) -> Listing:
    """Index a tree that is split as its lists say, or by what is found in it."""
    if info.folds == (0,):
        index = index_tree(path, info)
        return index._replace(issues=(*told, *index.issues))
    media, problems = scan_media(path, info)
    made = [replace(make_clip(*parse_key(key, key), "train", info, key), sources=of) for key, of in media.items()]
    return _index_rows(list(filter(has_media, made)), info, [*told, *problems], fold)


def _index_entries(
    path: Path, info: DatasetInfo, entries: Sequence[ManifestEntry], told: Sequence[DataIssue], fold: int
) -> Listing:
    rows = []
    for entry in entries:
        row = make_clip(entry.label, entry.clip, entry.split or "train", info, entry.location)
        rows.append(replace(row, group=entry.group or row.key, sources=entry.files))
    _refuse_conflicting_rows(entries, rows)
    return _index_rows(rows, info, told, fold)


def _index_rows(rows: Sequence[Clip], info: DatasetInfo, told: Sequence[DataIssue], fold: int) -> Listing:
    """List rows as they are split, or with one part of their groups left out."""
    listed, found = validate_rows(rows, info, NamingRules())
    if info.folds != (0,):
        folds = assign_folds(listed, info.name)
        listed = hold_out_fold(listed, {row.key: folds[row.group] + 1 for row in listed}, fold, VALIDATION_FOLDS)
    missing = [DataIssue("missing", row.key, MISSING) for row in listed if not has_media(row)]
    return Listing(tuple(listed), tuple(filter(has_media, listed)), (*told, *found, *missing))


def _refuse_conflicting_rows(entries: Sequence[ManifestEntry], rows: Sequence[Clip]) -> None:
    """Raise DataError where two lines name one clip and mean different files."""
    first: dict[str, tuple[ManifestEntry, Clip]] = {}
    for entry, row in zip(entries, rows, strict=True):
        before, clip = first.setdefault(row.key, (entry, row))
        if clip.sources != row.sources:
            raise DataError(
                f"{before.location} and {entry.location} are both clip '{row.key}', with different files; "
                "give each its own name in a column clip"
            )


def _find_tree_classes(root: Path) -> list[str]:
    """The folders of classes; one that leads out of the data folder is none."""
    tops = {root / folder for folder, _, _ in MEDIA_FOLDERS}
    found = [entry for top in sorted(tops) for entry in list_folder(top) if entry.is_dir()]
    safe = [entry for entry in found if explain_unsafe_link(Path(entry.path), root) is None]
    return sorted({entry.name for entry in safe if is_valid_name(entry.name)})


def _collect_sentiments(entries: Sequence[ManifestEntry]) -> dict[str, int]:
    """Class -> sentiment of its column; raises DataError where two lines of a class differ."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in entries:
        if entry.sentiment is not None:
            found[entry.label].setdefault(entry.sentiment, entry.location)
    for label, signs in found.items():
        if len(signs) > 1:
            told = " and ".join(f"{sign:+d} ({where})" for sign, where in signs.items())
            raise DataError(f"class '{label}' has two sentiments, {told}; sentiment belongs to the class")
    return {label: next(iter(signs)) for label, signs in found.items()}


def _read_toml(path: Path) -> DatasetToml:
    try:
        if not path.exists():
            return DatasetToml()
        return DatasetToml.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is no readable TOML ({error})") from None
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
    """The card of one's own classes; sentiment by column, by TOML, else as a known card has it for a like name."""
    spelt: dict[str, str] = {}
    for label in labels:
        if spelt.setdefault(label.lower(), label) != label:
            raise DataError(f"classes '{spelt[label.lower()]}' and '{label}' of {name} differ in case alone; write one")
    if len(labels) < 2:
        held = f"one class, '{labels[0]}'" if labels else "no class"
        raise DataError(f"{name} has {held}; two at least are wanted (a manifest is named itself: FOLDER/manifest.csv)")
    twice = [label for label, count in Counter(facts.classes).items() if count > 1]
    if twice:
        raise DataError(f"'{twice[0]}' stands twice under classes of {name}")
    for where, names in (("classes", facts.classes), ("sentiment", facts.sentiment), ("emotions", facts.emotions)):
        for label in names:
            if label not in labels:
                raise DataError(f"'{label}' under {where} is no class of {name}; {propose_name(label, labels)}")
    order = [*facts.classes, *(label for label in labels if label not in facts.classes)]
    alike = {alias: (info, label) for info in known for alias, label in info.aliases.items()}
    alike |= {label.lower(): (info, label) for info in reversed(known) for label in info.classes}
    sentiment, emotions, reasons, problems = [], {}, {}, []
    for label in order:
        info, twin = alike.get(label.lower(), (None, ""))
        sign = facts.sentiment.get(label, signs.get(label))
        if sign is None and info is not None:
            sign = info.sentiment[info.classes.index(twin)]
        if sign is None:
            why = "sentiment unknown, taken as neutral; say it in a column or in a TOML file (docs/data.md)"
            problems.append(DataIssue("warning", label, why))
        sentiment.append(sign or 0)
        if label in facts.emotions:
            emotions[label], reasons[label] = frozenset[str](facts.emotions[label]), "as its TOML file says"
        elif info is not None:
            emotions[label] = info.emotions.get(twin, frozenset())
            reasons[label] = f"as {info.title} has it for '{twin}'"
        else:
            emotions[label] = frozenset({label.lower()} & set(get_args(Emotion)))
            reasons[label] = "the lexicon has it by this name" if emotions[label] else "not said"
    if len(set(sentiment)) == 1:
        why = "all classes have one sentiment, so that every score of sentiment is 100 %; say them in a TOML file"
        problems.append(DataIssue("warning", "sentiment", why))
    parts = f"one of {VALIDATION_FOLDS} parts of whole groups for test, the next for val"
    return DatasetInfo(
        name=_make_identifier(name),
        title=facts.title or name,
        classes=tuple(order),
        sentiment=tuple(sentiment),
        emotions=emotions,
        language=facts.language,
        licence=facts.licence,
        cite=facts.cite,
        obtain="it is your own",
        unreached=tuple(label for label in order if not emotions[label]),
        reasons=reasons,
        splits="as its rows say" if split else parts,
        group="group",
        folds=(0,) if split else tuple(range(1, VALIDATION_FOLDS + 1)),
        fold="" if split else "part left out for test",
    ), tuple(problems)


def _make_identifier(name: str) -> str:
    """A name of small letters and digits; where more than case and dashes is lost by that, a hash tells names apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    lost = re.sub(r"[a-z0-9 ._-]", "", name.lower())
    tail = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6] if lost else ""
    return "-".join(part for part in ("own", plain, tail) if part)
