"""Facts of data sets, clips, batches and splits.

Shapes: B clips, S segments, T frames, H x W pixels, F sound frames of 10 ms, M mel bins, C classes.
Nothing here imports torch at run time, so that registries stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from bench.rng import RngTree


Split = Literal["train", "val", "test"]
Modality = Literal["video", "audio", "words"]

CLIP_LOSING_ISSUES = frozenset({"missing", "unreadable"})  # kinds of problem that cost the clip that they name
VALIDATION_FOLDS = 5  # parts that a training list is cut into


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of a data set.

    `sentiment[c]` is -1, 0 or +1 for class c. `emotions[class]` are the Plutchik emotions that speak for the
    class, `reasons[class]` says why these; a class that no such emotion speaks for is stated under `unreached`.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    sentiment: tuple[int, ...]
    emotions: Mapping[str, frozenset[str]]
    language: str
    licence: str
    cite: str
    obtain: str
    unreached: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)  # other name of a class, in lower case -> class
    splits: str = "official lists"  # how train and test are told apart, in a line
    group: str = "clip"  # what a group is: clip, video, session, drama
    folds: tuple[int, ...] = (0,)  # what --fold may be; the first is the default
    fold: str = ""  # what a fold is, where there are several
    overlap: bool = False  # test splits of two folds share clips, so that runs of several folds are not independent
    clips: int | None = None  # that the data set is said to have


@dataclass(frozen=True)
class ClipSources:
    """Where a clip's media are. `frames` is a folder of pictures; `video` one file holding picture and sound."""

    frames: Path | None = None
    video: Path | None = None
    audio: Path | None = None
    transcript: Path | None = None
    text: str = ""  # words without times, where there is no transcript
    root: Path | None = None  # the data folder, which no link may leave


@dataclass(frozen=True)
class Clip:
    """One labelled clip. `key` is "<Class>/<clip>"; a `group` never straddles splits.

    Most data sets know train and test only: `val` is then cut from train, by the seed.
    """

    key: str
    target: int
    split: Split
    group: str
    sources: ClipSources = ClipSources()


@dataclass(frozen=True)
class Sampling:
    """How a ClipSet is opened: the segments of a clip and the size of their contents."""

    segments: int  # S, slots a clip is cut into
    frames: int  # T, frames a segment
    stride: int  # video frames (1/30 s) from one of the T frames to the next
    size: int  # H = W, pixels
    mels: int  # M, mel bins; a segment has F = 100 sound frames of 10 ms
    training: bool  # random moment, crop, flip and SpecAugment; otherwise nothing is random
    modalities: tuple[Modality, ...] = ("video", "audio", "words")  # the others are opened as absent


@dataclass(frozen=True)
class Word:
    """A word of the transcript at its time in the clip (seconds)."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class OpenedClip:
    """One opened clip: what `Inputs` holds, without the clip axis."""

    video: torch.Tensor  # (S, T, H, W, 3) uint8
    audio: torch.Tensor  # (S, F, M) float32, log mel energies as the Kaldi filter bank gives them
    words: tuple[tuple[Word, ...], ...]  # S x words of the slot
    present: torch.Tensor  # (3,) bool: video, audio, words


@dataclass(frozen=True)
class Inputs:
    """All that a predictor may see of a batch: never a label."""

    video: torch.Tensor  # (B, S, T, H, W, 3) uint8
    audio: torch.Tensor  # (B, S, F, M) float32
    words: tuple[tuple[tuple[Word, ...], ...], ...]  # B x S x words
    present: torch.Tensor  # (B, 3) bool: video, audio, words; what is absent is zeros above

    def to(self, device: torch.device) -> Inputs:
        """The same inputs with their tensors on a device."""
        return replace(
            self,
            video=self.video.to(device, non_blocking=True),
            audio=self.audio.to(device, non_blocking=True),
            present=self.present.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Batch:
    """Labelled inputs on their way through a training stage."""

    inputs: Inputs
    target: torch.Tensor  # (B,) int64
    keys: tuple[str, ...]  # B clip keys
    epoch: int  # of the stage, from 0
    progress: float  # share of the stage's steps already taken, 0 <= progress < 1


@runtime_checkable
class ClipSet(Protocol):
    """Labelled clips that can be opened. Workers pickle it, so it holds paths and labels, never media."""

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The clips in a fixed order."""

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """Clip `index` opened: the same values for the same (clip, sampling, seed, epoch), in any process."""


@dataclass(frozen=True)
class DataIssue:
    """Something wrong with the data, told by name: `what` is a short kind, `where` a clip or file."""

    what: str
    where: str
    why: str


class WordOutcome(Protocol):
    """A word of a clip, and whether a method uses it."""

    @property
    def text(self) -> str:
        """The word, or several that belong together."""

    @property
    def start(self) -> float:
        """Seconds from the start of the clip."""

    @property
    def dropped(self) -> str | None:
        """The method's name of the check that dropped the word; None for a word that it uses."""


@dataclass(frozen=True)
class MaskSnapshot:
    """What of a clip's picture or sound is hidden from a masked pass, by token, and what lies under the tokens."""

    hidden: torch.Tensor  # (S, N) bool
    hints: torch.Tensor  # (S, N) bool: ranked highest, and left visible for that
    grid: tuple[int, ...]  # tokens along (time, height, width), or (bins, time)
    patch: tuple[int, ...]  # places that a token covers along these axes
    stride: tuple[int, ...]  # places from one token to the next
    content: torch.Tensor  # (S, t, H, W, 3) uint8, the first frame of each token; or (S, F, M) log mel energies


@dataclass(frozen=True)
class Explanation:
    """What a model can tell about one clip; what it cannot is None or empty."""

    curve: torch.Tensor | None  # (S, C) temporal emotion scores
    verdicts: tuple[WordOutcome, ...]
    recovered: torch.Tensor | None = None  # (S, C) the emotion distribution recovered from the visible tokens
    feature: torch.Tensor | None = None  # (D,) of the clip as a whole
    masks: Mapping[str, MaskSnapshot] = field(default_factory=dict)  # "video" and "audio", where they are there


@dataclass(frozen=True)
class PlantedWord:
    """The sample's truth of one word: `wrong` names the first check that ought to drop it, None for a true word."""

    text: str
    start: float
    wrong: str | None


@dataclass(frozen=True)
class SampleTruth:
    """The sample's truth of one clip: the strength of each class over time, and its planted words."""

    timeline: tuple[tuple[float, int, float], ...]  # (start in s, class, strength 0..1) pieces
    words: tuple[PlantedWord, ...]


@dataclass(frozen=True)
class DatasetSplits:
    """A data set made ready for one run. Only `execute` ever holds one, since it alone may see `test`."""

    info: DatasetInfo
    train: ClipSet
    val: ClipSet
    test: ClipSet
    fingerprint: str  # of (clip key, label, split): names the split in every record
    content_hash: str  # hash of the usable clips' media and the preparation's parameters
    issues: tuple[DataIssue, ...] = ()
    truth: Mapping[str, SampleTruth] = field(default_factory=dict)  # clip key -> truth; the sample only
    is_sample: bool = False  # the built-in sample stands in for the real data


@dataclass(frozen=True)
class SplitRequest:
    """What a data set is asked for: the splits of one run, prepared for one frame size and mel resolution."""

    folder: Path | None  # of the real data; None = look in the usual places, else the built-in sample
    cache: Path  # where prepared clips and the sample are kept
    size: int  # pixels of a training crop
    mels: int
    seed: int  # chooses the validation fold, seed mod 5, where the data set itself does not
    fold: int | None = None  # official list or group left out; None = the card's first
    report_progress: Callable[[str, int, int], None] = lambda what, done, total: None  # progress of long work


@dataclass(frozen=True)
class Dataset:
    """A registry entry: the card, and how to make a Corpus; heavy modules are imported inside `load`."""

    info: DatasetInfo
    load: Callable[[SplitRequest], DatasetSplits]


@dataclass(frozen=True)
class ClipSummary:
    """A clip as listed, and, once it is prepared, what is in it."""

    key: str
    target: int
    split: Split
    group: str
    seconds: float | None  # None: not prepared, or not readable
    words: int = 0  # inside the clip
    present: tuple[bool, bool, bool] = (False, False, False)  # video, audio, words
    dropped: bool = False  # a copy of a clip in a later split: never trained or selected on


@dataclass(frozen=True)
class Thumbnail:
    """A picture from the middle of a clip."""

    key: str
    jpeg: bytes


@dataclass(frozen=True)
class ClassFacts:
    """A class in an additional section: a cell for each heading, and a text that explains them."""

    name: str
    cells: tuple[str | float, ...]  # a share from 0 to 1 is printed in percent
    why: str


@dataclass(frozen=True)
class FactsSection:
    """A section of a data set's page on what a method finds in the data, class by class."""

    id: str  # of its table
    title: str
    headings: tuple[str, ...]  # behind that of the classes
    classes: tuple[ClassFacts, ...]
    meaning: str  # what the headings mean
    lead: str = ""  # opening words
    names: str = ""  # that the lead is about, in bold behind it


@dataclass(frozen=True)
class DatasetSummary:
    """A data set on this machine."""

    info: DatasetInfo
    fold: int
    is_sample: bool  # the built-in sample stands in for the real data
    clips: tuple[ClipSummary, ...]  # all that are listed, in their order
    issues: tuple[DataIssue, ...]
    thumbnails: Mapping[str, tuple[Thumbnail, ...]] = field(default_factory=dict)  # class -> a few of its clips
    sections: tuple[FactsSection, ...] = ()  # additional ones of its page
    store_bytes: int = 0  # of the prepared store
