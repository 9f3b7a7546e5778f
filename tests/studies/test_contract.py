"""The contract suite: a good method passes every check, and a wrong one fails the check that is meant for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from bench.method import Plugin
from bench.tasks import Classification, Regression, TargetRange
from bench.types import Dataset, DatasetSplits
from methods import get_methods, register_plugins
from studies.contract import CHECKS, RelabelledClips, Subject, ensure_clips, run_checks, shorten
from tests.documents import read_plugins
from tests.toys import CARD, TOY_DATA, ToyConfig, number_clips

GOOD = read_plugins()["recurrent.py"].text
SCORES = replace(CARD, name="toy-scores", task=Regression((TargetRange("x", 0, 2), TargetRange("y", -1, 1))))
HEAD, FIT_END = "        segments = self.head(states)\n", "    return predictor\n\n\nRECURRENT"
OF_STAGE = (
    "    train_stage(LabelObjective(predictor, ctx.info.task), sample_segments(ctx.config, True), stage, ctx, select)\n"
)


@dataclass(frozen=True)
class ScoredClips:
    """Clips of numbers with two targets; the first is the class."""

    classes: object

    @property
    def clips(self):
        return tuple(replace(clip, target=(float(clip.target), 0.1)) for clip in self.classes.clips)

    def read(self, *given):
        return self.classes.read(*given)


def load_scores(request):
    sets = (ScoredClips(number_clips(split, count)) for split, count in (("train", 8), ("val", 3), ("test", 4)))
    return DatasetSplits(SCORES, *sets, "f" * 64, "c" * 64)


def make(text, folder):
    """Return a method from its text on toy clips."""
    register_plugins([Plugin("mine.py", text)])
    method = get_methods()["recurrent"]
    register_plugins(())
    config = shorten(method.config.from_preset("quick"))
    others = {Classification: TOY_DATA, Regression: Dataset(SCORES, load_scores)}
    return Subject(method, config, TOY_DATA, folder, others=others)


def find_faults(text, folder):
    """Return the check that fails -> its message."""
    promises = {promise: check.__name__ for promise, check in CHECKS.items()}
    return {promises[result.promise]: result.fault for result in run_checks(make(text, folder)) if result.fault}


def changed(*pairs):
    """Return the good method with some texts replaced; it has each of them once."""
    text = GOOD
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_a_good_method_passes_every_check_and_resumes_in_its_stage(tmp_path):
    results = list(run_checks(make(GOOD, tmp_path)))
    assert [result.promise for result in results] == list(CHECKS)
    assert [result for result in results if result.fault or result.remark] == []


def test_a_method_without_train_stage_passes_with_a_remark(tmp_path):
    results = list(run_checks(make(changed((OF_STAGE, "")), tmp_path)))
    remarks = [result.remark for result in results if result.remark]
    assert [result for result in results if result.fault] == [] and "without train_stage" in remarks[0]
    assert len(remarks) == 1


BOTH = (
    ("RecurrentConfig, Recurrent, fit)", "RecurrentConfig, Recurrent, fit, tasks=(Classification, Regression))"),
    ("import BasePredictor,", "import BasePredictor, Classification, Regression,"),
)


def test_a_method_of_two_tasks_passes_on_both(tmp_path):
    assert find_faults(changed(*BOTH), tmp_path) == {}


NOT_IN_WEIGHTS = (
    (
        "        super().__init__()\n        self.gru",
        "        super().__init__()\n        self.scale = 1.0\n        self.gru",
    ),
    (HEAD, "        segments = self.scale * self.head(states)\n"),
    (FIT_END, f"    predictor.scale = 3.0\n{FIT_END}"),
)
COUNTS_STEPS = (
    (
        "        self.predictor, self.task = predictor, task\n",
        "        self.predictor, self.task, self.n = predictor, task, 0\n",
    ),
    ('{"label": self.task.loss', '{"label": self.count() * self.task.loss'),
    ("\n\ndef fit(ctx):", "\n    def count(self):\n        self.n += 1\n        return self.n\n\n\ndef fit(ctx):"),
)
EXPLAINS = "\n\nclass LabelObjective"


def explaining(value):
    return (EXPLAINS, f"\n    def explain(self, inputs):\n        return {value}\n{EXPLAINS}")


WRONG = {
    "a log range from 0": ([("SearchRange(1e-4,", "SearchRange(0.0,")], "check_config", ("lr", "log")),
    "a range out of bounds": (
        [("Field(3e-3, gt=0,", "Field(3e-3, gt=1e-3,")],
        "check_config",
        ("lr", "0.0001", "range"),
    ),
    "a range upside down": ([("1e-4, 1e-2", "1e-2, 1e-4")], "check_config", ("lr", "low < high")),
    "a default out of bounds": ([("Field(16, ge=1", "Field(16, ge=17")], "check_config", ("batch", "preset", "17")),
    "an error in fit": (
        [("    stage = TrainC", "    1 / 0\n    stage = TrainC")],
        "check_scored",
        ("mine.py, line", "zero"),
    ),
    "scores that are not numbers": ([(HEAD, f"{HEAD}        segments = segments / 0\n")], "check_scored", ("nan",)),
    "segments without their axis": (
        [("segments.mean(1), segments)", "segments.mean(1), segments.mean(1))")],
        "check_shapes",
        ("segments of", "(3, 6, 3)", "(3, 3)"),
    ),
    "weights without a seed": (
        [('    torch.manual_seed(ctx.rng.derive_seed("weights"))\n', "")],
        "check_repeated",
        ("second run", "ctx.rng"),
    ),
    "a number outside the weights": (NOT_IN_WEIGHTS, "check_rebuilt", ("rebuilt", "buffers")),
    "a mean over the batch": (
        [(HEAD, f"{HEAD}        segments = segments - segments.mean(0)\n")],
        "check_neighbours",
        ("neighbours",),
    ),
    "a division by loudness": (
        [("inputs.audio.mean(2) / 10", "inputs.audio.mean(2) / inputs.audio.abs().sum((1, 2, 3))[:, None, None]")],
        "check_missing",
        ("without audio", "NaN"),
    ),
    "too few explanations": ([explaining("[]")], "check_explanations", ("list of 3",)),
    "explanations of no kind": ([explaining("[None] * len(inputs)")], "check_explanations", ("NoneType",)),
    "a curve of another shape": (
        [
            explaining("[Explanation(torch.zeros(2, 3), ())] * len(inputs)"),
            ("import BasePredictor,", "import BasePredictor, Explanation,"),
        ],
        "check_explanations",
        ("curve", "(2, 3)", "(6, 3)"),
    ),
    "labelled clips in the predictor": (
        [(FIT_END, f"    predictor.past = [ctx.val]\n{FIT_END}")],
        "check_labels",
        ("past",),
    ),
    "training on val": (
        [
            ("def fit(ctx):\n", "def fit(ctx):\n    ctx = replace(ctx, train=ctx.val)\n"),
            ("from typing import Annotated\n", "from dataclasses import replace\nfrom typing import Annotated\n"),
        ],
        "check_labels",
        ("labels of val", "ctx.stop"),
    ),
    "a count outside the checkpoint": (COUNTS_STEPS, "check_resumed", ("interrupted in train", "state")),
    "a task that it cannot do": (
        [*BOTH, ("config.width, info.task.outputs", "config.width, len(info.classes)")],
        "check_tasks",
        ("data with scores", "mine.py, line", "Regression"),
    ),
}


FAST = {check: name for name, (_, check, _) in WRONG.items()}  # one of each check; the others run in the slow tests


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST.values())) for name in WRONG]
)
def test_a_wrong_method_fails_the_check_that_is_meant_for_it(name, tmp_path):
    pairs, check, parts = WRONG[name]
    faults = find_faults(changed(*pairs), tmp_path)
    assert list(faults) == [check], faults
    assert "\n" not in faults[check] and all(part in faults[check] for part in parts), faults[check]


def test_every_check_has_a_wrong_method():
    assert {check for _, check, _ in WRONG.values()} == {check.__name__ for check in CHECKS.values()}


def test_stages_are_shortened_unless_fixed_or_out_of_bounds():
    assert shorten(ToyConfig()).epochs == 2 and shorten(ToyConfig(epochs=1)).epochs == 1
    assert shorten(ToyConfig(), {"epochs"}).epochs == ToyConfig().epochs


def test_relabelled_clips_have_other_targets_and_the_same_content():
    clips = number_clips("val", 1)
    other = RelabelledClips(clips, CARD.task)
    assert [clip.target for clip in other.clips] == [1, 2, 0]
    mirrored = RelabelledClips(ScoredClips(clips), SCORES.task)
    assert [clip.target for clip in mirrored.clips] == [(2.0, -0.1), (1.0, -0.1), (0.0, -0.1)]


@pytest.mark.slow
def test_the_clips_for_checks_have_every_stream_and_both_tasks(tmp_path):
    datasets = ensure_clips(tmp_path)
    drawn = (tmp_path / "clips-1").stat().st_mtime_ns
    assert ensure_clips(tmp_path).keys() == datasets.keys() and (tmp_path / "clips-1").stat().st_mtime_ns == drawn
    assert {kind: dataset.info.task.outputs for kind, dataset in datasets.items()} == {Classification: 3, Regression: 2}
    assert all({"video", "audio", "text", "features/demo"} <= {*data.info.streams} for data in datasets.values())
