import pytest
import torch

from bench.types import Clip
from methods.baselines import MAJORITY, MajorityConfig
from tests.methods.toys import ToyClips, accuracy, run_fit, toy_batch, toy_clips
from tests.toys import CARD, make_context


def clips(*labels):
    return ToyClips(tuple(Clip(f"{label}/{i}", label, "train", str(i)) for i, label in enumerate(labels)))


def test_the_most_frequent_training_class_is_predicted(tmp_path):
    scores, _ = run_fit(MAJORITY, MajorityConfig(), tmp_path, train=clips(2, 1, 2, 0, 2))
    assert (scores.argmax(-1) == 2).all()
    assert accuracy(scores, toy_clips("test", 4)) == pytest.approx(1 / 3)
    torch.testing.assert_close(scores[0].softmax(-1), torch.tensor([0.2, 0.2, 0.6]))


def test_a_class_without_a_training_clip_stays_finite(tmp_path):
    scores, _ = run_fit(MAJORITY, MajorityConfig(), tmp_path, train=clips(1, 1))
    assert scores.isfinite().all() and (scores.argmax(-1) == 1).all()


def test_the_shares_are_saved_with_the_weights(tmp_path, quiet):
    fitted = MAJORITY.fit(make_context(quiet, tmp_path, MajorityConfig(), train=clips(2, 1, 2)))
    built = MAJORITY.build(MajorityConfig(), CARD)
    built.load_state_dict(fitted.state_dict())
    inputs = toy_batch().inputs
    assert torch.equal(built(inputs).output, fitted(inputs).output)
    assert all(explanation.curve is None and explanation.verdicts == () for explanation in built.explain(inputs))
