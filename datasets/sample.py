"""Built-in sample: synthetic clips with the classes of a data set, written once in the official layout.

It takes the same path as real data (frames as jpg, audio as mp3, words as srt), so that the first command works
without any. Scores on it say nothing about real videos. A clip follows a timeline of emotions; its transcript holds
emotion words of the real lexica, one per second; a known share of them is wrong on purpose.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import av
import numpy as np
from filelock import FileLock

from bench.errors import StoreError
from bench.files import atomic_write
from bench.processes import run_each
from bench.types import DatasetInfo, PlantedWord, SampleTruth, Word
from datasets.sample_media import VOICE_RATE, draw_frames, synthesise_voice
from datasets.streams.text import format_subtitles
from datasets.streams.video import encode_jpeg

SAMPLE_VERSION = 1  # frozen, as is its difficulty: docs/decisions/0002-sample.md
CLIPS_PER_CLASS, TRAINING_PER_CLASS = 40, 28  # the first 28 clips of a class are for training
CLIP_SECONDS = (5.0, 7.0)

STRONG_SHARE = (0.22, 0.38)  # of a clip's time
STRONG_RANGE, WEAK_RANGE, OTHER_RANGE = (0.8, 1.0), (0.15, 0.4), (0.2, 0.5)  # strengths

PLUTCHIK_EMOTIONS = frozenset({"anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"})
WRONG_KINDS = ("sentiment", "emotion", "degree")
WRONG_SHARE = 0.1  # of the cues, for each kind
NEAR_DISTANCE, FAR_DISTANCE = (
    0.15,
    0.55,
)  # |degree of a word - strength of the emotion|: below for true, above for wrong
FILLERS = (
    *("the", "a", "and", "of", "to", "we", "you", "it", "is", "was", "that", "there", "then", "here", "this", "which"),
    *("what", "when", "one", "two", "with", "from", "for", "on", "at", "by", "so", "but", "or", "into", "over", "they"),
    *("he", "she", "us", "our", "their", "who", "how", "than"),
)
TOPICS = (
    ("kitchen", "table", "spoon", "plate", "bowl", "oven", "fork"),
    ("street", "wheel", "bus", "corner", "road", "bridge", "traffic"),
    ("garden", "leaf", "stone", "grass", "fence", "soil", "branch"),
    ("office", "desk", "paper", "printer", "keyboard", "folder", "lamp"),
    ("river", "boat", "sand", "shore", "wave", "rope", "sail"),
)


def ensure_sample(
    info: DatasetInfo,
    cache: Path,
    report: Callable[[str, int, int], None],
    clips: int = CLIPS_PER_CLASS,
    training: int = TRAINING_PER_CLASS,
    affect: bool = False,
) -> Path:
    """Return the folder of the sample for a data set; write it first if it does not exist.

    With `affect`, a file va/<Class>/<clip>.txt has the valence and the arousal of each frame (30 a second). The folder
    appears complete or not at all. Raises StoreError if it cannot be written.
    """
    root = _locate_sample(info, cache)
    if (root / "truth.json").exists():
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if not (root / "truth.json").exists():
                _write_sample(info, root, report, clips, training, affect)
    except OSError as error:
        raise StoreError(
            f"cannot write the built-in sample to {root} ({error.strerror}); choose another --results"
        ) from None
    return root


def has_sample(info: DatasetInfo, cache: Path) -> bool:
    """Return whether the sample for a data set is written."""
    return (_locate_sample(info, cache) / "truth.json").exists()


def _locate_sample(info: DatasetInfo, cache: Path) -> Path:
    return cache / "sample" / f"{info.name}-form{SAMPLE_VERSION}"


def read_truth(root: Path) -> dict[str, SampleTruth]:
    """Return clip key -> the drawn timeline and cues, to score the verification of cues; never given to a method."""
    raw = json.loads((root / "truth.json").read_text())
    return {
        key: SampleTruth(tuple(map(tuple, truth["course"])), tuple(PlantedWord(**word) for word in truth["words"]))
        for key, truth in raw.items()
    }


def write_sample_clip(info: DatasetInfo, root: Path, label: int, number: int) -> tuple[str, dict[str, Any]]:
    """Write the frames, audio and transcript of one clip into the tree; return its key and its truth."""
    name = f"{number:03d}"
    digest = hashlib.sha256("\x1f".join((info.name, info.classes[label], name)).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    seconds = float(rng.uniform(*CLIP_SECONDS))
    course = draw_timeline(label, len(info.classes), seconds, rng)
    words, planted = make_transcript(course, seconds, info, rng)
    frames = draw_frames(*sample_timeline(course, round(seconds * 30), 30), len(info.classes), rng)
    sound = synthesise_voice(*sample_timeline(course, round(seconds * VOICE_RATE), VOICE_RATE), rng)
    folder = info.classes[label]
    place = root / "imgs" / folder / name
    place.mkdir(parents=True)
    for shown, frame in enumerate(frames, 1):
        (place / f"{shown:06d}.jpg").write_bytes(encode_jpeg(frame))
    _write_mp3(root / "mp3" / folder / f"{name}.mp3", sound, VOICE_RATE)
    (root / "srt" / folder / f"{name}.srt").write_text(format_subtitles(words), encoding="utf-8")
    truth = {
        "course": [(round(span.start, 3), span.label, round(span.strength, 3)) for span in course],
        "words": [asdict(word) for word in planted],
    }
    return f"{folder}/{name}", truth


def _write_sample(
    info: DatasetInfo, root: Path, report: Callable[[str, int, int], None], clips: int, training: int, affect: bool
) -> None:
    """Write all clips in parallel to a temporary folder, then rename it; call it only while holding the lock."""
    for leftover in (root, *root.parent.glob(f".{root.name}.*")):
        shutil.rmtree(leftover, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    work = [(info, place, label, number) for label in range(len(info.classes)) for number in range(clips)]
    try:
        for folder in info.classes:
            for part in ("mp3", "srt"):
                (place / part / folder).mkdir(parents=True)
        truth = dict(run_each(write_sample_clip, work, "sample", report))
        for split, numbers in (("train", range(training)), ("test", range(training, clips))):
            lines = [f"{name}/{n:03d} {label + 1}" for label, name in enumerate(info.classes) for n in numbers]
            (place / f"{split}list01.txt").write_text("\n".join(lines) + "\n")
        if affect:
            _write_affect(info, place, truth)
        atomic_write(place / "truth.json", json.dumps(dict(sorted(truth.items()))).encode())
        place.chmod(0o755)
        place.replace(root)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write_mp3(path: Path, sound: np.ndarray, rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = 64000
        frame = av.AudioFrame.from_ndarray((sound[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=rate, frame_size=stream.frame_size or 576)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class EmotionSpan:
    """Part of a clip with one emotion of one strength."""

    start: float  # seconds
    end: float
    label: int
    strength: float  # 0 to 1


def draw_timeline(label: int, classes: int, seconds: float, rng: np.random.Generator) -> tuple[EmotionSpan, ...]:
    """Draw the spans of a clip: its class is strong in one or two of them, the others are weak or of other classes."""
    share = rng.uniform(*STRONG_SHARE)
    strong = int(rng.integers(1, 3))
    weak = int(rng.integers(3, 5))
    lengths = [share * seconds * part for part in rng.dirichlet(np.full(strong, 8.0))]
    lengths += [(1 - share) * seconds * part for part in rng.dirichlet(np.full(weak, 8.0))]
    spans, start = [], 0.0
    for number in rng.permutation(strong + weak):
        if number < strong:
            emotion, strength = label, rng.uniform(*STRONG_RANGE)
        elif rng.random() < 0.4:
            emotion, strength = label, rng.uniform(*WEAK_RANGE)
        else:
            others = [other for other in range(classes) if other != label]
            emotion, strength = int(rng.choice(others)), rng.uniform(*OTHER_RANGE)
        end = start + lengths[number]
        spans.append(EmotionSpan(start, end, emotion, float(strength)))
        start = end
    return tuple(spans)


def find_span(course: tuple[EmotionSpan, ...], second: float) -> EmotionSpan:
    """Return the span that contains a moment."""
    return next((span for span in course if second < span.end), course[-1])


def _write_affect(info: DatasetInfo, place: Path, truth: dict[str, dict[str, Any]]) -> None:
    """Write valence (the class's sign times the strength) and arousal (-1 to 1 by the strength) of each frame."""
    for key, known in truth.items():
        folder, _, name = key.partition("/")
        starts = [start for start, _, _ in known["course"]]
        lines = ["valence,arousal"]
        for frame in range(1, len(list((place / "imgs" / folder / name).iterdir())) + 1):
            _, label, strength = known["course"][max(0, bisect_right(starts, (frame - 1) / 30) - 1)]
            lines.append(f"{info.sentiment[label] * strength:.3f},{2 * strength - 1:.3f}")
        (place / "va" / folder).mkdir(parents=True, exist_ok=True)
        (place / "va" / folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def sample_timeline(course: tuple[EmotionSpan, ...], count: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (count,) classes and (count,) strengths at `rate` moments per second, starting at 0."""
    ends = np.asarray([span.end for span in course])
    place = np.minimum(np.searchsorted(ends, np.arange(count) / rate, side="right"), len(course) - 1)
    labels, strengths = (np.asarray([getattr(p, name) for p in course]) for name in ("label", "strength"))
    return labels[place], strengths[place]


@dataclass(frozen=True)
class KnownWord:
    """Word of the lexica: sign and percentile (0 to 1) of its polarity, and its Plutchik emotions."""

    text: str
    sign: int
    degree: float
    emotions: frozenset[str]


@dataclass(frozen=True)
class Lexica:
    """Words in both lexica, and all concepts, which consecutive words must not form by accident."""

    words: tuple[KnownWord, ...]
    cues: frozenset[str]  # their texts
    concepts: frozenset[str]


@cache
def load_lexica() -> Lexica:
    """Load the words that have a polarity in SenticNet and an emotion in the NRC lexicon."""
    from senticnet.senticnet6 import senticnet

    text = resources.files("nrclex.data").joinpath("nrc_en.json").read_text(encoding="utf-8")
    strengths = sorted(abs(float(values[7])) for values in senticnet.values())
    known = []
    for word, tags in sorted(json.loads(text).items()):
        emotions = frozenset(tags) & PLUTCHIK_EMOTIONS
        polarity = float(senticnet[word][7]) if word in senticnet else 0.0
        if emotions and polarity and word.isalpha() and word.isascii():
            rank = bisect_left(strengths, abs(polarity)) + bisect_right(strengths, abs(polarity))
            known.append(KnownWord(word, 1 if polarity > 0 else -1, rank / 2 / len(strengths), emotions))
    return Lexica(tuple(known), frozenset(word.text for word in known), frozenset(senticnet))


def make_transcript(
    course: tuple[EmotionSpan, ...], seconds: float, info: DatasetInfo, rng: np.random.Generator
) -> tuple[list[Word], list[PlantedWord]]:
    """Draw two words per second, a filler and a cue; return all words, and the cues with their kind of error.

    In spans of a neutral class or a class without emotions no cue can be verified, so the second word is a filler too.
    """
    topic = TOPICS[int(rng.integers(len(TOPICS)))]
    words: list[Word] = []
    planted: list[PlantedWord] = []

    def add_word(text: str, start: float) -> None:
        words.append(Word(text, round(start, 3), round(round(start, 3) + 0.3, 3)))

    for second in range(int(seconds - 0.6)):
        filler = _draw_filler(words, topic, rng)
        add_word(filler, second + 0.05 + 0.1 * rng.random())
        start = second + 0.45 + 0.2 * rng.random()
        span = find_span(course, start)
        drawn = int(rng.random() / WRONG_SHARE)
        wrong = WRONG_KINDS[drawn] if drawn < len(WRONG_KINDS) else None
        if not (info.sentiment[span.label] and info.emotions.get(info.classes[span.label])):
            add_word(_draw_filler(words, topic, rng), start)
        elif (cue := _draw_cue(span, wrong, info, words, rng)) is not None:
            add_word(cue.text, start)
            planted.append(PlantedWord(cue.text, words[-1].start, wrong))
    return words, planted


def is_cue_for(known: KnownWord, span: EmotionSpan, wrong: str | None, info: DatasetInfo) -> bool:
    """Return whether a word is a true cue of a span (`wrong` is None), or wrong in exactly the given way."""
    name = info.classes[span.label]
    sign = info.sentiment[span.label] == known.sign
    emotion = bool(info.emotions[name] & known.emotions)
    distance = abs(known.degree - span.strength)
    if wrong == "sentiment":
        return not sign and not emotion and distance < NEAR_DISTANCE
    if wrong == "emotion":
        return sign and not emotion and distance < NEAR_DISTANCE
    if wrong == "degree":
        return sign and emotion and distance > FAR_DISTANCE
    return sign and emotion and distance < NEAR_DISTANCE


def _draw_cue(
    span: EmotionSpan, wrong: str | None, info: DatasetInfo, previous: list[Word], rng: np.random.Generator
) -> KnownWord | None:
    known = load_lexica().words
    order = (known[number] for number in rng.permutation(len(known)).tolist())
    good = (word for word in order if is_cue_for(word, span, wrong, info) and not _forms_concept(previous, word.text))
    return next(good, None)


def _draw_filler(previous: list[Word], topic: tuple[str, ...], rng: np.random.Generator) -> str:
    pool = topic if rng.random() < 0.4 else FILLERS
    order = [pool[number] for number in rng.permutation(len(pool)).tolist()]
    free = (word for word in order if word not in load_lexica().cues and not _forms_concept(previous, word))
    return next(free, "the")


def _forms_concept(previous: list[Word], text: str) -> bool:
    """Return whether a word would form a SenticNet concept with up to three words before it."""
    before = [word.text for word in previous[-3:]]
    return any("_".join([*before[first:], text]) in load_lexica().concepts for first in range(len(before)))
