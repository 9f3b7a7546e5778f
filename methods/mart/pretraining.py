"""The pre-training of MART in the order of the paper (METHOD.md sections 2 to 7), and fine-tuning as MBT after it.

Key: B clips, S segments, K cues of a segment, N tokens, D width, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.evaluate import explain
from bench.explanations import choose_showcase_clips
from bench.loader import collate
from bench.method import FitContext, Predictor
from bench.rng import RngTree
from bench.training import Losses, train_stage
from bench.types import Batch, ClipSet, DatasetInfo, Explanation, Inputs
from methods.mart.config import BUILTIN_LEXICA, MartConfig
from methods.mart.contrast import (
    CueAttention,
    CueFeatures,
    contrastive_loss,
    make_word_embedding,
    mean_over_cues,
    measure_cue_alignment,
    measure_feature_spread,
)
from methods.mart.lexicon import load_lexicon
from methods.mart.masking import (
    MASK_STRATEGIES,
    MaskInputs,
    check_mask_groups,
    compute_mask_ratio,
    count_visible_tokens,
    draw_uniform_scores,
    find_visible_tokens,
    make_mask_snapshots,
)
from methods.mart.recovery import (
    RECOVERY_TARGETS,
    compute_audio_target,
    distribution_loss,
    find_uncovered_audio,
    make_decoders,
    patch_loss,
)
from methods.mart.verification import CueBatch, CueFinder, CueVerdict, VerificationLevels, verify_cues
from methods.mbt.config import MODALITIES, make_sampling
from methods.mbt.layers import make_seeded, scale_mel
from methods.mbt.model import EncodedSegments, Mbt, PatchTokens, TemporalScores, VisibleTokens, compute_temporal_scores
from methods.mbt.pretrained import load_pretrained
from methods.mbt.supervised import (
    MbtPredictor,
    compute_clip_features,
    compute_head_losses,
    fine_tune,
    make_pretraining_stage,
    polarity_cross_entropy,
)


class MartPredictor(MbtPredictor):
    """MBT, with MART's temporal scores and its verdict on every cue as explanation."""

    def __init__(self, mbt: Mbt, config: MartConfig, info: DatasetInfo) -> None:
        super().__init__(mbt)
        self.config, self.info = config, info
        self.register_buffer("sentiment", torch.tensor(info.sentiment), persistent=False)
        self.sentiment: Tensor

    @cached_property
    def find_cues(self) -> CueFinder:
        """Find the cues of a batch; the lexicon is loaded when it is first wanted."""
        return CueFinder(load_lexicon(self.config.lexicon), self.info)

    def score_segments(self, encoded: EncodedSegments, inputs: Inputs) -> TemporalScores:
        """Eq. 3 on encoded segments."""
        features = (encoded.video_class, encoded.audio_class)
        return compute_temporal_scores(self.mbt, *features, inputs.present, self.config.tcam)

    def verify(self, temporal: TemporalScores, cues: CueBatch) -> VerificationLevels:
        """E1, E2 and E3 of every cue."""
        return verify_cues(temporal.curve.detach(), cues, self.sentiment, self.config.tau_degree)

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """The temporal emotion curve of each clip, and which stages each of its cues passes."""
        encoded, cues = self.mbt.encode(self.mbt.embed(inputs)), self.find_cues(inputs)
        temporal = self.score_segments(encoded, inputs)
        stages, features = self.verify(temporal, cues), compute_clip_features(encoded)
        told = []
        for b, clip in enumerate(cues.by_segment):
            places = [(s, k, cue) for s, slot in enumerate(clip) for k, cue in enumerate(slot)]
            verdicts = [CueVerdict(cue.text, cue.start, *(bool(at[b, s, k]) for at in stages)) for s, k, cue in places]
            told.append(Explanation(temporal.curve[b].cpu(), tuple(verdicts), feature=features[b].cpu()))
        return told


@dataclass(frozen=True)
class CueReading:
    """What the words of a batch are worth: cues, verdicts, and what each modality answers."""

    cues: CueBatch
    levels: VerificationLevels
    verified: Bool[Tensor, "B S K"]
    word_features: Float[Tensor, "B S K D"]
    answers: dict[str, CueFeatures]  # by modality


class MartObjective(nn.Module):
    """The pre-training objective; a term whose weight is 0 is not computed."""

    def __init__(self, predictor: MartPredictor, config: MartConfig, info: DatasetInfo, rng: RngTree) -> None:
        super().__init__()
        self.predictor, self.config, self.streams = predictor, config, rng
        classes, width = len(info.classes), config.width
        target = RECOVERY_TARGETS[config.target]
        self.w_patch, self.w_kl = target.get_loss_weights(config)
        self.uses_recovery = config.mask != "none" and (self.w_patch > 0 or self.w_kl > 0)
        self.uses_cues = config.w_tacl > 0 or config.w_cue > 0 or (self.uses_recovery and config.mask == "affective")
        if self.uses_cues:
            words = partial(make_word_embedding, config.weights_text, load_lexicon(config.lexicon), width)
            project = partial(nn.Linear, width, config.contrast_width)
            self.words = make_seeded(rng, "mart.words", words)
            self.asks = _make_pair(rng, "mart.ask", partial(CueAttention, width, config.heads))
            self.heads = _make_pair(rng, "mart.head", partial(nn.Linear, width, classes))
            self.projections = _make_pair(rng, "mart.project", project)
            self.project_words = make_seeded(rng, "mart.project.words", project)
        if self.uses_recovery:
            check_mask_groups(config.mask, predictor.mbt.video_grid, time_axis=0)
            check_mask_groups(config.mask, predictor.mbt.audio_grid, time_axis=1)
            self.picture_target = target.make_picture_target(config)
            sizes = (classes, self.picture_target.size, target.recovers_sound)
            self.decoders = make_decoders(config, predictor.mbt, *sizes, rng)

    def forward(self, batch: Batch) -> Losses:
        """Every term and note of METHOD.md section 7, one value a clip."""
        predictor, inputs, config = self.predictor, batch.inputs, self.config
        tokens = predictor.mbt.embed(inputs)
        encoded = predictor.mbt.encode(tokens, attention=self.uses_recovery)
        temporal = predictor.score_segments(encoded, inputs)
        heads = (temporal.video, temporal.audio)
        named = compute_head_losses(heads, batch, predictor.sentiment, config.polarity_weight)
        terms: dict[str, Tensor] = {f"cls_{name}": loss for name, loss in named.items()}
        notes: dict[str, Tensor] = {}
        read = self._read_cues(batch, encoded, temporal) if self.uses_cues else None
        if read is not None:
            terms |= self._compute_cue_losses(batch, read, notes)
            notes |= measure_cue_coverage(read.cues, read.levels, read.verified)
        if self.uses_recovery:
            terms |= self._compute_recovery_losses(batch, tokens, encoded, temporal, read, notes)
        return Losses(terms, {name: value.detach() for name, value in notes.items()})

    def explain(self, batch: Batch) -> list[Explanation]:
        """What the predictor tells, and what the second pass hides of each clip and recovers of its emotions."""
        told = self.predictor.explain(batch.inputs)
        if not self.uses_recovery:
            return told
        tokens = self.predictor.mbt.embed(batch.inputs)
        encoded = self.predictor.mbt.encode(tokens, attention=True)
        temporal = self.predictor.score_segments(encoded, batch.inputs)
        read = self._read_cues(batch, encoded, temporal) if self.uses_cues else None
        evidence = {name: self._make_mask_inputs(name, batch, encoded, read) for name in MODALITIES}
        hidden = {name: self._hide_tokens(of, batch) for name, of in evidence.items()}
        _, scores = self._decode_visible(tokens, hidden, batch.progress)
        masks = make_mask_snapshots(self.config, batch, evidence, hidden)
        trained = self.w_kl > 0 and self.config.kl_axis == "class"
        found = [share.softmax(-1).cpu() if trained else None for share in scores]
        return [replace(one, recovered=of, masks=mask) for one, of, mask in zip(told, found, masks, strict=True)]

    def _read_cues(self, batch: Batch, encoded: EncodedSegments, temporal: TemporalScores) -> CueReading:
        """Look the cues up, verify them, and ask both modalities about them."""
        cues = self.predictor.find_cues(batch.inputs)
        stages = self.predictor.verify(temporal, cues)
        begun = batch.progress >= self.config.verify_after
        kept = stages.select_passing(self.config.verify if begun else "none", cues)
        words = self.words(cues)
        tokens = {"video": encoded.video, "audio": encoded.audio}
        answers = {name: self.asks[name](words, tokens[name]) for name in MODALITIES}
        return CueReading(cues, stages, kept, words, answers)

    def _compute_cue_losses(self, batch: Batch, read: CueReading, notes: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_cls of the cues' contents and L_tacl (Eqs. 4 and 5)."""
        config, present = self.config, batch.inputs.present.float()
        terms: dict[str, Tensor] = {}
        if config.w_cue > 0:
            for index, name in enumerate(MODALITIES):
                loss = self._compute_cue_loss(self.heads[name](read.answers[name].content), batch, read.verified)
                terms[f"cue_{name}"] = config.w_cue * loss * present[:, index]
        if config.w_tacl > 0:
            both = present[:, 0] * present[:, 1]
            x_vl, x_al = (normalize(self.projections[name](read.answers[name].content), dim=-1) for name in MODALITIES)
            x_l = normalize(self.project_words(read.word_features), dim=-1)
            for index, (name, own, other) in enumerate((("video", x_vl, x_al), ("audio", x_al, x_vl))):
                loss = contrastive_loss(own, other, x_l, read.verified, config.tau, config.negatives)
                terms[f"tacl_{name}"] = config.w_tacl * loss * both
                notes[f"alignment_{name}"] = measure_cue_alignment(own, x_l, read.verified, present[:, index])
                notes[f"spread_{name}"] = measure_feature_spread(own, read.verified, present[:, index])
        return terms

    def _compute_cue_loss(self, scores: Float[Tensor, "B S K C"], batch: Batch, kept: Tensor) -> Float[Tensor, " B"]:
        label, weight = batch.target[:, None, None].expand(kept.shape).flatten(), self.config.polarity_weight
        loss = polarity_cross_entropy(scores.flatten(0, 2), label, self.predictor.sentiment, weight)
        return mean_over_cues(loss.view(kept.shape), kept)

    def _compute_recovery_losses(
        self,
        batch: Batch,
        tokens: PatchTokens,
        encoded: EncodedSegments,
        temporal: TemporalScores,
        read: CueReading | None,
        notes: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Hide tokens, encode the rest, and recover patches and the emotion distribution."""
        hidden = {
            name: self._hide_tokens(self._make_mask_inputs(name, batch, encoded, read), batch) for name in MODALITIES
        }
        patches, scores = self._decode_visible(tokens, hidden, batch.progress)
        notes |= self._measure_masks(batch, temporal, read, hidden)
        terms: dict[str, Tensor] = {}
        if self.w_patch > 0:
            for name, loss in self._compute_patch_losses(batch, hidden, patches, notes).items():
                terms[f"patch_{name}"] = self.w_patch * loss * tokens.present.float()[:, MODALITIES.index(name)]
        if self.w_kl > 0:
            terms["kl"] = self.w_kl * distribution_loss(temporal.curve, scores, self.config.kl_axis)
        return terms

    def _decode_visible(
        self, tokens: PatchTokens, hidden: dict[str, Tensor], progress: float
    ) -> tuple[dict[str, Tensor], Float[Tensor, "B S C"]]:
        """What the decoders make of the visible tokens: modality -> patches, and emotion scores."""
        mask, ratio = self.config.mask, compute_mask_ratio(self.config, progress)
        grids = {"video": (self.predictor.mbt.video_grid, 0), "audio": (self.predictor.mbt.audio_grid, 1)}
        visible = {
            name: find_visible_tokens(where, count_visible_tokens(mask, ratio, *grids[name]))
            for name, where in hidden.items()
        }
        seen = self.predictor.mbt.encode(tokens, VisibleTokens(visible["video"], visible["audio"]))
        own, present = {"video": seen.video, "audio": seen.audio}, tokens.present.float()
        patches, scores = {}, []
        for name, decoder in self.decoders.items():
            patches[name], score = decoder(own[name], visible[name])
            scores.append(score * present[:, MODALITIES.index(name), None, None])
        return patches, torch.stack(scores).sum(0)

    def _hide_tokens(self, evidence: MaskInputs, batch: Batch) -> Bool[Tensor, "B S N"]:
        """The hidden tokens of a modality (Eqs. 6 and 7)."""
        ratio = compute_mask_ratio(self.config, batch.progress)
        return MASK_STRATEGIES[self.config.mask](evidence, ratio, self.config.reveal)

    def _make_mask_inputs(
        self, modality: str, batch: Batch, encoded: EncodedSegments, read: CueReading | None
    ) -> MaskInputs:
        """What may decide which tokens of a modality are hidden."""
        mbt, is_video = self.predictor.mbt, modality == "video"
        attention = encoded.video_attention if is_video else encoded.audio_attention
        assert attention is not None
        chance = draw_uniform_scores(self.streams, modality, batch.epoch, batch.keys, *attention.shape[1:])
        return MaskInputs(
            attention=attention,
            cue_attention=None if read is None else read.answers[modality].attention.detach(),
            verified=None if read is None else read.verified,
            uniform_scores=chance.to(attention.device, non_blocking=True),
            grid=mbt.video_grid if is_video else mbt.audio_grid,
            time_axis=0 if is_video else 1,
        )

    def _compute_patch_losses(
        self, batch: Batch, hidden: dict[str, Tensor], patches: dict[str, Tensor], notes: dict[str, Tensor]
    ) -> dict[str, Float[Tensor, " B"]]:
        """Modality -> patch loss; notes the share of hidden sound that no visible patch gives away."""
        config, inputs = self.config, batch.inputs
        video = self.picture_target.compute(inputs.video)
        losses = {"video": patch_loss(patches["video"], video, hidden["video"][..., None].expand_as(video))}
        if "audio" in patches:
            audio = compute_audio_target(scale_mel(inputs.audio), config.audio_patch, config.audio_stride)
            frames = inputs.audio.shape[2]
            free = find_uncovered_audio(hidden["audio"], config.mels, frames, config.audio_patch, config.audio_stride)
            share = free.float().sum((1, 2, 3)) / (hidden["audio"].sum((1, 2)) * free.shape[-1]).clamp(min=1)
            notes["sound_share"] = share.where(inputs.present[:, 1], torch.nan)
            losses["audio"] = patch_loss(patches["audio"], audio, free)
        return losses

    def _measure_masks(
        self, batch: Batch, temporal: TemporalScores, read: CueReading | None, hidden: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """How much is hidden, how often for want of cues, and how flat the target is (1 = flat)."""
        target = temporal.curve.softmax(-1)
        notes = {"target_entropy": -(target * target.log()).sum(-1).mean(-1) / math.log(target.shape[-1])}
        for index, (name, where) in enumerate(hidden.items()):
            notes[f"hidden_{name}"] = where.float().mean((1, 2)).where(batch.inputs.present[:, index], torch.nan)
        if read is not None and self.config.mask == "affective":
            notes["fallback"] = (~read.verified.any(-1)).float().mean(-1)
        return notes


def measure_cue_coverage(cues: CueBatch, stages: VerificationLevels, kept: Tensor) -> dict[str, Float[Tensor, " B"]]:
    """Share of segments with a cue before and after each stage; share of cues that pass it (NaN without cues)."""
    notes = {"coverage": cues.mask.any(-1).float().mean(-1), "coverage_kept": kept.any(-1).float().mean(-1)}
    count = cues.mask.sum((1, 2)).float()
    for name, passed in stages._asdict().items():
        notes[f"coverage_{name}"] = passed.any(-1).float().mean(-1)
        notes[f"pass_{name}"] = passed.sum((1, 2)) / torch.where(count > 0, count, torch.nan)
    return notes


def _make_pair(rng: RngTree, name: str, make: Callable[[], nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({modality: make_seeded(rng, f"{name}.{modality}", make) for modality in MODALITIES})


def build_mart(config: MartConfig, info: DatasetInfo) -> MartPredictor:
    """Make a predictor whose weights are to be loaded."""
    return MartPredictor(Mbt(config, len(info.classes), RngTree(0)), config, info)


def fit_mart(
    config: MartConfig, info: DatasetInfo, clips: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> Predictor:
    """The finished predictor; its encoders started from the weights that MBT starts from under the same seed."""
    predictor = MartPredictor(Mbt(config, len(info.classes), rng), config, info)
    load_pretrained(predictor.mbt, config, ctx.tracker.notify)
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
