"""A data set of one's own, without code: a manifest, a folder of classes, or a tree as the authors' tools write it."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.data import Card, Clip, Problem
from bench.errors import DataError
from bench.facts import FOLDS
from bench.names import propose
from datasets.index.annotation import has_annotation
from datasets.index.entries import Entry, is_tree, read_folder, read_manifest
from datasets.index.layout import PARTS, index_tree, scan_media
from datasets.index.links import is_text, list_folder, refusal
from datasets.index.rows import Index, make_row, settle, split_key
from datasets.index.rules import Rules
from datasets.index.source import Source
from datasets.splits import hold_out, validation_fold

Emotion = Literal["anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"]


class Meaning(BaseModel):
    """What the TOML file beside a manifest, or dataset.toml in a folder, may say."""

    model_config = ConfigDict(extra="forbid")

    title: str = ""
    language: str = "en"
    licence: str = "as its owner says"
    cite: str = ""
    classes: list[str] = Field(default_factory=list)  # their order; else by the alphabet
    sentiment: dict[str, Annotated[int, Field(ge=-1, le=1, strict=True)]] = Field(default_factory=dict)
    emotions: dict[str, list[Emotion]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Own:
    """A card made of labels, the clips behind it (None: they are found by the card), and what is wrong."""

    card: Card
    entries: tuple[Entry, ...] | None
    problems: tuple[Problem, ...]


def is_own(name: str) -> bool:
    """Whether a data set is named by where it is, and not by a name of the registry."""
    return "/" in name or name.lower().endswith(".csv") or name in (".", "..")


def own_source(path: Path, known: Sequence[Card]) -> Source:
    """The data set that a manifest or a folder holds; classes that one of the `known` cards has need no sentiment."""
    own = read_own(path, known)
    return Source(own.card, partial(index_own, own), path)


def read_own(path: Path, known: Sequence[Card]) -> Own:
    """The card of a manifest or folder, and its clips; raises DataError for what cannot be used."""
    try:
        os.stat(path)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise DataError(
            f"there is no {str(path)[:200]}{reason}; name a manifest (.csv) or a folder of <Class>/<clip>.mp4"
        ) from None
    if path.is_dir():
        facts, name = _read_facts(path / "dataset.toml"), path.resolve().name
        if is_tree(path):
            card, told = _make_card(name, facts, _classes_of_tree(path), {}, known, _tree_has_splits(path))
            return Own(card, None, told)
        entries, problems = read_folder(path)
    elif path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a manifest (.csv) nor a folder of <Class>/<clip>.mp4")
    else:
        facts = _read_facts(path.with_suffix(".toml"))
        name = path.stem if path.stem not in ("manifest", "labels") else path.resolve().parent.name
        entries, problems = read_manifest(path)
    split = any(entry.split for entry in entries)
    unsplit = next((entry.where for entry in entries if split and entry.split is None), None)
    if unsplit is not None:
        raise DataError(f"{unsplit} has no split, others have; say train, val or test for each clip, or for none")
    card, told = _make_card(name, facts, sorted({entry.label for entry in entries}), _signs(entries), known, split)
    return Own(card, tuple(entries), (*problems, *told))


def index_own(own: Own, path: Path, fold: int) -> Index:
    """What is listed and found, split as it says itself or with one part of its groups left out."""
    if own.entries is None:
        return _index_tree(path, own, fold)
    rows = []
    for entry in own.entries:
        row = make_row(entry.label, entry.clip, entry.split or "train", own.card, entry.where)
        rows.append(replace(row, group=entry.group or row.key, files=entry.files))
    _refuse_twice(own.entries, rows)
    listed, problems = settle(rows, own.card, Rules())
    if own.card.folds != (0,):
        listed = _leave_out(listed, own.card, fold)
    clips = [row for row in listed if row.files.frames or row.files.video or row.files.audio]
    found = {row.key for row in clips}
    why = "listed, but no picture or sound was found"
    problems += [Problem("missing", row.key, why) for row in listed if row.key not in found]
    return Index(tuple(listed), tuple(clips), (*own.problems, *problems))


def _index_tree(path: Path, own: Own, fold: int) -> Index:
    """A tree with its lists, or all of it with one part left out."""
    if own.card.folds == (0,):
        index = index_tree(path, own.card)
        return index._replace(problems=(*own.problems, *index.problems))
    media, problems = scan_media(path, own.card)
    rows = [
        replace(make_row(*split_key(key, key), "train", own.card, key), files=files)
        for key, files in media.items()
        if files.frames or files.video or files.audio
    ]
    settled, found = settle(rows, own.card, Rules())
    listed = tuple(_leave_out(settled, own.card, fold))
    return Index(listed, listed, (*own.problems, *problems, *found))


def _refuse_twice(entries: Sequence[Entry], rows: Sequence[Clip]) -> None:
    """Raise DataError where two lines name one clip and mean different files."""
    first: dict[str, tuple[Entry, Clip]] = {}
    for entry, row in zip(entries, rows, strict=True):
        before, clip = first.setdefault(row.key, (entry, row))
        if clip.files != row.files:
            raise DataError(
                f"{before.where} and {entry.where} are both clip '{row.key}', with different files; "
                "give each its own name in a column clip"
            )


def _leave_out(rows: Sequence[Clip], card: Card, fold: int) -> list[Clip]:
    folds = validation_fold(rows, card.name)
    return hold_out(rows, {row.key: folds[row.group] + 1 for row in rows}, fold, FOLDS)


def _tree_has_splits(root: Path) -> bool:
    lists = (root / "trainlist01.txt").exists() or (root / "testlist01.txt").exists()
    return lists or has_annotation(root)


def _classes_of_tree(root: Path) -> list[str]:
    """The folders of classes; one that leads out of the data folder is none."""
    tops = {root / folder for folder, _, _ in PARTS}
    found = [entry for top in sorted(tops) for entry in list_folder(top) if entry.is_dir()]
    return sorted({entry.name for entry in found if is_text(entry.name) and refusal(Path(entry.path), root) is None})


def _signs(entries: Sequence[Entry]) -> dict[str, int]:
    """Class -> sentiment of its column; raises DataError where two lines of a class differ."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in entries:
        if entry.sentiment is not None:
            found[entry.label].setdefault(entry.sentiment, entry.where)
    for label, signs in found.items():
        if len(signs) > 1:
            told = " and ".join(f"{sign:+d} ({where})" for sign, where in signs.items())
            raise DataError(f"class '{label}' has two sentiments, {told}; sentiment belongs to the class")
    return {label: next(iter(signs)) for label, signs in found.items()}


def _read_facts(path: Path) -> Meaning:
    try:
        if not path.exists():
            return Meaning()
        return Meaning.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is no readable TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        tail = propose(where, Meaning.model_fields) if first["type"] == "extra_forbidden" else first["msg"]
        raise DataError(f"{path}: '{where}': {tail}") from None


def _make_card(
    name: str, facts: Meaning, labels: Sequence[str], signs: Mapping[str, int], known: Sequence[Card], split: bool
) -> tuple[Card, tuple[Problem, ...]]:
    """The card of one's own classes; sentiment by column, by TOML, else as a known card has it for a like name."""
    spelt: dict[str, str] = {}
    for label in labels:
        if spelt.setdefault(label.lower(), label) != label:
            raise DataError(f"classes '{spelt[label.lower()]}' and '{label}' of {name} differ in case alone; write one")
    if len(labels) < 2:
        held = f"one class, '{labels[0]}'" if labels else "no class"
        raise DataError(f"{name} has {held}; two at least are wanted (a manifest is named itself: FOLDER/manifest.csv)")
    for where, names in (("classes", facts.classes), ("sentiment", facts.sentiment), ("emotions", facts.emotions)):
        twice = next((label for label in names if list(names).count(label) > 1), None)
        if twice is not None:
            raise DataError(f"'{twice}' stands twice under {where} of {name}")
        for label in names:
            if label not in labels:
                raise DataError(f"'{label}' under {where} is no class of {name}; {propose(label, labels)}")
    order = [*facts.classes, *(label for label in labels if label not in facts.classes)]
    alike = {alias: (card, label) for card in known for alias, label in card.aliases.items()}
    alike |= {label.lower(): (card, label) for card in reversed(known) for label in card.classes}
    sentiment, emotions, reasons, problems = [], {}, {}, []
    for label in order:
        card, twin = alike.get(label.lower(), (None, ""))
        sign = facts.sentiment.get(label, signs.get(label))
        if sign is None and card is not None:
            sign = card.sentiment[card.classes.index(twin)]
        if sign is None:
            why = "sentiment unknown, taken as neutral; say it in a column or in a TOML file (docs/data.md)"
            problems.append(Problem("warning", label, why))
        sentiment.append(sign or 0)
        if label in facts.emotions:
            emotions[label], reasons[label] = frozenset[str](facts.emotions[label]), "as its TOML file says"
        elif card is not None:
            emotions[label] = card.emotions.get(twin, frozenset())
            reasons[label] = f"as {card.title} has it for '{twin}'"
        else:
            emotions[label] = frozenset({label.lower()} & set(get_args(Emotion)))
            reasons[label] = "the lexicon has it by this name" if emotions[label] else "not said"
    if len(set(sentiment)) == 1:
        why = "all classes have one sentiment, so that every score of sentiment is 100 %; say them in a TOML file"
        problems.append(Problem("warning", "sentiment", why))
    return Card(
        name=_plain_name(name),
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
        splits="as its rows say" if split else f"one of {FOLDS} parts of whole groups for test, the next for val",
        group="group",
        folds=(0,) if split else tuple(range(1, FOLDS + 1)),
        fold="" if split else "part left out for test",
    ), tuple(problems)


def _plain_name(name: str) -> str:
    """A name of small letters and digits; where more than case and dashes is lost by that, a hash tells names apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    lost = re.sub(r"[a-z0-9 ._-]", "", name.lower())
    tail = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6] if lost else ""
    return "-".join(part for part in ("own", plain, tail) if part)
