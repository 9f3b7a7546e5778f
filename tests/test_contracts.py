"""Contract of every registry entry, on small real files, so that nothing can be added untested."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import chain

import pytest

from bench.explanations import read_explanations
from bench.mlflow import MlflowStore
from bench.types import SplitRequest
from datasets.registry import DATASETS, SOURCES
from methods import METHODS
from reports.figures.clips import save_run_figures
from studies.contract import CHECKS, Subject, check_labels, check_repeated, check_resumed
from studies.requests import get_arms
from tests.conftest import work_here
from tests.datasets.trees import write_affect, write_tree
from tests.documents import load_methods

MEDIA = {name: method for name, method in METHODS.items() if name != "probe-features"}  # Ekman-6 has no arrays
ENTRIES = {**MEDIA, **load_methods()}
TINY = {
    **{"epochs": 2, "pretrain_epochs": 2, "size": 24, "mels": 32, "segments": 3, "test_segments": 3, "frames": 2},
    **{"width": 16, "heads": 2, "bottleneck": 2, "decoder_width": 16, "decoder_heads": 2, "contrast_width": 8},
}
LONG = {"mart", "mart-released"}  # their checks that fit again run in the slow tests
SEVERAL_FITS = {check_resumed, check_labels}
SPAWNED = {"probe"}  # read by loader processes in the fast tests; the other methods only in the slow ones
SPLIT = {"ekman6", "iemocap", "affwild2-va"}  # split in the fast tests; the other data sets only in the slow ones
EKMAN6 = DATASETS["ekman6"]


@pytest.fixture(scope="module", autouse=True)
def prepared_here():
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("contract"), EKMAN6.info, 6, 1, seconds=0.4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, ready_mlflow):
    folder = tmp_path_factory.mktemp("results")
    shutil.copy(ready_mlflow, folder / "mlflow.db")
    return folder


def tiny(config):
    """Return the config with the shortest schedule and the smallest sizes for the fields that it has."""
    return config.override({name: value for name, value in TINY.items() if name in type(config).model_fields})


@pytest.fixture(scope="module", params=ENTRIES)
def subject(request, tree, cache):
    """Return a method of the registry or of the documentation on tiny clips; its run is made on first use."""
    method, store = ENTRIES[request.param], MlflowStore(cache)
    config = tiny(method.config.from_preset("quick"))
    return Subject(method, config, EKMAN6, cache, tree, store=store, draw=save_run_figures)


def test_a_run_has_the_scores_of_every_class_and_clip(subject):
    scores = subject.record.scores
    for split in ("val", "test"):
        names = ("f1_e_macro", "bal_e", "loss", *(f"recall/{name}" for name in EKMAN6.info.classes))
        assert all(f"{split}/{name}" in scores for name in names)
    assert scores["test/n"] == 6


def test_explanations_of_validation_clips_are_stored_and_drawn_and_listed(subject):
    record = subject.record
    folder = subject.results / "runs" / record.key
    explained = read_explanations(folder)
    files = {"explained.json", "explained.safetensors"} & set(record.files)
    assert bool(files) == (explained is not None) == ("emotions.png" in record.files)
    assert {path.name for path in folder.glob("*.png")} <= set(record.files)
    if explained is not None:
        corpus = EKMAN6.load(SplitRequest(subject.data, subject.results, 24, 32, 0))
        keys = {key for stage in explained.stages.values() for key in stage} | set(explained.shown)
        assert keys <= {clip.key for clip in corpus.val.clips} and len(explained.shown) == 4


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("subject", [name for name in ENTRIES if name not in LONG], indirect=True)
def test_a_method_keeps_its_promises(subject, promise):
    CHECKS[promise](subject)


@pytest.mark.parametrize(
    "promise", [pytest.param(name, marks=[pytest.mark.slow] * (CHECKS[name] in SEVERAL_FITS)) for name in CHECKS]
)
@pytest.mark.parametrize("subject", sorted(LONG), indirect=True)
def test_a_method_of_two_stages_keeps_its_promises(subject, promise):
    CHECKS[promise](subject)


@pytest.mark.parametrize(
    "subject",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in SPAWNED)) for name in ENTRIES],
    indirect=True,
)
def test_the_same_spec_gives_the_same_scores_whatever_reads_the_clips(subject):
    check_repeated(subject, loaders=1)


def test_every_arm_has_a_distinct_config():
    configs = {name: arm.method.config.from_preset("quick").override(arm.overrides) for name, arm in get_arms().items()}
    distinct = {(arm.method.name, configs[name].model_dump_json()) for name, arm in get_arms().items()}
    assert len(distinct) == len(configs)


@pytest.mark.parametrize("name", DATASETS)
def test_a_card_is_whole(name):
    card = DATASETS[name].info
    assert card.name == name and len(card.classes) == len(card.sentiment) == len(set(card.classes))
    assert set(card.sentiment) <= {-1, 0, 1}
    reached = {label for label in card.classes if card.emotions.get(label)}
    assert reached | set(card.unreached) == set(card.classes)
    assert all((card.title, card.language, card.licence, card.cite, card.obtain))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SPLIT)) for name in DATASETS]
)
def test_a_data_set_gives_disjoint_splits_that_follow_from_the_seed(name, tmp_path_factory):
    entry = DATASETS[name]
    root = write_tree(tmp_path_factory.mktemp("splits"), SOURCES[name].drawn or entry.info, 5, 1, seconds=0.1)
    if not entry.info.classes:
        write_affect(root)
    cache = tmp_path_factory.mktemp("cache")
    corpora = [entry.load(SplitRequest(root, cache, 16, 24, seed)) for seed in (0, 0, 1)]
    fixed_val = entry.info.group == "session"  # val is the next session for every seed
    assert (
        corpora[0].fingerprint == corpora[1].fingerprint
        and (corpora[2].fingerprint == corpora[0].fingerprint) == fixed_val
    )
    assert corpora[0].content_hash == corpora[1].content_hash
    splits = [corpora[0].train.clips, corpora[0].val.clips, corpora[0].test.clips]
    assert max(Counter(clip.key for clip in chain(*splits)).values()) == 1
    groups = [{clip.group for clip in clips} for clips in splits]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
    assert {clip.split for clip in splits[2]} == {"test"}
    assert {clip.split for clip in splits[1]} == ({"val"} if fixed_val else {"train"})
