"""Audio of a clip as log-mel energies every 10 ms, by Kaldi's filter bank.

Key: n samples, F audio frames, M mel bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from bench.errors import MediaError
from bench.types import Clip, DataIssue
from datasets.decode.container import (
    DECODE_ERRORS,
    MARK_SECONDS,
    MAX_FRAME_GAP,
    PacketCounts,
    StreamDecoder,
    check_length,
    describe_error,
    find_places,
    find_video_streams,
    open_media,
    read_parts,
)
from datasets.segments import AUDIO_FRAME_RATE, MISSING_FRAME

if TYPE_CHECKING:
    import torch


MASK_BINS_DIVISOR, MAX_MASK_FRAMES = 8, 20  # SpecAugment: at most one eighth of the bins, at most 20 frames of 10 ms
SAMPLE_RATE = 16000  # samples per second
SILENCE_LEVEL = -15.9424  # log-mel energy of digital silence in Kaldi's filter bank: log of the float32 epsilon
AUDIBLE_LEVEL = -10.0  # log-mel energy of a tone with an amplitude of two 16-bit steps; below it is inaudible
CHUNK_FRAMES = 60 * AUDIO_FRAME_RATE  # audio frames filtered at a time: one minute
_WINDOW_SAMPLES, _STEP_SAMPLES = 400, 160  # samples of a filter-bank window, and between two windows


@dataclass(frozen=True)
class DecodedAudio:
    """Log-mel energies of a clip, and a digest to find duplicates."""

    mels: np.ndarray  # (F, M) float16
    digest: str = ""  # sha256 of the decoded audio, equal for the same stream in another container


def read_log_mel(path: Path, mels: int, key: str) -> tuple[DecodedAudio, list[DataIssue]]:
    """Return log-mel energies every 10 ms from the start of the video on; no rows for a file without audio.

    Raises MediaError for audio that cannot be decoded.
    """
    samples, digest, problems = read_samples(path, key)
    return DecodedAudio(compute_log_mel(samples, mels), digest), problems


def read_samples(path: Path, key: str) -> tuple[np.ndarray, str, list[DataIssue]]:
    """Return (n,) float32 mono samples at SAMPLE_RATE from the start of the video on, a digest, and the issues found.

    Audio before the start of the video is cut off; a later start is filled with silence.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            return np.zeros(0, dtype=np.float32), "", []
        delay = _get_audio_delay(container)
        track = StreamDecoder(container, container.streams.audio[0], path.name)
        parts = [np.zeros(max(0, round(delay * SAMPLE_RATE)), dtype=np.float32)]
        count = 0
        for part in _decode_samples(track):
            parts.append(part)
            count += len(part)
            check_length(count / SAMPLE_RATE, path.name)
    samples = np.concatenate(parts) if count else np.zeros(0, dtype=np.float32)
    return samples[max(0, round(-delay * SAMPLE_RATE)) :], track.digest, track.list_issues(key)


def is_silent(mels: np.ndarray) -> bool:
    """Return whether (F, M) log-mel energies are below AUDIBLE_LEVEL throughout."""
    return bool(len(mels)) and float(mels.max()) < AUDIBLE_LEVEL


def compute_log_mel(samples: np.ndarray, mels: int) -> np.ndarray:
    """Compute Kaldi's (F, M) float16 log-mel energies of 16 kHz samples, one frame per started 10 ms.

    Works on one minute at a time to bound the memory.
    """
    import torch

    if not len(samples):
        return np.zeros((0, mels), dtype=np.float16)
    count = -(-len(samples) // _STEP_SAMPLES)
    wave = torch.zeros((count - 1) * _STEP_SAMPLES + _WINDOW_SAMPLES)
    unpadded = wave[: len(samples)]  # filled in place, so that an hour of audio is in memory once
    unpadded.copy_(torch.from_numpy(samples))
    unpadded -= unpadded.mean()
    chunk_size = CHUNK_FRAMES * _STEP_SAMPLES
    overlap = _WINDOW_SAMPLES - _STEP_SAMPLES
    chunks = [wave[first : first + chunk_size + overlap] for first in range(0, count * _STEP_SAMPLES, chunk_size)]
    return np.concatenate([_compute_chunk(chunk, mels) for chunk in chunks])


def _compute_chunk(wave: torch.Tensor, mels: int) -> np.ndarray:
    from torchaudio.compliance.kaldi import fbank

    energies = fbank(
        wave[None],
        htk_compat=True,
        sample_frequency=SAMPLE_RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=1000 / AUDIO_FRAME_RATE,
    )
    found: np.ndarray = energies.numpy().astype(np.float16)
    return found


class AudioParts:
    """Audio stream of a file, read for the parts of the file; always from its start, since decoders keep a state.

    A part has the samples from round(start * SAMPLE_RATE) on of those that `read_samples` returns for the file.
    """

    def __init__(self, container: Any, clips: Sequence[Clip], name: str) -> None:
        self.stream = container.streams.audio[0]
        self._decoder = StreamDecoder(container, self.stream, name, hashing=False)
        self._converter, self._delay = _SampleConverter(self._decoder), round(_get_audio_delay(container) * SAMPLE_RATE)
        self._clips, self._places = clips, [find_places(clip, SAMPLE_RATE) for clip in clips]
        self._coming = sorted(range(len(clips)), key=self._places.__getitem__, reverse=True)
        self._marks: dict[int, PacketCounts] = {}
        self._pieces: dict[int, list[np.ndarray]] = {}
        self._position, self._started, self._closed = 0, False, False
        self.end: float | None = None  # seconds of audio in the file; None: not read to its end

    def add(self, packet: Any) -> None:
        """Decode a packet and append its samples to the parts that contain them."""
        self._open_parts(self._position + round(MARK_SECONDS * SAMPLE_RATE))
        for frame in self._decoder.decode(packet):
            for samples in self._converter.convert(frame):
                self._append(samples)

    def stop(self, error: Exception) -> None:
        """Record an error that ends the file early."""
        self._decoder.stop(error)

    def close(self) -> None:
        """Append the last samples at the end of the file."""
        for samples in self._converter.close():
            self._append(samples)
        self._closed, self.end = True, max(0, self._position) / SAMPLE_RATE

    def is_read(self, number: int) -> bool:
        """Return whether a part is complete."""
        return self._closed or self._position >= self._places[number][1]

    def take(self, number: int) -> tuple[np.ndarray, list[DataIssue]]:
        """Return the (n,) float32 samples of a complete part and its issues, and forget them.

        Raises MediaError if no packet of the file could be decoded, ClipTooLong for a part of an hour.
        """
        self._decoder.check_decoded()
        pieces, counts = self._pieces.pop(number, []), self._marks.get(number, self._decoder.counts)
        samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
        check_length(len(samples) / SAMPLE_RATE, f"the part of {self._decoder.name}")
        return samples, self._decoder.list_issues(self._clips[number].key, counts)

    def _open_parts(self, place: int) -> None:
        """Open the parts that begin before a place."""
        while self._coming and self._places[self._coming[-1]][0] < place:
            number = self._coming.pop()
            self._marks[number], self._pieces[number] = self._decoder.counts, []

    def _append(self, samples: np.ndarray) -> None:
        if not self._started:
            self._started, self._position = True, min(0, self._delay)
            if self._delay > 0:
                self._append(np.zeros(self._delay, dtype=np.float32))
        start, self._position = self._position, self._position + len(samples)
        self._open_parts(self._position)
        for number, pieces in self._pieces.items():
            first, stop = (min(len(samples), max(0, place - start)) for place in self._places[number])
            if first < stop:
                pieces.append(samples[first:stop])


def read_part_samples(
    path: Path, clips: Sequence[Clip]
) -> Iterator[tuple[Clip, Callable[[], tuple[np.ndarray, list[DataIssue]]]]]:
    """Yield each part of a file with a function that returns its samples (`AudioParts.take`); reads the file once.

    Raises MediaError for a file without audio.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path.name} holds no audio")
        track = AudioParts(container, clips, path.name)
        for number in read_parts(container, [track], clips):
            yield clips[number], partial(track.take, number)


def _decode_samples(track: StreamDecoder) -> Iterator[np.ndarray]:
    """Yield 16 kHz mono samples, with silence for skipped packets; sample rate and channels may change midway."""
    converter = _SampleConverter(track)
    for frame in track.iter_frames():
        yield from converter.convert(frame)
    yield from converter.close()


class _SampleConverter:
    """Converter of decoded frames to 16 kHz mono samples, with silence for the packets that `track` skipped."""

    def __init__(self, track: StreamDecoder) -> None:
        self._track = track
        self._resampler: Any = None
        self._kind: tuple[str, str, int] | None = None

    def convert(self, frame: Any) -> Iterator[np.ndarray]:
        """Yield the next samples; sample rate and channels may change."""
        if self._track.lost_seconds:
            yield np.zeros(round(self._track.lost_seconds * SAMPLE_RATE), dtype=np.float32)
            self._track.lost_seconds = 0.0
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            yield from self.close()
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            self._kind = kind
        frame.pts = None  # with time stamps the resampler would insert or drop samples
        yield from _resample(self._resampler, frame)

    def close(self) -> Iterator[np.ndarray]:
        """Yield the samples that the resampler still holds."""
        if self._resampler is not None:
            yield from _resample(self._resampler, None)


def _resample(resampler: Any, frame: Any) -> list[np.ndarray]:
    try:
        return [out.to_ndarray()[0] for out in resampler.resample(frame)]
    except DECODE_ERRORS as error:
        raise MediaError(f"audio cannot be resampled to {SAMPLE_RATE} Hz ({describe_error(error)})") from None


def _get_audio_delay(container: Any) -> float:
    """Return the seconds by which the audio starts after the video (negative: before); 0 if over a minute.

    A larger difference is an error of the header.
    """
    audio, videos = container.streams.audio[0], find_video_streams(container)
    if not videos or audio.start_time is None or videos[0].start_time is None:
        return 0.0
    delay = float(audio.start_time * audio.time_base - videos[0].start_time * videos[0].time_base)
    return delay if abs(delay) <= MAX_FRAME_GAP else 0.0


def fill_audio(read: Callable[[np.ndarray], np.ndarray], places: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Fill (S, F, M) with the audio frames at `places`, (F,) for each segment, and with silence past their end.

    `read` returns the frames at some places inside the audio.
    """
    out[:] = SILENCE_LEVEL
    for segment, filled in zip(places, out, strict=True):
        known = segment != MISSING_FRAME
        if known.any():
            filled[known] = read(segment[known])


def mask_audio(audio: np.ndarray, drawn: np.ndarray) -> None:
    """Apply SpecAugment (Park et al., 2019): in each segment one band of bins and one of frames become its mean.

    `audio` is (S, F, M); `drawn` (S, 4) are the shares, 0 to 1, that set the bands.
    """
    frames, mels = audio.shape[1:]
    for s, mean in enumerate(audio.mean((1, 2))):
        bins = int(drawn[s, 0] * (mels // MASK_BINS_DIVISOR + 1))
        start = int(drawn[s, 1] * (mels - bins + 1))
        audio[s, :, start : start + bins] = mean
        steps = int(drawn[s, 2] * (MAX_MASK_FRAMES + 1))
        start = int(drawn[s, 3] * (frames - steps + 1))
        audio[s, start : start + steps] = mean
