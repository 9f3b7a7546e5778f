"""Contract of every registry entry, on small real files, so that nothing can be added untested."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
import torch
from safetensors.torch import load_file

from bench.execute import RunEnvironment, RunRequest, execute
from bench.explanations import read_explanations
from bench.loader import collate, slice_batch
from bench.mlflow import MlflowStore
from bench.rng import RngTree
from bench.types import SplitRequest
from datasets.registry import DATASETS, SOURCES
from methods import METHODS
from reports.figures.clips import save_run_figures
from studies.requests import get_arms
from tests.conftest import Quiet, work_here
from tests.datasets.trees import write_affect, write_tree
from tests.documents import load_readme_method
from tests.inputs import with_streams, without

MEDIA = {name: method for name, method in METHODS.items() if name != "probe-features"}  # Ekman-6 has no arrays
ENTRIES = {**MEDIA, "the README's": load_readme_method()}
TINY = {
    **{"epochs": 1, "pretrain_epochs": 2, "size": 24, "mels": 32, "segments": 3, "test_segments": 3, "frames": 2},
    **{"width": 16, "heads": 2, "bottleneck": 2, "decoder_width": 16, "decoder_heads": 2, "contrast_width": 8},
}
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


def make_request(method, seed=0):
    return RunRequest(method.name, method, tiny(method.config.from_preset("quick")), "quick", EKMAN6, seed)


@pytest.fixture(scope="module", params=ENTRIES)
def finished(request, tree, cache):
    """Return the request, environment and record of a finished run of a registry method."""
    method = ENTRIES[request.param]
    environment = RunEnvironment(cache, MlflowStore(cache), Quiet(), save_run_figures, data_folder=tree, threads=1)
    return make_request(method), environment, execute(make_request(method), environment).record


def inputs_of(request, environment, count=3):
    """Return a batch of a few test clips, and the sampling that opened them."""
    sampling = request.method.sampling(request.config, False)
    corpus = EKMAN6.load(
        SplitRequest(environment.data_folder, environment.results, sampling.video.size, sampling.audio.mels, 0)
    )
    samples = [corpus.test.read(index, sampling, RngTree(0), 0) for index in range(count)]
    return collate(samples), sampling


def predictor_of(request, environment, record):
    built = request.method.build(request.config, EKMAN6.info)
    built.load_state_dict(load_file(environment.results / "runs" / record.key / "weights.safetensors"))
    built.train(False)
    return built


def test_a_run_ends_with_every_score(finished):
    _, _, record = finished
    assert record.error is None
    for split in ("val", "test"):
        for name in ("acc_e", "f1_e", "f1_e_macro", "bal_e", "acc_s", "f1_s", "loss", "n"):
            assert math.isfinite(record.scores[f"{split}/{name}"])
        assert all(f"{split}/recall/{name}" in record.scores for name in EKMAN6.info.classes)
    assert record.scores["test/n"] == 6


def repeated(finished, folder, loaders):
    """Execute the same request again in another results folder and return its record."""
    request, environment, _ = finished
    shutil.copytree(environment.results / "prepared", folder / "prepared")
    other = replace(
        environment,
        results=folder,
        store=MlflowStore(environment.results),
        draw_figures=lambda *given: [],
        loaders=loaders,
    )
    return execute(request, other).record


def test_the_same_spec_gives_the_same_scores(finished, tmp_path):
    record, again = finished[2], repeated(finished, tmp_path, 0)
    assert again.key == record.key and again.scores == record.scores


@pytest.mark.parametrize(
    "finished",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in SPAWNED)) for name in ENTRIES],
    indirect=True,
)
def test_the_same_spec_gives_the_same_scores_whatever_reads_the_clips(finished, tmp_path):
    record, again = finished[2], repeated(finished, tmp_path, 1)
    assert again.key == record.key and again.scores == record.scores


def test_the_predictor_rebuilt_from_its_weights_gives_the_same_scores(finished):
    import pandas

    request, environment, record = finished
    inputs, _ = inputs_of(request, environment, 6)
    with torch.inference_mode():
        scores = predictor_of(request, environment, record)(inputs).output
    table = pandas.read_parquet(environment.results / "runs" / record.key / "predictions.parquet")
    stored = table[table.split == "test"][[f"score/{name}" for name in EKMAN6.info.classes]].to_numpy()
    torch.testing.assert_close(scores, torch.tensor(stored), rtol=1e-4, atol=1e-5)


def test_a_clip_s_scores_do_not_depend_on_its_neighbours(finished):
    request, environment, record = finished
    predictor, (inputs, _) = predictor_of(request, environment, record), inputs_of(request, environment)
    with torch.inference_mode():
        together = predictor(inputs).output
        alone = torch.cat([predictor(slice_batch(inputs, i, i + 1)).output for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("missing", [("video",), ("audio",), ("text",), ("video", "audio", "text")])
def test_missing_modalities_give_finite_scores(finished, missing):
    request, environment, record = finished
    inputs, _ = inputs_of(request, environment)
    silent = (
        with_streams(inputs, text=tuple(((),) * len(clip) for clip in inputs.words)) if "text" in missing else inputs
    )
    with torch.inference_mode():
        scores = predictor_of(request, environment, record)(without(silent, *missing)).output
    assert scores.shape == (3, 6) and scores.isfinite().all()


def test_an_explanation_has_a_curve_of_segments_and_classes_or_none(finished):
    request, environment, record = finished
    inputs, sampling = inputs_of(request, environment)
    explanations = predictor_of(request, environment, record).explain(inputs)
    assert len(explanations) == 3
    for explanation in explanations:
        assert explanation.curve is None or explanation.curve.shape == (sampling.segments, 6)


def test_explanations_of_validation_clips_are_stored_and_drawn_and_listed(finished):
    _, environment, record = finished
    folder = environment.results / "runs" / record.key
    explained = read_explanations(folder)
    files = {"explained.json", "explained.safetensors"} & set(record.files)
    assert bool(files) == (explained is not None) == ("emotions.png" in record.files)
    assert {path.name for path in folder.glob("*.png")} <= set(record.files)
    if explained is not None:
        corpus = EKMAN6.load(SplitRequest(environment.data_folder, environment.results, 24, 32, 0))
        keys = {key for stage in explained.stages.values() for key in stage} | set(explained.shown)
        assert keys <= {clip.key for clip in corpus.val.clips} and len(explained.shown) == 4


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
