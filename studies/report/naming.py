"""Which arm a record is, told from its values alone: by what name, and where the values came from.

A record carries no label that a report could trust: two names for one config are one run. So its values are held
against those that each arm would have, by its preset or by the winner of a search; what is left over was set by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import ConfigError
from bench.files import sha256
from bench.record import Record
from reports.results.run import Values
from reports.results.searched import Summary
from studies.ask import Arm, find_arm, known_arms

_HASH = re.compile("[0-9a-f]{64}")
Settings = tuple[tuple[str, str], ...]
"""Values set by hand, as (field, text), by field."""


@dataclass(frozen=True)
class Name:
    """A name that fits a record."""

    arm: str
    values: Values
    settings: Settings
    tried: int


def settings_of(arms: Sequence[str], preset: str, given: Mapping[str, str]) -> Settings:
    """Values set by hand as `names_of` tells them of a record: those that differ from a preset, in the config's own
    form, a file by its sha256. `arms` are those whose configs may have the fields; one that none has is left out."""
    found = {}
    for name, text in given.items():
        for arm in map(find_arm, arms):
            if name in arm.method.config.model_fields and name not in arm.overrides:
                base = arm.method.config.preset(preset).override(arm.overrides)
                config = base.override({name: text})
                value, own = (one.model_dump(mode="json")[name] for one in (config, base))
                if value != own:
                    files = config.files()
                    found[name] = _content_of(name, files[name]) if name in files else str(value)
                break
    return tuple(sorted(found.items()))


def by_content(arms: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Values set by hand, a file by its sha256, so that they mean the same wherever the file is. Raises ConfigError."""
    found = dict(given)
    for name, text in given.items():
        for arm in map(find_arm, arms):
            if name in arm.method.config.model_fields:
                files = arm.method.config.preset("quick").override({name: text}).files()
                found[name] = _content_of(name, files[name]) if name in files else text
    return found


def _content_of(field: str, path: Path) -> str:
    """The sha256 of a file, or what already is one."""
    if _HASH.fullmatch(path.name) and not path.exists():
        return path.name
    try:
        return sha256(path)
    except OSError as error:
        raise ConfigError(
            f"--set {field}={path}: no such file ({error.strerror}); name the file that runs had"
        ) from None


def names_of(record: Record, searches: Sequence[Summary], full: str) -> list[Name]:
    """Every name that explains a record with the fewest values set by hand; none for a method that is not known.

    Values that a search chose count as its own, also where they are those of the preset. `full` is the method whose
    search gives other arms their values.
    """
    mine = [search for search in searches if _is_of(search, record)]
    found = [name for arm in _arms_of(record.spec.method) for name in _explain(record, arm, mine, full)]
    fewest = min((len(name.settings) for name in found), default=0)
    found = [name for name in found if len(name.settings) == fewest]
    searched = {name.arm for name in found if name.values != "own"}
    kept = [name for name in found if name.values != "own" or name.arm not in searched]
    most = {replace(name, tried=0): name for name in sorted(kept, key=lambda name: name.tried)}
    return list(most.values())


def _is_of(search: Summary, record: Record) -> bool:
    """Whether a search found something on a record's data, with the same files as far as both have them."""
    spec = record.spec
    of = (search.dataset, search.data, search.fold, search.preset)
    files = search.weights or {}
    same = all(files[name] == sha for name, sha in spec.weights.items() if name in files)
    return of == (spec.dataset, spec.data, spec.fold, record.preset) and search.winner is not None and same


@cache
def _arms_of(method: str) -> tuple[Arm, ...]:
    return tuple(arm for arm in known_arms().values() if arm.method.name == method)


@cache
def _preset(name: str, preset: str) -> dict[str, Any]:
    """The values of an arm under a preset, as a record has them; empty where either is not known."""
    arm = known_arms().get(name)
    try:
        return arm.method.config.preset(preset).override(arm.overrides).model_dump(mode="json") if arm else {}
    except ConfigError:
        return {}


def _explain(record: Record, arm: Arm, searches: Sequence[Summary], full: str) -> list[Name]:
    """The names under which a record could be this arm: with its own values, or with those of a search."""
    base = _preset(arm.name, record.preset)
    if not base or any(_differs(record, name, base[name]) for name in arm.overrides):
        return []
    found = [Name(arm.name, "own", _left_over(record, base), 1)]
    for search in searches:
        if search.arm not in (arm.name, full):
            continue
        free = base.keys() - arm.overrides.keys()
        own = _preset(search.arm, record.preset)
        asked = {name: value for name, value in search.base.items() if value != own.get(name)}
        if not free & (search.winner or {}).keys():
            continue  # it has nothing of what was searched
        given = {name: value for name, value in {**asked, **(search.winner or {})}.items() if name in free}
        if not any(_differs(record, name, value) for name, value in {**base, **given}.items()):
            values: Values = "re-tuned" if search.arm == arm.name else "frozen"
            settings = _left_over(record, {**base, **(search.winner or {})}, set(asked))
            found.append(Name(arm.name, values, settings, search.tried))
    return found


def _left_over(record: Record, base: dict[str, Any], among: set[str] | None = None) -> Settings:
    """The values that differ from `base`; a file by the start of its sha256."""
    names = [name for name, value in base.items() if (among is None or name in among) and _differs(record, name, value)]
    return tuple((name, record.spec.weights.get(name, str(record.spec.config.get(name)))) for name in sorted(names))


def _differs(record: Record, name: str, value: Any) -> bool:
    return bool(record.spec.config.get(name) != value)


def in_words(settings: Settings) -> str:
    """Values set by hand as a person reads them; of a file's sha256 the start."""
    return ", ".join(f"{name}={value[:8] if _HASH.fullmatch(value) else value}" for name, value in settings)
