"""Stored scores of each method: a change of numbers must come with a new version, so that old records are not reused.

`python -m tests.methods.test_versions` stores the scores again.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch

from methods import METHODS
from tests.methods.mart.toys import CARD, spoken_clips
from tests.methods.toys import run_fit

STORED = Path(__file__).with_name("stored_scores.json")
SHORT = {"epochs": 2, "pretrain_epochs": 4}


def scores_of(name: str, folder: Path) -> list[list[float]]:
    """Train a method briefly on toy clips with its quick preset and return its test scores, rounded."""
    torch.set_num_threads(1)
    method = METHODS[name]
    config = method.config.from_preset("quick")
    config = config.override({field: value for field, value in SHORT.items() if field in type(config).model_fields})
    sets = {split: spoken_clips(split, count) for split, count in (("train", 4), ("val", 2), ("test", 1))}
    scores, _ = run_fit(method, config, folder, card=CARD, **sets)
    rows: list[list[float]] = [[round(value, 4) for value in row] for row in scores.tolist()]
    return rows


@pytest.mark.parametrize("name", METHODS)
def test_a_method_whose_numbers_change_has_a_new_version(name: str, tmp_path: Path) -> None:
    stored = json.loads(STORED.read_text())[name]
    assert stored["version"] == METHODS[name].version, "store the scores of the new version: see the module's docstring"
    found, expected = torch.tensor(scores_of(name, tmp_path)), torch.tensor(stored["scores"])
    message = (
        f"the numbers of {name} have changed: raise its `version`, then store its scores (see the module's docstring)"
    )
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01, msg=message)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        stored = {
            name: {"version": method.version, "scores": scores_of(name, Path(folder) / name)}
            for name, method in METHODS.items()
        }
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
