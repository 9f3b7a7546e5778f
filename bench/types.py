"""Types of data sets, clips, batches, splits and explanations.

Shapes: B clips, S segments, T frames, H x W pixels, F audio frames of 10 ms, M mel bins, N tokens, C classes, D width.
This module does not import torch at run time, so that registries are cheap to import.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from bench.tasks import Classification, TargetValue, Task

if TYPE_CHECKING:
    import torch

    from bench.rng import RngTree


Split = Literal["train", "val", "test"]
MEDIA_STREAMS = ("video", "audio", "text")
FEATURES = "features/"  # prefix of the streams of arrays made elsewhere
ALL_FEATURES = "features/*"  # in `Sampling.reads`: all such streams of the data set

CLIP_LOSING_ISSUES = frozenset({"missing", "unreadable"})  # issues whose clip is not used
VALIDATION_FOLDS = 5  # of a training list without a validation list


@dataclass(frozen=True)
class DatasetInfo:
    """Name, task, licence and splits of a data set.

    `emotions[class]` are the Plutchik emotions whose words indicate the class, and `reasons[class]` explains the
    choice. `unreached` lists the classes that no such emotion indicates.
    """

    name: str
    title: str
    task: Task
    emotions: Mapping[str, frozenset[str]]
    language: str
    licence: str
    cite: str
    obtain: str
    unreached: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)  # other name of a class, in lower case -> class
    splits: str = "official lists"  # one line on how train and test are split
    group: str = "clip"  # unit that is never split between train and test: clip, video, session, drama
    folds: tuple[int, ...] = (0,)  # values of --fold; the first is the default
    fold: str = ""  # meaning of a fold, if there are several
    overlap: bool = False  # test splits of two folds share clips, so runs on several folds are not independent
    clips: int | None = None  # number of clips that the authors state
    folder: str = ""  # name of the data folder, if it is not that of the data set
    streams: tuple[str, ...] = MEDIA_STREAMS  # that clips may have
    features: Mapping[str, int] = field(default_factory=dict)  # stream of features -> D, values per step

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes; empty for a regression."""
        return self.task.classes if isinstance(self.task, Classification) else ()

    @property
    def sentiment(self) -> tuple[int, ...]:
        """Return the polarity of each class: -1, 0 or +1, and 0 where none is known."""
        return self.task.signs if isinstance(self.task, Classification) else ()


@dataclass(frozen=True)
class ClipSources:
    """Paths of a clip's media: `frames` is a folder of images, `video` a file with video and audio streams."""

    frames: Path | None = None
    video: Path | None = None
    audio: Path | None = None
    transcript: Path | None = None
    text: str = ""  # transcript without times, if there is no transcript file
    features: tuple[tuple[str, Path], ...] = ()  # (name, .npy or .npz file) of arrays made elsewhere
    root: Path | None = None  # data folder; links that leave it are refused


@dataclass(frozen=True)
class Clip:
    """A labelled clip. `key` is "<Class>/<clip>", or "<clip>" without classes; a `group` is always in one split.

    If a data set has no validation list, `val` is cut from train by the seed. A clip with `start` or `end` is a part of
    its files.
    """

    key: str
    target: TargetValue  # index of the class, or the numbers to predict
    split: Split
    group: str
    sources: ClipSources = ClipSources()
    start: float | None = None  # seconds from the start of its files; None: their start
    end: float | None = None  # None: the end of its files

    @property
    def is_part(self) -> bool:
        """Return whether the clip is a part of its files."""
        return self.start is not None or self.end is not None


@dataclass(frozen=True)
class VideoSpec:
    """How frames are opened; a segment has T of them."""

    frames: int  # T, frames per segment
    stride: int  # video frames (1/30 s) between two of the T frames
    size: int  # H = W, pixels


@dataclass(frozen=True)
class AudioSpec:
    """How audio is opened; a segment has F = 100 audio frames of 10 ms."""

    mels: int  # M, mel bins


@dataclass(frozen=True)
class Sampling:
    """Segments and sizes with which the clips of a ClipSet are opened, and the streams that are read."""

    segments: int  # S, segments per clip
    video: VideoSpec
    audio: AudioSpec
    training: bool  # random start, crop, flip and SpecAugment; otherwise deterministic
    reads: tuple[str, ...] = MEDIA_STREAMS  # other streams are opened as absent

    def reads_stream(self, name: str) -> bool:
        """Return whether a stream is read; ALL_FEATURES matches every stream of features."""
        return name in self.reads or (name.startswith(FEATURES) and ALL_FEATURES in self.reads)


@dataclass(frozen=True)
class Word:
    """A word of the transcript; times in seconds from the start of the clip."""

    text: str
    start: float
    end: float


SegmentWords = tuple[tuple[Word, ...], ...]
"""S x words of a segment."""


@dataclass(frozen=True)
class OpenedClip:
    """An opened clip: the fields of `Inputs` without the clip axis; a stream of features is (L, D) float32."""

    streams: Mapping[str, torch.Tensor | SegmentWords]
    present: Mapping[str, bool]

    @property
    def video(self) -> torch.Tensor:
        """Return the frames, (S, T, H, W, 3) uint8."""
        return cast("torch.Tensor", self.streams["video"])

    @property
    def audio(self) -> torch.Tensor:
        """Return the log-mel energies, (S, F, M) float32."""
        return cast("torch.Tensor", self.streams["audio"])

    @property
    def words(self) -> SegmentWords:
        """Return the words of each segment."""
        return cast(SegmentWords, self.streams["text"])

    def keep_streams(self, names: Collection[str]) -> OpenedClip:
        """Return the clip with all streams except `names` absent: zeros, or no words."""
        streams = {
            name: value if name in names else tuple(() for _ in value) if isinstance(value, tuple) else value * 0
            for name, value in self.streams.items()
        }
        return OpenedClip(streams, {name: here and name in names for name, here in self.present.items()})


@dataclass(frozen=True)
class Inputs:
    """Inputs of a predictor for a batch of clips, by stream; they contain no label.

    An absent stream is zeros, or has no words. Streams of features, (B, L, D), are padded with zeros to the longest
    clip of the batch.
    """

    streams: Mapping[str, torch.Tensor | tuple[SegmentWords, ...]]
    present: Mapping[str, torch.Tensor]  # stream -> (B,) bool
    lengths: Mapping[str, torch.Tensor] = field(default_factory=dict)  # stream of features -> (B,) int64

    @property
    def video(self) -> torch.Tensor:
        """Return the frames, (B, S, T, H, W, 3) uint8."""
        return cast("torch.Tensor", self.streams["video"])

    @property
    def audio(self) -> torch.Tensor:
        """Return the log-mel energies of Kaldi's filter bank, (B, S, F, M) float32."""
        return cast("torch.Tensor", self.streams["audio"])

    @property
    def words(self) -> tuple[SegmentWords, ...]:
        """Return the words of each segment of each clip."""
        return cast("tuple[SegmentWords, ...]", self.streams["text"])

    @property
    def features(self) -> dict[str, torch.Tensor]:
        """Return the streams of features, (B, L, D) each, without the prefix of their names."""
        found = {name: value for name, value in self.streams.items() if name.startswith(FEATURES)}
        return {name.removeprefix(FEATURES): cast("torch.Tensor", value) for name, value in found.items()}

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(next(iter(self.streams.values())))

    def to(self, device: torch.device) -> Inputs:
        """Return the inputs with their tensors on a device."""

        def move(tensors: Mapping[str, Any]) -> dict[str, Any]:
            return {
                name: value if isinstance(value, tuple) else value.to(device, non_blocking=True)
                for name, value in tensors.items()
            }

        return Inputs(move(self.streams), move(self.present), move(self.lengths))


@dataclass(frozen=True)
class Batch:
    """Labelled inputs of a training step."""

    inputs: Inputs
    target: torch.Tensor  # (B,) int64 classes, or (B, R) float32 numbers
    keys: tuple[str, ...]  # B clip keys
    epoch: int  # of the stage, from 0
    progress: float  # share of the stage's steps that are done, 0 <= progress < 1


@runtime_checkable
class ClipSet(Protocol):
    """Labelled clips that can be opened. It is pickled for loader workers, so it holds paths and labels, no media."""

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Return the clips in a fixed order."""

    @property
    def contents(self) -> tuple[str, ...]:
        """Return a digest of each clip's media and of how they are prepared."""

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """Open clip `index`; the values depend only on (clip, sampling, seed, epoch), not on the process."""


@dataclass(frozen=True)
class DataIssue:
    """A fault in the data."""

    what: str  # short kind, such as "missing"
    where: str  # clip or file
    why: str


class WordOutcome(Protocol):
    """A word of a clip and whether a method uses it."""

    @property
    def text(self) -> str:
        """Return the word, or several words that belong together."""

    @property
    def start(self) -> float:
        """Return its start in seconds from the start of the clip."""

    @property
    def dropped(self) -> str | None:
        """Return the name of the method's check that dropped the word; None if the method uses it."""


@dataclass(frozen=True)
class MaskSnapshot:
    """The masked tokens of a clip's video or audio in one masked pass, and the content that the tokens cover."""

    hidden: torch.Tensor  # (S, N) bool, masked
    hints: torch.Tensor  # (S, N) bool, ranked highest and left visible as hints
    grid: tuple[int, ...]  # tokens along (time, height, width), or (bins, time)
    patch: tuple[int, ...]  # size of a token along these axes
    stride: tuple[int, ...]  # distance between tokens along these axes
    content: torch.Tensor  # (S, t, H, W, 3) uint8, the first frame of each token; or (S, F, M) log mel energies


@dataclass(frozen=True)
class Explanation:
    """Explanation of a prediction for one clip. Fields that a method does not provide are None or empty."""

    curve: torch.Tensor | None  # (S, C) temporal emotion scores
    verdicts: tuple[WordOutcome, ...]
    recovered: torch.Tensor | None = None  # (S, C) emotion distribution recovered from the visible tokens
    feature: torch.Tensor | None = None  # (D,) feature of the whole clip
    masks: Mapping[str, MaskSnapshot] = field(default_factory=dict)  # "video" and "audio", if present


@dataclass(frozen=True)
class PlantedWord:
    """Ground truth of a word in the built-in sample."""

    text: str
    start: float  # seconds
    wrong: str | None  # first check that should drop it; None for a correct word


@dataclass(frozen=True)
class SampleTruth:
    """Ground truth of a clip of the built-in sample: emotion over time, and planted words."""

    timeline: tuple[tuple[float, int, float], ...]  # pieces (start in s, class, strength 0..1)
    words: tuple[PlantedWord, ...]


@dataclass(frozen=True)
class DataIdentity:
    """Hashes of the data of a run, which need no decoding; every record stores them.

    Clips that turn out to be unreadable are part of both.
    """

    fingerprint: str  # hash of all (clip key, target, split) with source files
    content_hash: str  # hash of the bytes of these files, and of how they are prepared
    is_sample: bool = False  # the built-in sample replaces missing real data


@dataclass(frozen=True)
class DatasetSplits:
    """The prepared splits of a data set for one run. Only `bench.execute` uses this type, since it includes `test`."""

    info: DatasetInfo
    train: ClipSet
    val: ClipSet
    test: ClipSet
    fingerprint: str  # hash of all (clip key, target, split) of the usable clips
    content_hash: str  # `DataIdentity.content_hash`
    issues: tuple[DataIssue, ...] = ()
    truth: Mapping[str, SampleTruth] = field(default_factory=dict)  # clip key -> truth; only of the built-in sample
    is_sample: bool = False  # the built-in sample replaces missing real data
    streams: Mapping[str, float] = field(default_factory=dict)  # share of the training clips that have each stream
    marks: Mapping[str, frozenset[str]] = field(default_factory=dict)  # clip key -> digests of its video, audio, files


@dataclass(frozen=True)
class SplitRequest:
    """A request for the splits of one run, prepared at one frame size and mel resolution."""

    folder: Path | None  # of the real data; None = search the default folders, else use the built-in sample
    cache: Path  # folder of prepared clips and of the sample
    size: int  # pixels of a training crop
    mels: int
    seed: int  # selects the validation fold, seed mod 5, if the data set has no validation list
    fold: int | None = None  # official list or held-out group; None = the first in `DatasetInfo.folds`
    limit: int | None = None  # clips of each class in each split, for a try; None = all
    only_known: bool = False  # identify only data that were hashed before, and write nothing
    report_progress: Callable[[str, int, int], None] = lambda what, done, total: None


@dataclass(frozen=True)
class Dataset:
    """Registry entry of a data set. It is cheap to import: `load` imports decoders when it is called.

    `identify` decodes nothing; it returns None for data that `SplitRequest.only_known` excludes. Without it the data
    are loaded to identify them.
    """

    info: DatasetInfo
    load: Callable[[SplitRequest], DatasetSplits]
    identify: Callable[[SplitRequest], DataIdentity | None] | None = None

    def identify_data(self, request: SplitRequest) -> DataIdentity | None:
        """Return the identity of the data; None for data that `SplitRequest.only_known` excludes."""
        if self.identify is not None:
            return self.identify(request)
        splits = self.load(request)
        return DataIdentity(splits.fingerprint, splits.content_hash, splits.is_sample)


@dataclass(frozen=True)
class ClipSummary:
    """A listed clip, with its duration and modalities once it is prepared."""

    key: str
    target: TargetValue
    split: Split
    group: str
    seconds: float | None  # None: not prepared, or not readable
    words: int = 0  # number of words in its transcript
    streams: tuple[str, ...] = ()  # that it has
    dropped: bool = False  # duplicate of a clip in a later split, excluded from training and selection


@dataclass(frozen=True)
class Thumbnail:
    """A frame from the middle of a clip."""

    key: str
    jpeg: bytes


@dataclass(frozen=True)
class ClassFacts:
    """Row of a class in an additional section."""

    name: str
    cells: tuple[str | float, ...]  # one per heading; a float is a share, printed in percent
    why: str  # explanation of the cells


@dataclass(frozen=True)
class FactsSection:
    """An additional section of a data set's page: a table with a row per class, from the view of one method."""

    id: str  # of its table
    title: str
    headings: tuple[str, ...]  # of the columns after the class
    classes: tuple[ClassFacts, ...]
    meaning: str  # explanation of the headings
    lead: str = ""  # introductory text
    names: str = ""  # printed in bold after the introductory text


@dataclass(frozen=True)
class DatasetSummary:
    """Clips, issues and thumbnails of a data set on this machine."""

    info: DatasetInfo
    fold: int
    is_sample: bool  # the built-in sample replaces missing real data
    clips: tuple[ClipSummary, ...]  # all listed clips, in order
    issues: tuple[DataIssue, ...]
    thumbnails: Mapping[str, tuple[Thumbnail, ...]] = field(default_factory=dict)  # class -> a few of its clips
    sections: tuple[FactsSection, ...] = ()  # additional sections of its page
    store_bytes: int = 0  # of the prepared store
