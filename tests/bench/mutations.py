"""Random mutations of a record's JSON, as a hostile or broken server may send it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from bench.record import RunSpec

NAMES = ("../../../home/x", "../../optuna.db", "/etc/passwd", "..", "mlflow.json", "record.json", "a/b", "é\n", "")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 2**70, -(2**63), 1e308, 0.5, "", "x", "../../optuna.db", "\x1b[31mred", "a\nb", "\ud800",
    "[b]", "z" * 5000, [], {}, [[]], {"a": {"b": {"c": {"d": 1}}}}, ["x", 1], {"../x": "0" * 64}, {"": None},
)  # fmt: skip


def nested(depth: int) -> Any:
    """Return a value in `depth` nested lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in pairs:
        yield (*path, name)
        yield from paths(item, (*path, name))


def mutated(record: str, dice: random.Random) -> str:
    """Return a record's text with one to three changes; half of the texts have the key of their changed spec."""
    raw = json.loads(record)
    for _ in range(dice.randint(1, 3)):
        change(raw, dice)
    if dice.random() < 0.5:
        make_consistent(raw)
    text = json.dumps(raw)
    if dice.random() < 0.1:  # a truncated file, or one with missing bytes
        start = dice.randrange(len(text))
        text = text[:start] + text[start + dice.randint(1, len(text)) :]
    return text


def change(raw: dict[str, Any], dice: random.Random) -> None:
    """Change one value of a JSON object; fields with few values are as likely as long lists."""
    top = dice.choice(sorted(raw))
    inner = [path for path in paths(raw) if path[0] == top]
    *parents, last = dice.choice(inner)
    parent: Any = raw
    for name in parents:
        parent = parent[name]
    kind = dice.choice(("value", "value", "value", "delete", "name", "deep"))
    if kind == "value":
        parent[last] = deepcopy(dice.choice(VALUES))  # a later change may alter it
    elif kind == "deep":
        parent[last] = nested(dice.choice((3, 9, 100)))
    elif kind == "delete":
        del parent[last]
    elif isinstance(parent, dict):
        parent[dice.choice(NAMES)] = parent.pop(last)


def make_consistent(raw: Any) -> None:
    """Set the key of a record to that of its spec, if the spec is valid."""
    try:
        raw["key"] = RunSpec(**raw["spec"]).key
    except (KeyError, TypeError, ValueError, AttributeError):
        return


def sha(text: str) -> str:
    """Return the sha256 of a text as it is stored."""
    return hashlib.sha256(text.encode()).hexdigest()
