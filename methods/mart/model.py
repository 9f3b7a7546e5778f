"""MART: the predictor that can tell what it verified, and the pre-training objective (METHOD.md sections 2 to 7).

Key: B clips, S segments, K cues of a segment, N tokens, D width, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.data import Batch, Card, Explanation, Inputs
from bench.streams import Streams
from bench.training import Losses
from methods.backbones.mbt import Embedded, Encoded, Mbt, Visible
from methods.backbones.tokens import mel, seeded
from methods.mart.complementary import Ask, Asked, alignment, contrast, mean_over_cues, spread
from methods.mart.config import MartConfig
from methods.mart.cues import CueFinder, Cues
from methods.mart.lexicon import load_lexicon
from methods.mart.masking import STRATEGIES, Evidence, chances, check_groups, mask_ratio, visible_count, visible_places
from methods.mart.maskings import maskings
from methods.mart.recovery import audio_free, distribution_loss, make_decoders, patch_loss
from methods.mart.targets import TARGETS, audio_target
from methods.mart.text import word_vectors
from methods.mart.verification import CueVerdict, Stages, verify_cues
from methods.supervised import MbtPredictor, clip_features, polarity_cross_entropy, two_heads
from methods.temporal import Temporal, temporal_scores

MODALITIES = ("video", "audio")


class MartPredictor(MbtPredictor):
    """MBT, with MART's temporal scores and its verdict on every cue as explanation."""

    def __init__(self, mbt: Mbt, config: MartConfig, card: Card) -> None:
        super().__init__(mbt)
        self.config, self.card = config, card
        self.register_buffer("sentiment", torch.tensor(card.sentiment), persistent=False)
        self.sentiment: Tensor
        self._finder: CueFinder | None = None

    def cues(self, inputs: Inputs) -> Cues:
        """The cues of a batch; the lexicon is loaded when it is first wanted."""
        if self._finder is None:
            self._finder = CueFinder(load_lexicon(self.config.lexicon), self.card)
        return self._finder(inputs)

    def temporal(self, encoded: Encoded, inputs: Inputs) -> Temporal:
        """Eq. 3 on encoded segments."""
        return temporal_scores(self.mbt, encoded.video_class, encoded.audio_class, inputs.present, self.config.tcam)

    def stages(self, temporal: Temporal, cues: Cues) -> Stages:
        """E1, E2 and E3 of every cue."""
        return verify_cues(temporal.curve.detach(), cues, self.sentiment, self.config.tau_degree)

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """The temporal emotion curve of each clip, and which stages each of its cues passes."""
        encoded, cues = self.mbt.encode(self.mbt.embed(inputs)), self.cues(inputs)
        temporal = self.temporal(encoded, inputs)
        stages, features = self.stages(temporal, cues), clip_features(encoded)
        told = []
        for b, clip in enumerate(cues.found):
            verdicts = tuple(
                CueVerdict(cue.text, cue.start, *(bool(stage[b, s, k]) for stage in stages))
                for s, slot in enumerate(clip)
                for k, cue in enumerate(slot)
            )
            told.append(Explanation(temporal.curve[b].cpu(), verdicts, feature=features[b].cpu()))
        return told


@dataclass(frozen=True)
class Read:
    """What the words of a batch are worth: cues, verdicts, and what each modality answers."""

    cues: Cues
    stages: Stages
    kept: Bool[Tensor, "B S K"]
    words: Float[Tensor, "B S K D"]
    video: Asked
    audio: Asked


class Pretrain(nn.Module):
    """The pre-training objective; a term whose weight is 0 is not computed."""

    def __init__(self, predictor: MartPredictor, config: MartConfig, card: Card, streams: Streams) -> None:
        super().__init__()
        self.predictor, self.config, self.streams = predictor, config, streams
        classes, width = len(card.classes), config.width
        self.recovers = config.mask != "none" and any(self._recovery_weights())
        self.reads = config.w_tacl > 0 or config.w_cue > 0 or (self.recovers and config.mask == "affective")
        if self.reads:
            lexicon = load_lexicon(config.lexicon)
            self.words = seeded(streams, "mart.words", lambda: word_vectors(config.weights_text, lexicon, width))
            self.asks = _pair(streams, "mart.ask", lambda: Ask(width, config.heads))
            self.heads = _pair(streams, "mart.head", lambda: nn.Linear(width, classes))
            self.projections = _pair(streams, "mart.project", lambda: nn.Linear(width, config.contrast_width))
            self.project_words = seeded(streams, "mart.project.words", lambda: nn.Linear(width, config.contrast_width))
        if self.recovers:
            check_groups(config.mask, predictor.mbt.video_grid, time_axis=0)
            check_groups(config.mask, predictor.mbt.audio_grid, time_axis=1)
            target = TARGETS[config.target]
            self.picture = target.picture(config)
            self.decoders = make_decoders(config, predictor.mbt, classes, self.picture.size, target.sound, streams)

    def forward(self, batch: Batch) -> Losses:
        """Every term and note of METHOD.md section 7, one value a clip."""
        predictor, inputs, config = self.predictor, batch.inputs, self.config
        tokens = predictor.mbt.embed(inputs)
        encoded = predictor.mbt.encode(tokens, attention=self.recovers)
        temporal = predictor.temporal(encoded, inputs)
        heads = (temporal.video, temporal.audio)
        named = two_heads(heads, batch, predictor.sentiment, config.polarity_weight)
        terms: dict[str, Tensor] = {f"cls_{name}": loss for name, loss in named.items()}
        notes: dict[str, Tensor] = {}
        read = self._read(batch, encoded, temporal) if self.reads else None
        if read is not None:
            terms |= self._complement(batch, read, notes)
            notes |= coverage(read.cues, read.stages, read.kept)
        if self.recovers:
            terms |= self._recover(batch, tokens, encoded, temporal, read, notes)
        return Losses(terms, {name: value.detach() for name, value in notes.items()})

    def explain(self, batch: Batch) -> list[Explanation]:
        """What the predictor tells, and what the second pass hides of each clip and recovers of its emotions."""
        told = self.predictor.explain(batch.inputs)
        if not self.recovers:
            return told
        tokens = self.predictor.mbt.embed(batch.inputs)
        encoded = self.predictor.mbt.encode(tokens, attention=True)
        read = self._read(batch, encoded, self.predictor.temporal(encoded, batch.inputs)) if self.reads else None
        evidence = {name: self._evidence(name, batch, encoded, read) for name in MODALITIES}
        hidden = {name: self._hide(of, batch) for name, of in evidence.items()}
        _, scores = self._second_pass(tokens, hidden, batch.progress)
        masks = maskings(self.config, batch, evidence, hidden)
        trained = self._recovery_weights()[1] > 0 and self.config.kl_axis == "class"
        return [
            replace(one, recovered=scores[b].softmax(-1).cpu() if trained else None, masks=masks[b])
            for b, one in enumerate(told)
        ]

    def _read(self, batch: Batch, encoded: Encoded, temporal: Temporal) -> Read:
        """Look the cues up, verify them, and ask both modalities about them."""
        cues = self.predictor.cues(batch.inputs)
        stages = self.predictor.stages(temporal, cues)
        begun = batch.progress >= self.config.verify_after
        kept = stages.kept(self.config.verify if begun else "none", cues)
        words = self.words(cues)
        video, audio = self.asks["video"](words, encoded.video), self.asks["audio"](words, encoded.audio)
        return Read(cues, stages, kept, words, video, audio)

    def _complement(self, batch: Batch, read: Read, notes: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_cls of the cues' contents and L_tacl (Eqs. 4 and 5)."""
        config, present = self.config, batch.inputs.present.float()
        terms: dict[str, Tensor] = {}
        if config.w_cue > 0:
            for index, (name, asked) in enumerate((("video", read.video), ("audio", read.audio))):
                loss = self._cue_loss(self.heads[name](asked.content), batch, read.kept)
                terms[f"cue_{name}"] = config.w_cue * loss * present[:, index]
        if config.w_tacl > 0:
            both = present[:, 0] * present[:, 1]
            x_vl = normalize(self.projections["video"](read.video.content), dim=-1)
            x_al = normalize(self.projections["audio"](read.audio.content), dim=-1)
            x_l = normalize(self.project_words(read.words), dim=-1)
            for name, own, other in (("video", x_vl, x_al), ("audio", x_al, x_vl)):
                loss = contrast(own, other, x_l, read.kept, config.tau, config.negatives)
                terms[f"tacl_{name}"] = config.w_tacl * loss * both
                here = present[:, 0 if name == "video" else 1]
                notes[f"alignment_{name}"] = alignment(own, x_l, read.kept, here)
                notes[f"spread_{name}"] = spread(own, read.kept, here)
        return terms

    def _cue_loss(self, scores: Float[Tensor, "B S K C"], batch: Batch, kept: Tensor) -> Float[Tensor, " B"]:
        label = batch.label[:, None, None].expand(kept.shape)
        loss = polarity_cross_entropy(
            scores.flatten(0, 2), label.flatten(), self.predictor.sentiment, self.config.polarity_weight
        )
        return mean_over_cues(loss.view(kept.shape), kept)

    def _recover(
        self,
        batch: Batch,
        tokens: Embedded,
        encoded: Encoded,
        temporal: Temporal,
        read: Read | None,
        notes: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Hide tokens, encode the rest, and recover patches and the emotion distribution."""
        hidden = {name: self._hide(self._evidence(name, batch, encoded, read), batch) for name in MODALITIES}
        patches, scores = self._second_pass(tokens, hidden, batch.progress)
        present = batch.inputs.present.float()
        notes |= self._mask_notes(batch, temporal, read, hidden)
        terms: dict[str, Tensor] = {}
        w_patch, w_kl = self._recovery_weights()
        if w_patch > 0:
            for name, loss in self._patch_losses(batch, hidden, patches, notes).items():
                terms[f"patch_{name}"] = w_patch * loss * present[:, MODALITIES.index(name)]
        if w_kl > 0:
            terms["kl"] = w_kl * distribution_loss(temporal.curve, scores, self.config.kl_axis)
        return terms

    def _second_pass(
        self, tokens: Embedded, hidden: dict[str, Tensor], progress: float
    ) -> tuple[dict[str, Tensor], Float[Tensor, "B S C"]]:
        """What the decoders make of the visible tokens: modality -> patches, and emotion scores."""
        mask, ratio = self.config.mask, mask_ratio(self.config, progress)
        grids = {"video": (self.predictor.mbt.video_grid, 0), "audio": (self.predictor.mbt.audio_grid, 1)}
        visible = {
            name: visible_places(where, visible_count(mask, ratio, *grids[name])) for name, where in hidden.items()
        }
        seen = self.predictor.mbt.encode(tokens, Visible(visible["video"], visible["audio"]))
        own, present = {"video": seen.video, "audio": seen.audio}, tokens.present.float()
        patches, scores = {}, []
        for name, decoder in self.decoders.items():
            patches[name], score = decoder(own[name], visible[name])
            scores.append(score * present[:, MODALITIES.index(name), None, None])
        return patches, torch.stack(scores).sum(0)

    def _recovery_weights(self) -> tuple[float, float]:
        """Weights of patches and of the distribution under the config's target."""
        return TARGETS[self.config.target].weights(self.config)

    def _hide(self, evidence: Evidence, batch: Batch) -> Bool[Tensor, "B S N"]:
        """The hidden tokens of a modality (Eqs. 6 and 7)."""
        ratio = mask_ratio(self.config, batch.progress)
        return STRATEGIES[self.config.mask](evidence, ratio, self.config.reveal)

    def _evidence(self, modality: str, batch: Batch, encoded: Encoded, read: Read | None) -> Evidence:
        """What may decide which tokens of a modality are hidden."""
        mbt, is_video = self.predictor.mbt, modality == "video"
        attention = encoded.video_attention if is_video else encoded.audio_attention
        assert attention is not None
        grid: tuple[int, ...] = mbt.video_grid if is_video else mbt.audio_grid
        asked = None if read is None else (read.video if is_video else read.audio)
        chance = chances(self.streams, modality, batch.epoch, batch.keys, *attention.shape[1:])
        return Evidence(
            attention=attention,
            cue_attention=None if asked is None else asked.attention.detach(),
            kept=None if read is None else read.kept,
            chance=chance.to(attention.device, non_blocking=True),
            grid=grid,
            time_axis=0 if is_video else 1,
        )

    def _patch_losses(
        self, batch: Batch, hidden: dict[str, Tensor], patches: dict[str, Tensor], notes: dict[str, Tensor]
    ) -> dict[str, Float[Tensor, " B"]]:
        """Modality -> patch loss; notes the share of hidden sound that no visible patch gives away."""
        config, inputs = self.config, batch.inputs
        video = self.picture.of(inputs.video)
        losses = {"video": patch_loss(patches["video"], video, hidden["video"][..., None].expand_as(video))}
        if "audio" in patches:
            audio = audio_target(mel(inputs.audio), config.audio_patch, config.audio_stride)
            frames = inputs.audio.shape[2]
            free = audio_free(hidden["audio"], config.mels, frames, config.audio_patch, config.audio_stride)
            share = free.float().sum((1, 2, 3)) / (hidden["audio"].sum((1, 2)) * free.shape[-1]).clamp(min=1)
            notes["sound_share"] = share.where(inputs.present[:, 1], torch.nan)
            losses["audio"] = patch_loss(patches["audio"], audio, free)
        return losses

    def _mask_notes(
        self, batch: Batch, temporal: Temporal, read: Read | None, hidden: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """How much is hidden, how often for want of cues, and how flat the target is (1 = flat)."""
        target = temporal.curve.softmax(-1)
        entropy = -(target * target.log()).sum(-1).mean(-1) / math.log(target.shape[-1])
        notes = {
            "target_entropy": entropy,
            "hidden_video": hidden["video"].float().mean((1, 2)).where(batch.inputs.present[:, 0], torch.nan),
            "hidden_audio": hidden["audio"].float().mean((1, 2)).where(batch.inputs.present[:, 1], torch.nan),
        }
        if read is not None and self.config.mask == "affective":
            notes["fallback"] = (~read.kept.any(-1)).float().mean(-1)
        return notes


def coverage(cues: Cues, stages: Stages, kept: Tensor) -> dict[str, Float[Tensor, " B"]]:
    """Share of segments with a cue before and after each stage; share of cues that pass it (NaN without cues)."""
    notes = {"coverage": cues.here.any(-1).float().mean(-1), "coverage_kept": kept.any(-1).float().mean(-1)}
    count = cues.here.sum((1, 2)).float()
    for name, passed in stages._asdict().items():
        notes[f"coverage_{name}"] = passed.any(-1).float().mean(-1)
        notes[f"pass_{name}"] = passed.sum((1, 2)) / torch.where(count > 0, count, torch.nan)
    return notes


def _pair(streams: Streams, name: str, make: Any) -> nn.ModuleDict:
    return nn.ModuleDict({modality: seeded(streams, f"{name}.{modality}", make) for modality in ("video", "audio")})
