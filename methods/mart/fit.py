"""MART from start to end: pre-training, explanations of what was verified, and fine-tuning as MBT."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.evaluate import explain
from bench.explanations import choose_showcase_clips
from bench.loader import collate
from bench.method import FitContext, Predictor
from bench.rng import RngTree
from bench.training import train_stage
from bench.types import Batch, ClipSet, DatasetInfo, Explanation
from methods.mart.config import BUILTIN_LEXICA, MartConfig
from methods.mart.objective import MartObjective, MartPredictor
from methods.mbt.config import make_sampling
from methods.mbt.model import Mbt
from methods.mbt.pretrained import load_pretrained
from methods.mbt.supervised import fine_tune, make_pretraining_stage


def build_mart(config: MartConfig, info: DatasetInfo) -> MartPredictor:
    """Make a predictor whose weights are to be loaded."""
    return MartPredictor(Mbt(config, len(info.classes), RngTree(0)), config, info)


def fit_mart(
    config: MartConfig, info: DatasetInfo, clips: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> Predictor:
    """The finished predictor; its encoders started from the weights that MBT starts from under the same seed."""
    mbt = Mbt(config, len(info.classes), rng)
    load_pretrained(mbt, config, ctx.tracker.notify)
    predictor = MartPredictor(mbt, config, info)
    objective = MartObjective(predictor, config, info, rng).to(ctx.device)
    if objective.uses_cues:
        _warn_about_words(config, info, clips, rng, ctx)
    train_stage(objective, clips, make_sampling(config, True), make_pretraining_stage(config), rng, ctx)
    ctx.tracker.log_explanations("pretrain", _explain_pretraining(objective, config, clips, val, rng, ctx))
    return fine_tune(predictor, config, info, clips, val, rng, ctx)


def _explain_pretraining(
    objective: MartObjective, config: MartConfig, clips: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> dict[str, Explanation]:
    """What became of the words of every clip, and of a few clips of val what is hidden and recovered in the end."""
    fixed = make_sampling(config.override({"test_segments": config.segments}), False)
    told: dict[str, Explanation] = {}
    if objective.uses_cues:
        for split in (clips, val):
            told |= explain(objective.predictor, split, fixed, rng, ctx)
    if objective.uses_recovery:
        few = choose_showcase_clips(val.clips)
        with torch.inference_mode(), ctx.timer("explain"):
            inputs = collate([val.read(index, fixed, rng, 0) for index in few]).to(torch.device(ctx.device))
            label = torch.tensor([val.clips[index].target for index in few], device=ctx.device)
            keys = tuple(val.clips[index].key for index in few)
            batch = Batch(inputs, label, keys, config.pretrain_epochs - 1, progress=1.0)
            told |= zip(keys, objective.explain(batch), strict=True)
    return told


def _warn_about_words(config: MartConfig, info: DatasetInfo, clips: ClipSet, rng: RngTree, ctx: FitContext) -> None:
    """Say before training what would silently make MART something else. Clips are opened until one has words."""
    fixed = replace(make_sampling(config, False), modalities=("words",))
    if not any(bool(clips.read(index, fixed, rng, 0).present[2]) for index in range(len(clips.clips))):
        ctx.tracker.notify("no training clip has words: MART has no cues, and masks by class-token attention alone")
    if info.language != "en" and config.lexicon in BUILTIN_LEXICA:
        ctx.tracker.notify(f"the lexicon is English, the words of {info.title} are '{info.language}'")
    if not config.weights_text and config.width == MartConfig.from_preset("paper").width:
        ctx.tracker.notify("words are a learned table, no BERT was given (--set weights_text=FOLDER)")
