"""Pre-training of MART in the order of the paper, then fine-tuning as for MBT.

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
from bench.loader import collate, make_target_tensor
from bench.method import FitContext, Predictor
from bench.rng import RngTree
from bench.training import Losses, train_stage
from bench.types import Batch, DatasetInfo, Explanation, Inputs
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
from methods.mbt.model import (
    EncodedSegments,
    Mbt,
    PatchTokens,
    TemporalScores,
    VisibleTokens,
    compute_temporal_scores,
    stack_present,
)
from methods.mbt.pretrained import load_pretrained
from methods.mbt.supervised import (
    MbtPredictor,
    compute_clip_features,
    compute_head_losses,
    fine_tune,
    load_pretrained_model,
    make_pretraining_stage,
    polarity_cross_entropy,
)


class MartPredictor(MbtPredictor):
    """MBT whose explanations are MART's temporal emotion scores and the verification of every cue."""

    def __init__(self, mbt: Mbt, config: MartConfig, info: DatasetInfo) -> None:
        super().__init__(mbt, info.task)
        self.config, self.info = config, info
        self.register_buffer("sentiment", torch.tensor(info.sentiment), persistent=False)
        self.sentiment: Tensor

    @cached_property
    def find_cues(self) -> CueFinder:
        """Return the look-up of a batch's cues; the lexicon is loaded on first use."""
        return CueFinder(load_lexicon(self.config.lexicon), self.info)

    def score_segments(self, encoded: EncodedSegments, inputs: Inputs) -> TemporalScores:
        """Compute the temporal emotion scores (Eq. 3) of encoded segments."""
        features = (encoded.video_class, encoded.audio_class)
        return compute_temporal_scores(self.mbt, *features, stack_present(inputs), self.config.tcam)

    def verify(self, temporal: TemporalScores, cues: CueBatch) -> VerificationLevels:
        """Verify every cue at levels E1, E2 and E3."""
        return verify_cues(temporal.curve.detach(), cues, self.sentiment, self.config.tau_degree)

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return the temporal emotion scores of each clip, (S, C), and the levels that each of its cues passes."""
        encoded, cues = self.mbt.encode(self.mbt.embed(inputs)), self.find_cues(inputs)
        temporal = self.score_segments(encoded, inputs)
        levels, features = self.verify(temporal, cues), compute_clip_features(encoded)
        explanations = []
        for b, clip in enumerate(cues.by_segment):
            placed = [(s, k, cue) for s, slot in enumerate(clip) for k, cue in enumerate(slot)]
            verdicts = [CueVerdict(cue.text, cue.start, *(bool(x[b, s, k]) for x in levels)) for s, k, cue in placed]
            explanations.append(Explanation(temporal.curve[b].cpu(), tuple(verdicts), feature=features[b].cpu()))
        return explanations


@dataclass(frozen=True)
class CueReading:
    """Cues of a batch, their verification, and the features that they attend to in each modality."""

    cues: CueBatch
    levels: VerificationLevels
    verified: Bool[Tensor, "B S K"]
    word_features: Float[Tensor, "B S K D"]
    answers: dict[str, CueFeatures]  # by modality


class MartObjective(nn.Module):
    """Pre-training objective of MART; a term whose weight is 0 is not computed."""

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
            self.video_target = target.make_video_target(config)
            sizes = (classes, self.video_target.size, target.recovers_audio)
            self.decoders = make_decoders(config, predictor.mbt, *sizes, rng)

    def forward(self, batch: Batch) -> Losses:
        """Compute the loss terms and logged measurements, each of shape (B,)."""
        predictor, inputs, config = self.predictor, batch.inputs, self.config
        tokens = predictor.mbt.embed(inputs)
        encoded = predictor.mbt.encode(tokens, attention=self.uses_recovery)
        temporal = predictor.score_segments(encoded, inputs)
        heads = (temporal.video, temporal.audio)
        named = compute_head_losses(heads, batch, predictor.sentiment, config.polarity_weight)
        terms: dict[str, Tensor] = {f"cls_{name}": loss for name, loss in named.items()}
        notes: dict[str, Tensor] = {}
        reading = self._read_cues(batch, encoded, temporal) if self.uses_cues else None
        if reading is not None:
            terms |= self._compute_cue_losses(batch, reading, notes)
            notes |= measure_cue_coverage(reading.cues, reading.levels, reading.verified)
        if self.uses_recovery:
            terms |= self._compute_recovery_losses(batch, tokens, encoded, temporal, reading, notes)
        return Losses(terms, {name: value.detach() for name, value in notes.items()})

    def explain(self, batch: Batch) -> list[Explanation]:
        """Return the predictor's explanations, with the masks of each clip and its recovered emotion distribution."""
        explanations = self.predictor.explain(batch.inputs)
        if not self.uses_recovery:
            return explanations
        tokens = self.predictor.mbt.embed(batch.inputs)
        encoded = self.predictor.mbt.encode(tokens, attention=True)
        temporal = self.predictor.score_segments(encoded, batch.inputs)
        reading = self._read_cues(batch, encoded, temporal) if self.uses_cues else None
        inputs = {name: self._make_mask_inputs(name, batch, encoded, reading) for name in MODALITIES}
        hidden = {name: self._hide_tokens(mask_inputs, batch) for name, mask_inputs in inputs.items()}
        _, scores = self._decode_visible(tokens, hidden, batch.progress)
        masks = make_mask_snapshots(self.config, batch, inputs, hidden)
        trained = self.w_kl > 0 and self.config.kl_axis == "class"
        recovered = [clip_scores.softmax(-1).cpu() if trained else None for clip_scores in scores]
        rows = zip(explanations, recovered, masks, strict=True)
        return [replace(explanation, recovered=shares, masks=mask) for explanation, shares, mask in rows]

    def _read_cues(self, batch: Batch, encoded: EncodedSegments, temporal: TemporalScores) -> CueReading:
        """Look up the cues, verify them (all are kept at first), and attend from them to both modalities."""
        cues = self.predictor.find_cues(batch.inputs)
        levels = self.predictor.verify(temporal, cues)
        started = batch.progress >= self.config.verify_after
        kept = levels.select_passing(self.config.verify if started else "none", cues)
        words = self.words(cues)
        tokens = {"video": encoded.video, "audio": encoded.audio}
        answers = {name: self.asks[name](words, tokens[name]) for name in MODALITIES}
        return CueReading(cues, levels, kept, words, answers)

    def _compute_cue_losses(self, batch: Batch, reading: CueReading, notes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute L_cls of x_vl and x_al, and L_tacl (Eqs. 4 and 5); add alignment and spread to `notes`."""
        config, present = self.config, stack_present(batch.inputs).float()
        terms: dict[str, Tensor] = {}
        if config.w_cue > 0:
            for index, name in enumerate(MODALITIES):
                loss = self._compute_cue_loss(self.heads[name](reading.answers[name].content), batch, reading.verified)
                terms[f"cue_{name}"] = config.w_cue * loss * present[:, index]
        if config.w_tacl > 0:
            both = present[:, 0] * present[:, 1]
            x_vl, x_al = (
                normalize(self.projections[name](reading.answers[name].content), dim=-1) for name in MODALITIES
            )
            x_l = normalize(self.project_words(reading.word_features), dim=-1)
            for index, (name, own, other) in enumerate((("video", x_vl, x_al), ("audio", x_al, x_vl))):
                loss = contrastive_loss(own, other, x_l, reading.verified, config.tau, config.negatives)
                terms[f"tacl_{name}"] = config.w_tacl * loss * both
                notes[f"alignment_{name}"] = measure_cue_alignment(own, x_l, reading.verified, present[:, index])
                notes[f"spread_{name}"] = measure_feature_spread(own, reading.verified, present[:, index])
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
        reading: CueReading | None,
        notes: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Mask tokens, encode the rest, and compute the losses of recovered patches and emotion distribution."""
        hidden = {
            name: self._hide_tokens(self._make_mask_inputs(name, batch, encoded, reading), batch) for name in MODALITIES
        }
        patches, scores = self._decode_visible(tokens, hidden, batch.progress)
        notes |= self._measure_masks(batch, temporal, reading, hidden)
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
        """Encode and decode the visible tokens; return modality -> patches (B, S, N, Q), and emotion scores."""
        mask, ratio = self.config.mask, compute_mask_ratio(self.config, progress)
        grids = {"video": (self.predictor.mbt.video_grid, 0), "audio": (self.predictor.mbt.audio_grid, 1)}
        visible = {
            name: find_visible_tokens(where, count_visible_tokens(mask, ratio, *grids[name]))
            for name, where in hidden.items()
        }
        seen = self.predictor.mbt.encode(tokens, VisibleTokens(visible["video"], visible["audio"]))
        encoded, present = {"video": seen.video, "audio": seen.audio}, tokens.present.float()
        patches, scores = {}, []
        for name, decoder in self.decoders.items():
            patches[name], score = decoder(encoded[name], visible[name])
            scores.append(score * present[:, MODALITIES.index(name), None, None])
        return patches, torch.stack(scores).sum(0)

    def _hide_tokens(self, inputs: MaskInputs, batch: Batch) -> Bool[Tensor, "B S N"]:
        """Select the masked tokens of a modality (Eqs. 6 and 7)."""
        ratio = compute_mask_ratio(self.config, batch.progress)
        return MASK_STRATEGIES[self.config.mask](inputs, ratio, self.config.reveal)

    def _make_mask_inputs(
        self, modality: str, batch: Batch, encoded: EncodedSegments, reading: CueReading | None
    ) -> MaskInputs:
        """Collect the inputs of the masking strategy for a modality; gradients do not pass."""
        mbt, is_video = self.predictor.mbt, modality == "video"
        attention = encoded.video_attention if is_video else encoded.audio_attention
        assert attention is not None
        uniform = draw_uniform_scores(self.streams, modality, batch.epoch, batch.keys, *attention.shape[1:])
        return MaskInputs(
            attention=attention,
            cue_attention=None if reading is None else reading.answers[modality].attention.detach(),
            verified=None if reading is None else reading.verified,
            uniform_scores=uniform.to(attention.device, non_blocking=True),
            grid=mbt.video_grid if is_video else mbt.audio_grid,
            time_axis=0 if is_video else 1,
        )

    def _compute_patch_losses(
        self, batch: Batch, hidden: dict[str, Tensor], patches: dict[str, Tensor], notes: dict[str, Tensor]
    ) -> dict[str, Float[Tensor, " B"]]:
        """Return modality -> patch loss; add to `notes` the share of masked audio that no visible patch overlaps."""
        config, inputs = self.config, batch.inputs
        video = self.video_target.compute(inputs.video)
        losses = {"video": patch_loss(patches["video"], video, hidden["video"][..., None].expand_as(video))}
        if "audio" in patches:
            audio = compute_audio_target(scale_mel(inputs.audio), config.audio_patch, config.audio_stride)
            frames = inputs.audio.shape[2]
            uncovered = find_uncovered_audio(
                hidden["audio"], config.mels, frames, config.audio_patch, config.audio_stride
            )
            share = uncovered.float().sum((1, 2, 3)) / (hidden["audio"].sum((1, 2)) * uncovered.shape[-1]).clamp(min=1)
            notes["sound_share"] = share.where(inputs.present["audio"], torch.nan)
            losses["audio"] = patch_loss(patches["audio"], audio, uncovered)
        return losses

    def _measure_masks(
        self, batch: Batch, temporal: TemporalScores, reading: CueReading | None, hidden: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Measure the masked share, the share of segments masked without a cue, and the target's entropy / log C."""
        target = temporal.curve.softmax(-1)
        notes = {"target_entropy": -(target * target.log()).sum(-1).mean(-1) / math.log(target.shape[-1])}
        for name, masked in hidden.items():
            notes[f"hidden_{name}"] = masked.float().mean((1, 2)).where(batch.inputs.present[name], torch.nan)
        if reading is not None and self.config.mask == "affective":
            notes["fallback"] = (~reading.verified.any(-1)).float().mean(-1)
        return notes


def measure_cue_coverage(cues: CueBatch, levels: VerificationLevels, kept: Tensor) -> dict[str, Float[Tensor, " B"]]:
    """Return shares of segments with a cue before and after each level, and of cues that pass (NaN without cues)."""
    notes = {"coverage": cues.mask.any(-1).float().mean(-1), "coverage_kept": kept.any(-1).float().mean(-1)}
    count = cues.mask.sum((1, 2)).float()
    for name, passed in levels._asdict().items():
        notes[f"coverage_{name}"] = passed.any(-1).float().mean(-1)
        notes[f"pass_{name}"] = passed.sum((1, 2)) / torch.where(count > 0, count, torch.nan)
    return notes


def _make_pair(rng: RngTree, name: str, make: Callable[[], nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({modality: make_seeded(rng, f"{name}.{modality}", make) for modality in MODALITIES})


def build_mart(config: MartConfig, info: DatasetInfo) -> MartPredictor:
    """Build an untrained predictor to load weights into."""
    return MartPredictor(Mbt(config, len(info.classes), RngTree(0)), config, info)


def pretrain_mart(ctx: FitContext) -> MartObjective:
    """Pre-train MART; the encoders start from the same weights as those of MBT for the same seed."""
    config = ctx.config.for_pretraining()
    objective = MartObjective(_make_predictor(config, ctx, ctx.tracker.notify), config, ctx.info, ctx.rng)
    if objective.uses_cues:
        _warn_about_words(ctx)
    train_stage(objective.to(ctx.device), make_sampling(config, True), make_pretraining_stage(ctx.config), ctx)
    return objective


def fit_mart(ctx: FitContext) -> Predictor:
    """Fine-tune the pre-trained model; after a pre-training on other data, with new heads."""
    config: MartConfig = ctx.config
    weights, predictor = ctx.load_stage("pretrain"), _make_predictor(config, ctx)
    load_pretrained_model(predictor.mbt, weights, ctx.pretrained_on is None, "predictor.mbt.")
    if ctx.explains and ctx.pretrained_on is None:
        objective = MartObjective(predictor, config, ctx.info, ctx.rng).to(ctx.device)
        objective.load_state_dict(weights)
        ctx.tracker.log_explanations("pretrain", _explain_pretraining(objective.eval(), ctx))
    return fine_tune(predictor, ctx)


def _make_predictor(
    config: MartConfig, ctx: FitContext, notify: Callable[[str], None] = lambda text: None
) -> MartPredictor:
    """Return a predictor with new weights, or those of the config's files, which are reported with `notify`."""
    predictor = MartPredictor(Mbt(config, len(ctx.info.classes), ctx.rng), config, ctx.info)
    load_pretrained(predictor.mbt, config, notify)
    return predictor


def _explain_pretraining(objective: MartObjective, ctx: FitContext) -> dict[str, Explanation]:
    """Explain the cues of every clip and, for a few clips of val, the final masks and recovered distributions."""
    config, val = ctx.config, ctx.val
    fixed = make_sampling(config.override({"test_segments": config.segments}), False)
    explanations: dict[str, Explanation] = {}
    if objective.uses_cues:
        for split in (ctx.train, val):
            explanations |= explain(objective.predictor, split, fixed, ctx)
    if objective.uses_recovery:
        shown = choose_showcase_clips(val.clips)
        with torch.inference_mode(), ctx.timer("explain"):
            inputs = collate([val.read(index, fixed, ctx.rng, 0) for index in shown]).to(torch.device(ctx.device))
            label = make_target_tensor([val.clips[index].target for index in shown]).to(ctx.device)
            keys = tuple(val.clips[index].key for index in shown)
            batch = Batch(inputs, label, keys, config.pretrain_epochs - 1, progress=1.0)
            explanations |= zip(keys, objective.explain(batch), strict=True)
    return explanations


def _warn_about_words(ctx: FitContext) -> None:
    """Warn before training if MART would run without cues, with a lexicon of another language, or without BERT.

    Reads transcripts until one has words.
    """
    config, info, clips = ctx.config, ctx.info, ctx.train
    fixed = replace(make_sampling(config, False), reads=("text",))
    if not any(bool(clips.read(index, fixed, ctx.rng, 0).present["text"]) for index in range(len(clips.clips))):
        ctx.tracker.notify(
            "no training clip has a transcript: MART has no cues and masks by class-token attention only; add .srt "
            "files, or transcribe with `prepare --transcribe`"
        )
    if info.language != "en" and config.lexicon in BUILTIN_LEXICA:
        ctx.tracker.notify(
            f"lexicon: {config.lexicon} is English, but the transcripts of {info.title} are '{info.language}'; set "
            "another with --set lexicon=FILE"
        )
    if not config.weights_text and config.width == MartConfig.from_preset("paper").width:
        ctx.tracker.notify("weights_text: no BERT, so words are a learned table; see docs/weights.md")
