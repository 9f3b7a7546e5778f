import math

import pytest
import torch

from bench.rng import RngTree
from methods.mbt.model import Mbt
from methods.mbt.supervised import MbtPredictor, SupervisedObjective, polarity_cross_entropy
from tests.methods.toys import TINY, one_clip, toy_batch
from tests.toys import CARD

MIXED = ((True, True), (True, False), (False, True), (False, False))


def predictor(config=TINY):
    return MbtPredictor(Mbt(config, 3, RngTree(0)), CARD.task).eval()


def test_a_wrong_polarity_costs_half_as_much_again():
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])  # arg max 1, 1, 2
    label, sentiment = torch.tensor([0, 2, 1]), torch.tensor([-1, 1, 1])
    logs = [math.log(math.exp(0) + math.exp(1) + math.exp(2)) - value for value in (0, 1, 1)]
    found = polarity_cross_entropy(logits, label, sentiment, 0.5)
    assert found.tolist() == pytest.approx([1.5 * logs[0], logs[1], logs[2]])  # wrong class of the right side: no extra
    assert polarity_cross_entropy(logits, label, sentiment, 0.0).tolist() == pytest.approx(logs)


def test_neutral_is_a_polarity_of_its_own():
    logits = torch.tensor([[0.0, 1.0, 0.0]])
    loss = polarity_cross_entropy(logits, torch.tensor([2]), torch.tensor(CARD.sentiment), 1.0)
    plain = polarity_cross_entropy(logits, torch.tensor([2]), torch.tensor(CARD.sentiment), 0.0)
    assert loss.item() == pytest.approx(2 * plain.item())


def test_both_heads_learn_and_an_absent_modality_s_head_is_left_out():
    losses = SupervisedObjective(predictor(), CARD, 0.5)(toy_batch(present=MIXED)).terms
    assert set(losses) == {"video", "audio"}
    assert (losses["video"] > 0).tolist() == [True, True, False, False]
    assert (losses["audio"] > 0).tolist() == [True, False, True, False]


def test_a_batch_gives_each_clip_the_loss_it_has_alone():
    objective, batch = SupervisedObjective(predictor(), CARD, 0.5), toy_batch(present=MIXED)
    together = objective(batch).terms
    for index in range(len(MIXED)):
        inputs = one_clip(batch.inputs, index)
        part = type(batch)(inputs, batch.target[index : index + 1], batch.keys[index : index + 1], 0, 0.0)
        alone = objective(part).terms
        for name in together:
            torch.testing.assert_close(alone[name][0], together[name][index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("present", [(True, True), (True, False), (False, True)])
def test_every_parameter_stays_in_the_graph(present):
    objective = SupervisedObjective(predictor(), CARD, 0.5)
    terms = objective(toy_batch(present=(present,) * 2)).terms
    sum(term.sum() for term in terms.values()).backward()
    gradients = {name: parameter.grad for name, parameter in objective.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    moved = {name.split(".")[2].split("_")[0] for name, gradient in gradients.items() if gradient.abs().max() > 0}
    assert {"video", "audio"} & moved == {name for name, here in zip(("video", "audio"), present, strict=True) if here}


def test_the_clip_s_score_is_the_sum_of_the_heads_on_mean_features():
    model, inputs = predictor(), toy_batch(present=MIXED).inputs
    with torch.no_grad():
        scores, (video, audio) = model(inputs), model.score_heads(inputs)
    torch.testing.assert_close(scores.output, video + audio)
    torch.testing.assert_close(scores.segments.mean(1), scores.output, rtol=1e-4, atol=1e-6)  # heads are linear
    assert scores.segments.shape == (4, 2, 3)


def test_the_explanation_is_the_centred_curve_of_equation_3():
    model, inputs = predictor(), toy_batch().inputs
    with torch.no_grad():
        explanations, encoded = model.explain(inputs), model.mbt.encode(model.mbt.embed(inputs))
        heads = model.mbt.video_head, model.mbt.audio_head
        features = encoded.video_class, encoded.audio_class
        pooled = sum(head(z.amax(1)) for head, z in zip(heads, features, strict=True))
        segments = sum(head(z) for head, z in zip(heads, features, strict=True))
    expected = pooled.softmax(-1)[:, None] * (segments - segments.mean(-1, keepdim=True))
    assert len(explanations) == 3 and all(x.verdicts == () for x in explanations)
    torch.testing.assert_close(torch.stack([x.curve for x in explanations]), expected)
