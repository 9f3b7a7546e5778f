import pytest
import torch

from bench.config import SearchRange
from bench.explanations import ClipFigure
from bench.rng import RngTree
from methods import METHODS, VARIANTS
from methods.mart.config import MartConfig
from methods.mart.pretraining import MartObjective, MartPredictor
from methods.mbt.model import Mbt
from reports.figures.clips import CLIP_FIGURES
from reports.tables.published import load_published_paper
from tests.methods.mart.toys import tower_file
from tests.methods.toys import TINY, toy_batch
from tests.toys import CARD

TINY_MART = MartConfig(**TINY.model_dump(), decoder_depth=1, decoder_width=8, decoder_heads=2, contrast_width=8)
TINY_MART = TINY_MART.override({"frames": 4})  # two time steps, so that a mask can hide one


def pretraining(config):
    torch.manual_seed(0)
    return MartObjective(MartPredictor(Mbt(config, 3, RngTree(5)), config, CARD), config, CARD, RngTree(5))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_name_version_title_and_valid_presets(name):
    method = METHODS[name]
    assert method.name == name and method.version >= 1 and method.title
    for preset in method.config.presets:
        assert method.config.from_preset(preset).override({}) == method.config.from_preset(preset)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_measures_and_note_tables_fit_its_config(name):
    method = METHODS[name]
    assert set(method.shown_fields) <= set(method.config.model_fields)
    assert method.paper is None or load_published_paper(method.paper).tables
    for table in method.note_tables:
        assert all(len(words) == len(table.labels) for words, _ in table.rows)
        assert all(len(notes) == len(table.headings) for _, notes in table.rows)
    for measure in method.measures:
        assert measure.heading or measure.title
        assert (measure.least is None) == (not measure.warning)


def test_measures_of_one_name_are_one_measure():
    found = {measure for method in METHODS.values() for measure in method.measures}
    assert len({measure.name for measure in found}) == len(found) > 1


@pytest.mark.parametrize("name", METHODS)
def test_every_lazy_reference_of_a_method_exists(name):
    method, shown = METHODS[name], set(CLIP_FIGURES)
    assert method.load_review() is None or callable(method.load_review())
    for file, figure in method.load_figures().items():
        assert isinstance(figure, ClipFigure) and file.endswith(".png") and file not in shown
    assert set(method.encoder_weights) <= method.config.model_fields.keys()


@pytest.mark.parametrize("name", METHODS)
def test_every_field_has_a_description_and_a_search_range_within_its_bounds(name):
    config = METHODS[name].config
    assert all(field.description for field in config.model_fields.values())
    for field, search in config.get_declared_ranges().items():
        assert isinstance(search, SearchRange)
        for value in search.choices or (search.low, search.high):
            config().override({field: value})


@pytest.mark.parametrize("name", VARIANTS)
def test_every_pinned_name_is_its_method_with_other_valid_values(name):
    arm = VARIANTS[name]
    base = METHODS[arm.method].config.from_preset("quick")
    changed = base.override(arm.overrides)
    assert name not in METHODS and arm.title
    before, after = base.model_dump(), changed.model_dump()
    assert {field for field in before if before[field] != after[field]} == set(arm.overrides)


def test_mbt_long_is_trained_by_the_label_loss_alone():
    objective = pretraining(TINY_MART.override(VARIANTS["mbt-long"].overrides))
    assert set(objective(toy_batch(TINY_MART)).terms) == {"cls_video", "cls_audio"}
    assert all(name.startswith("predictor.mbt.") for name, _ in objective.named_parameters())


@pytest.mark.parametrize("arm", [None, *VARIANTS])
def test_mart_and_its_variants_start_from_mbt_s_weights(arm, tmp_path):
    files = {"weights_teacher": str(tower_file(tmp_path / "tower.safetensors"))} if arm == "mart-target-clip" else {}
    objective = pretraining(TINY_MART.override({**(VARIANTS[arm].overrides if arm else {}), **files}))
    plain = Mbt(TINY, 3, RngTree(5)).state_dict()
    theirs = objective.predictor.mbt.state_dict()
    assert plain.keys() == theirs.keys()
    assert all(torch.equal(plain[name], theirs[name]) for name in plain)
