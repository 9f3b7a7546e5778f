"""A card as a file beside a record, so that a model can be built again without the data it was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.data import Card
from bench.errors import StoreError
from bench.files import parse_json, write_whole

CARD = "card.json"


def write_card(folder: Path, card: Card) -> None:
    """Write the card into a run's folder."""
    raw = {**asdict(card), "emotions": {name: sorted(found) for name, found in card.emotions.items()}}
    write_whole(folder / CARD, (json.dumps(raw, indent=1, sort_keys=True) + "\n").encode())


def read_card(folder: Path) -> Card | None:
    """The card that a run was made with; None where it kept none. Raises StoreError for a file that is no card."""
    path = folder / CARD
    if not path.exists():
        return None
    try:
        raw: dict[str, Any] = parse_json(path.read_text())
        raw["emotions"] = {name: frozenset(found) for name, found in raw["emotions"].items()}
        for name in ("classes", "sentiment", "unreached", "folds"):
            raw[name] = tuple(raw[name])
        return Card(**raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no card ({type(error).__name__}: {error}); move it away") from None
