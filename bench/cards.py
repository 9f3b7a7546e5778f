"""A card as a file beside a record, so that a model can be built again without the data it was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from bench.data import Card
from bench.errors import StoreError
from bench.files import parse_json, write_whole

CARD = "card.json"


def write_card(folder: Path, card: Card) -> None:
    """Write the card into a run's folder."""
    raw = {**asdict(card), "emotions": {name: sorted(found) for name, found in card.emotions.items()}}
    write_whole(folder / CARD, (json.dumps(raw, indent=1, sort_keys=True) + "\n").encode())


def read_card(folder: Path) -> Card | None:
    """Read the card that a run was made with; None where it stored none. Raises StoreError for a file that is no card:
    every value is of its type, and there is a sentiment of -1, 0 or 1 for each class."""
    path = folder / CARD
    if not path.exists():
        return None
    try:
        card = _adapter().validate_python(parse_json(path.read_text()))
        if not card.classes or not card.folds or len(set(card.classes)) != len(card.sentiment):
            raise ValueError("classes, sentiment and folds do not belong together")
        if not set(card.sentiment) <= {-1, 0, 1} or not set(card.emotions) <= set(card.classes):
            raise ValueError("sentiment or emotions are not those of its classes")
        return card
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} is no card ({type(error).__name__}: {ascii(reason)[1:-1]}); move it away") from None


@cache
def _adapter() -> TypeAdapter[Card]:
    return TypeAdapter(Card)
