"""Decoding of all streams of a clip into the tensors and facts of its prepared file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.errors import MediaError
from bench.types import FEATURES, Clip, DataIssue, Word
from datasets.decode.container import (
    ClipTooLong,
    PartTrack,
    SkipFailed,
    check_length,
    find_video_streams,
    open_media,
    read_header,
    read_parts,
)
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE
from datasets.streams.audio import AudioParts, DecodedAudio, compute_log_mel, is_silent, read_log_mel
from datasets.streams.features import decode_features
from datasets.streams.text import read_transcript, spread_words
from datasets.streams.video import (
    NO_VIDEO,
    EncodedVideo,
    VideoParts,
    decode_frames,
    number_frames,
    read_frame_folder,
    read_frame_part,
    read_video,
)

T = TypeVar("T")
Tensors = tuple[dict[str, np.ndarray], dict[str, Any]]  # tensors and facts of a prepared file
MAX_LENGTH_DIFFERENCE = 0.5  # seconds by which video, audio and the stated duration may differ without an issue
MAX_EXCESS = 0.1  # seconds by which a part may end after its file without an issue
INDEXED_CONTAINERS = {"mov", "matroska"}  # names of the containers in which a seek finds the right key frame
BLACK_LEVEL = 32  # of 255; a frame without a brighter pixel is black


def decode_clip(clip: Clip, side: int, mels: int) -> Tensors:
    """Return the tensors and facts of a clip.

    Raises MediaError if neither video nor audio can be read or one is an hour long, OSError if a source cannot be
    accessed.
    """
    if clip.is_part:
        ((_, found),) = decode_parts([clip], side, mels)
        if isinstance(found, MediaError):
            raise found
        return found
    problems: list[DataIssue] = []
    stated = _read_stated_seconds(clip, problems)
    video = _decode_video(clip, side, problems)
    audio = _decode_audio(clip, mels, problems)
    return _make_tensors(clip, video, audio, stated, problems)


def _make_tensors(
    clip: Clip, video: EncodedVideo, audio: DecodedAudio, stated: float | None, problems: list[DataIssue]
) -> Tensors:
    """Return the tensors and facts of decoded video and audio; raises MediaError if there is neither."""
    energies = audio.mels
    features = decode_features(clip, problems)
    if not video.packets and not len(energies) and not features:
        reasons = dict.fromkeys(problem.why for problem in problems)
        raise MediaError("; ".join(reasons) or "neither video nor audio can be read")
    if not any((clip.sources.frames, clip.sources.video, clip.sources.audio)):
        return _make_feature_tensors(clip, features, problems)
    _report_missing_end(clip, stated, max(len(video.index) / FRAME_RATE, len(energies) / AUDIO_FRAME_RATE), problems)
    looks = video.digest if _is_visible(video, clip.key, problems) else ""
    sounds = audio.digest if _is_audible(energies, clip.key, problems) else ""
    video = _hold_last_frame(video, len(energies), clip.key, problems)
    frames = len(video.index)
    words = _read_words(clip, frames / FRAME_RATE if frames else len(energies) / AUDIO_FRAME_RATE, problems)
    data: dict[str, np.ndarray] = {
        "packets": np.frombuffer(b"".join(video.packets) or b"\0", dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, video.packets)]).astype(np.int64),
        "index": video.index if frames else np.full(1, -1, dtype=np.int32),
        "sound": energies if len(energies) else np.zeros((1, 0), dtype=np.float16),
    }
    facts = {
        "words": [[word.text, word.start, word.end] for word in words],
        "problems": [[p.what, p.where, p.why] for p in problems],
        "frames": frames,
        "size": video.size,
        "sound": len(energies),
        "looks": looks,
        "sounds": sounds,
    }
    return _add_features(data, facts, features)


def _add_features(data: dict[str, np.ndarray], facts: dict[str, Any], features: dict[str, np.ndarray]) -> Tensors:
    """Add arrays made elsewhere to the tensors and facts of a clip; without any, both stay as they are."""
    if not features:
        return data, facts
    widths = {name: values.shape[1] for name, values in features.items()}
    return {**data, **{f"{FEATURES}{name}": values for name, values in features.items()}}, {**facts, "features": widths}


def _make_feature_tensors(clip: Clip, features: dict[str, np.ndarray], problems: list[DataIssue]) -> Tensors:
    """Return the tensors and facts of a clip without media: its arrays and its words, which have no time."""
    words = _read_words(clip, 0.0, problems)
    facts = {
        "words": [[word.text, 0.0, 0.0] for word in words],
        "problems": [[p.what, p.where, p.why] for p in problems],
        **{"frames": 0, "size": (0, 0), "sound": 0, "looks": "", "sounds": ""},
    }
    return _add_features({}, facts, features)


def _read_stated_seconds(clip: Clip, problems: list[DataIssue]) -> float | None:
    """Return the duration in the header of the clip's video, and report issues of the headers."""
    seconds = None
    for path in filter(None, (clip.sources.audio, clip.sources.video)):
        try:
            seconds_in_header, issues = read_header(path, clip.key)
        except ClipTooLong:
            raise
        except MediaError:  # reported when the file is decoded
            continue
        problems += issues
        seconds = seconds_in_header if path == clip.sources.video else None
    return seconds


def _report_missing_end(clip: Clip, stated: float | None, decoded: float, problems: list[DataIssue]) -> None:
    """Report a video that is shorter than its header states, unless its cause is already reported."""
    video, kinds = clip.sources.video, {problem.what for problem in problems}
    if video is None or clip.sources.frames is not None or kinds & {"truncated", "time stamps"}:
        return
    if stated is not None and stated - decoded > MAX_LENGTH_DIFFERENCE:
        why = f"{video.name} states {stated:.1f} s but only {decoded:.1f} s can be read; used up to there"
        problems.append(DataIssue("truncated", clip.key, why))


def _is_visible(video: EncodedVideo, key: str, problems: list[DataIssue]) -> bool:
    """Return whether the video is not black; report an absent or black one, and one of a single frame."""
    if not video.packets:
        problems.append(DataIssue("no picture", key, "no video; used without video"))
        return False
    if len(video.packets) == 1:
        problems.append(DataIssue("one frame", key, "the video is a single frame; shown throughout the clip"))
    frames = decode_frames(video.packets, range(len(video.packets)))
    if all(int(frame.max()) < BLACK_LEVEL for _, frame in frames):
        problems.append(DataIssue("black", key, "all frames are black; the clip is used anyway"))
        return False
    return True


def _is_audible(energies: np.ndarray, key: str, problems: list[DataIssue]) -> bool:
    """Return whether (F, M) log-mel energies are audible anywhere; report absent or silent audio."""
    if not len(energies):
        problems.append(DataIssue("no sound", key, "no audio; used without audio"))
        return False
    if is_silent(energies):
        problems.append(DataIssue("silent", key, "the audio is silent throughout; the clip is used anyway"))
        return False
    return True


def _decode_video(clip: Clip, side: int, problems: list[DataIssue]) -> EncodedVideo:
    """Encode the clip's folder of frames, or else its video file; NO_VIDEO, and an issue, if it cannot be read."""
    key, frames, video, root = clip.key, clip.sources.frames, clip.sources.video, clip.sources.root
    if frames is not None:
        return _read_part("picture", key, lambda: read_frame_folder(frames, side, key, root), NO_VIDEO, problems)
    if video is not None:
        return _read_part("picture", key, lambda: read_video(video, side, key), NO_VIDEO, problems)
    return NO_VIDEO


def _decode_audio(clip: Clip, mels: int, problems: list[DataIssue]) -> DecodedAudio:
    """Decode the clip's audio file, or else its video file; no rows, and an issue, if it cannot be read."""
    nothing, source = DecodedAudio(np.zeros((0, mels), dtype=np.float16)), clip.sources.audio or clip.sources.video
    if source is None:
        return nothing
    return _read_part("sound", clip.key, lambda: read_log_mel(source, mels, clip.key), nothing, problems)


def _read_part(
    what: str, key: str, read: Callable[[], tuple[T, list[DataIssue]]], nothing: T, problems: list[DataIssue]
) -> T:
    """Return what `read` returns; report a MediaError as an issue of kind `what` and return `nothing`.

    Raises ClipTooLong.
    """
    try:
        found, issues = read()
    except ClipTooLong:
        raise
    except MediaError as error:
        problems.append(DataIssue(what, key, str(error)))
        return nothing
    problems += issues
    return found


def _hold_last_frame(video: EncodedVideo, audio_frames: int, key: str, problems: list[DataIssue]) -> EncodedVideo:
    """Extend the last frame to the end of the audio; report lengths that differ by over MAX_LENGTH_DIFFERENCE.

    Smaller differences are left as they are.
    """
    frames = len(video.index)
    seconds, audio_seconds = frames / FRAME_RATE, audio_frames / AUDIO_FRAME_RATE
    if not frames or not audio_frames or abs(seconds - audio_seconds) <= MAX_LENGTH_DIFFERENCE:
        return video
    rest = "the last frame is held" if seconds < audio_seconds else "the rest is silent"
    problems.append(DataIssue("length", key, f"video {seconds:.1f} s, audio {audio_seconds:.1f} s; {rest}"))
    missing = max(0, round(audio_seconds * FRAME_RATE) - frames)
    return replace(video, index=np.pad(video.index, (0, missing), mode="edge"))


def _read_words(clip: Clip, seconds: float, problems: list[DataIssue]) -> list[Word]:
    """Return the words that begin within the clip, and report the others; text without times is spread over it.

    The times of a transcript count from the start of the file, also for a part of it.
    """
    if clip.sources.transcript is None:
        return spread_words(clip.sources.text, 0.0, seconds)
    words, found = read_transcript(clip.sources.transcript, clip.key)
    if clip.is_part:
        begin = clip.start or 0.0
        shifted = [Word(word.text, round(word.start - begin, 6), round(word.end - begin, 6)) for word in words]
        inside = [word for word in shifted if 0 <= word.start < seconds]
        if words and not inside:
            found.append(DataIssue("no words", clip.key, f"{clip.sources.transcript.name} has no words in the part"))
        problems += found
        return inside
    inside = [word for word in words if 0 <= word.start < seconds]
    if len(inside) < len(words):
        outside = f"{len(words) - len(inside)} of {len(words)} words begin after the end of the clip ({seconds:.1f} s)"
        found.append(DataIssue("outside", clip.key, f"{outside}; left out"))
    problems += found
    return inside


@dataclass
class _PartMedia:
    """What was read of one part of a file."""

    video: EncodedVideo = NO_VIDEO
    samples: np.ndarray | None = None  # (n,) float32 mono; None: no audio
    problems: list[DataIssue] = field(default_factory=list)
    ends: list[float | None] = field(default_factory=list)  # seconds of each stream; None: not read to its end
    fault: ClipTooLong | None = None


def decode_parts(clips: Sequence[Clip], side: int, mels: int) -> Iterator[tuple[Clip, Tensors | MediaError]]:
    """Yield each part with its tensors and facts, or the reason why it cannot be used; the files are read once.

    The clips are parts of the same files. The frames and samples of a part are those that the whole files have from its
    start on. Raises OSError if a source cannot be accessed.
    """
    files = clips[0].sources
    name = next(path.name for path in (files.frames, files.video, files.audio) if path is not None)
    headers: list[DataIssue] = []
    for path in filter(None, (files.audio, files.video)):
        with suppress(MediaError):  # reported when the file is decoded
            headers += read_header(path, "", limited=False)[1]
    short = []
    for clip in clips:
        try:
            if clip.end is not None:
                check_length(clip.end - (clip.start or 0.0), f"the part of {name}")
            short.append(clip)
        except ClipTooLong as error:
            yield clip, error
    for number, media in _read_media(short, side):
        clip = short[number]
        media.problems[:0] = [replace(problem, where=clip.key) for problem in headers]
        try:
            yield clip, _complete_part(clip, media, name, mels)
        except MediaError as error:
            yield clip, error


def _complete_part(clip: Clip, media: _PartMedia, name: str, mels: int) -> Tensors:
    """Return the tensors and facts of a part; raises MediaError for a part after the end of its file."""
    if media.fault is not None:
        raise media.fault
    start = clip.start or 0.0
    ends = [end for end in media.ends if end is not None]
    end = max(ends) if ends and len(ends) == len(media.ends) else None
    samples, video = media.samples, media.video
    if samples is None or not len(samples):
        samples = np.zeros(0, dtype=np.float32)
        if end and start >= end:
            raise MediaError(f"the part begins at {start:.6g} s, but {name} ends at {end:.6g} s; correct its start")
    if clip.end is not None and end is not None and clip.end - end > MAX_EXCESS:
        why = f"the part ends at {clip.end:.6g} s, but {name} at {end:.6g} s; used up to there"
        media.problems.append(DataIssue("beyond", clip.key, why))
    digest = hashlib.sha256(samples.tobytes()).hexdigest() if len(samples) else ""
    return _make_tensors(clip, video, DecodedAudio(compute_log_mel(samples, mels), digest), None, media.problems)


def _read_media(clips: Sequence[Clip], side: int) -> Iterator[tuple[int, _PartMedia]]:
    """Yield (number, media) of each part; video and audio of one file are read in one pass."""
    if not clips:
        return
    files = clips[0].sources
    passes = []
    if files.frames is not None:
        passes.append(_read_frames(files.frames, clips, side))
    heard = files.audio or files.video
    if files.frames is None and files.video is not None:
        passes.append(_read_file(files.video, clips, side, picture=True, sound=heard == files.video))
    if heard is not None and (files.frames is not None or heard != files.video):
        passes.append(_read_file(heard, clips, side, picture=False, sound=True))
    found: dict[int, list[_PartMedia]] = {}
    for row in zip_longest(*passes):
        for number, media in filter(None, row):
            parts = found.setdefault(number, [])
            parts.append(media)
            if len(parts) == len(passes):
                yield number, _merge_media(found.pop(number))


def _merge_media(parts: Sequence[_PartMedia]) -> _PartMedia:
    """Return the video and the audio of a part that were read from different files."""
    merged = parts[0]
    for part in parts[1:]:
        merged.video = part.video if part.video is not NO_VIDEO else merged.video
        merged.samples = part.samples if part.samples is not None else merged.samples
        merged.problems += part.problems
        merged.ends += part.ends
        merged.fault = merged.fault or part.fault
    return merged


def _read_frames(folder: Path, clips: Sequence[Clip], side: int) -> Iterator[tuple[int, _PartMedia]]:
    """Yield (number, media) of each part of a folder of frames."""
    images, problems = number_frames(folder, "", clips[0].sources.root)
    end = (max(images, default=-1) + 1) / FRAME_RATE
    for number, clip in enumerate(clips):
        media = _PartMedia(problems=[replace(problem, where=clip.key) for problem in problems], ends=[end])
        _take(media, "picture", clip.key, partial(read_frame_part, clip, images, side))
        yield number, media


def _read_file(
    path: Path, clips: Sequence[Clip], side: int, picture: bool, sound: bool
) -> Iterator[tuple[int, _PartMedia]]:
    """Yield (number, media) of each part of a media file.

    Frames between parts are skipped up to a key frame; a file in which that fails is read again from its start.
    """
    waiting, skipping = list(range(len(clips))), True
    while waiting:
        numbers = tuple(waiting)
        try:
            for number, media in _read_once(path, [clips[n] for n in numbers], side, picture, sound, skipping):
                waiting.remove(numbers[number])
                yield numbers[number], media
        except SkipFailed:
            skipping = False


def _read_once(
    path: Path, clips: Sequence[Clip], side: int, picture: bool, sound: bool, skipping: bool
) -> Iterator[tuple[int, _PartMedia]]:
    """Do the same as `_read_file` in one pass; raises SkipFailed if the rest has to be read without `skipping`."""
    faults: list[tuple[str, str]] = []  # kind of issue and reason, of all parts
    with ExitStack() as stack:
        video, audio = None, None
        try:
            container = stack.enter_context(open_media(path))
        except MediaError as error:
            faults += [(what, str(error)) for what, used in (("picture", picture), ("sound", sound)) if used]
        else:
            sound = sound and bool(container.streams.audio)
            try:
                audio = AudioParts(container, clips, path.name) if sound else None
            except MediaError as error:
                faults.append(("sound", str(error)))
            seeking = audio is None and bool(INDEXED_CONTAINERS & set(container.format.name.split(",")))
            try:
                if picture and find_video_streams(container):
                    video = VideoParts(container, clips, side, path.name, skipping, skipping and seeking)
            except MediaError as error:
                faults.append(("picture", str(error)))
        tracks: list[PartTrack] = [track for track in (video, audio) if track is not None]
        for number in read_parts(container, tracks, clips) if tracks else range(len(clips)):
            key = clips[number].key
            media = _PartMedia(problems=[DataIssue(what, key, why) for what, why in faults])
            if video is not None:
                _take(media, "picture", key, partial(video.take, number))
                media.ends.append(video.end)
            if audio is not None:
                _take(media, "sound", key, partial(audio.take, number))
                media.ends.append(audio.end)
            yield number, media


def _take(media: _PartMedia, what: str, key: str, read: Callable[[], tuple[Any, list[DataIssue]]]) -> None:
    """Store the video ("picture") or the samples ("sound") of a part, or the reason why they cannot be read."""
    try:
        found = _read_part(what, key, read, None, media.problems)
    except ClipTooLong as error:
        media.fault = error
        return
    if found is not None and what == "picture":
        media.video = found
    elif found is not None:
        media.samples = found
