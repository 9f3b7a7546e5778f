"""The file that describes the data set of a run: what was written comes back, and what does not fit is refused."""

from __future__ import annotations

import json

import pytest

from bench.errors import StoreError
from bench.record import DATASET_INFO_FILE, read_dataset_info, write_dataset_info
from bench.tasks import Classification, Regression, TargetRange
from bench.types import DatasetInfo
from datasets.registry import DATASETS

MOOD = Regression((TargetRange("mood", -3.0, 3.0), TargetRange("中 [b]/x", 0.0, 0.1)), select="ccc")
PLAIN = Classification(("calm", "tense"), None)


def info(task):
    return DatasetInfo("own", "Own clips", task, {}, "en", "own", "none", "here", folds=(1, 2))


@pytest.mark.parametrize(
    "given", [*(source.info for source in DATASETS.values()), info(MOOD), info(PLAIN)], ids=lambda given: given.name
)
def test_what_was_written_comes_back(given, tmp_path):
    write_dataset_info(tmp_path, given)
    assert read_dataset_info(tmp_path) == given
    raw = json.loads((tmp_path / DATASET_INFO_FILE).read_text())
    assert "task" not in raw and ("targets" in raw) != ("classes" in raw)


def test_a_file_of_version_0_1_is_that_of_classes_with_a_sentiment(tmp_path):
    raw = {"name": "own", "title": "Own", "classes": ["calm", "tense"], "sentiment": [1, -1], "emotions": {}}
    raw |= dict.fromkeys(("language", "licence", "cite", "obtain"), "")
    (tmp_path / DATASET_INFO_FILE).write_text(json.dumps(raw))
    assert read_dataset_info(tmp_path).task == Classification(("calm", "tense"), (1, -1))


def target(**values):
    return {"targets": [{"name": "mood", "low": -3.0, "high": 3.0, **values}]}


HOSTILE = {
    "an infinite end": target(high=float("inf")),
    "an end that is no number": target(low=float("nan")),
    "ends whose distance is infinite": target(low=-1.5e308, high=1.5e308),
    "the lowest above the highest": target(low=3.0, high=-3.0),
    "equal ends": target(low=3.0),
    "a word for a number": target(low="low"),
    "a number for a name": target(name=3),
    "no name": {"targets": [{"low": 0.0, "high": 1.0}]},
    "an unknown metric": {**target(), "select": "acc_e"},
    "equal names": {"targets": [*target()["targets"], *target()["targets"]]},
    "no targets": {"targets": []},
    "targets that are words": {"targets": ["mood"]},
    "targets that are a mapping": {"targets": {"mood": [0, 1]}},
    "targets that are null": {"targets": None},
    "10,000 targets": {"targets": [{"name": f"t{place}", "low": 0.0, "high": 1.0} for place in range(10_000)]},
    "emotions of a class": {**target(), "emotions": {"calm": ["joy"]}},
}


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE)
def test_targets_that_do_not_fit_are_refused_in_one_line(values, tmp_path):
    write_dataset_info(tmp_path, info(MOOD))
    path = tmp_path / DATASET_INFO_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    refused(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        *({"sentiment": value} for value in ([1], [1, -1, 0], [1, 2], ["good", "bad"], 1, {"calm": 1})),
        *({"classes": value} for value in ([], ["calm", "calm"], "calm", [1, 2], None)),
        {"folds": []},
    ],
    ids=str,
)
def test_classes_that_do_not_fit_are_refused_in_one_line(values, tmp_path):
    write_dataset_info(tmp_path, info(Classification(("calm", "tense"), (1, -1))))
    path = tmp_path / DATASET_INFO_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    refused(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '["targets"]', '"targets"', "3", "null", "{}", '{"targets": [1]}'])
def test_what_is_no_description_is_refused_in_one_line(text, tmp_path):
    (tmp_path / DATASET_INFO_FILE).write_text(text)
    refused(tmp_path)


def refused(folder):
    with pytest.raises(StoreError, match="is not a valid dataset info") as error:
        read_dataset_info(folder)
    assert str(error.value).isprintable() and len(str(error.value)) < 400
