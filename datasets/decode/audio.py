"""Audio of a clip as log-mel frames every 10 ms, by Kaldi's filter bank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from bench.errors import MediaError
from bench.types import DataIssue
from datasets.decode.container import (
    DECODE_ERRORS,
    MAX_FRAME_GAP,
    StreamDecoder,
    check_length,
    describe_error,
    find_video_streams,
    open_media,
)
from datasets.segments import AUDIO_FRAME_RATE

if TYPE_CHECKING:
    import torch


SAMPLE_RATE = 16000  # of sound
SILENCE_LEVEL = -15.9424  # log mel energy of digital silence: log of the float32 epsilon, as Kaldi's filter bank has it
AUDIBLE_LEVEL = -10.0  # log mel energy of a tone of two steps of 16 bits: nobody hears what is below
CHUNK_FRAMES = 60 * AUDIO_FRAME_RATE  # sound frames filtered at a time: a minute
_WINDOW_SAMPLES, _STEP_SAMPLES = 400, 160  # samples of a filter bank frame and from one to the next


@dataclass(frozen=True)
class DecodedAudio:
    """Log mel energies, and what tells the sound from others."""

    mels: np.ndarray  # (F, M) float16
    digest: str = ""  # sha256 of what was decoded, the same for the same sound in another container


def read_log_mel(path: Path, mels: int, key: str) -> tuple[DecodedAudio, list[DataIssue]]:
    """Log mel energies every 10 ms, from the picture's start on; no rows where there is no sound."""
    samples, digest, problems = read_samples(path, key)
    return DecodedAudio(compute_log_mel(samples, mels), digest), problems


def read_samples(path: Path, key: str) -> tuple[np.ndarray, str, list[DataIssue]]:
    """(n,) float32 of mono sound at SAMPLE_RATE from the picture's start on, and the digest of what was decoded."""
    with open_media(path) as container:
        if not container.streams.audio:
            return np.zeros(0, dtype=np.float32), "", []
        late = _get_audio_delay(container)
        track = StreamDecoder(container, container.streams.audio[0], path.name)
        parts = [np.zeros(max(0, round(late * SAMPLE_RATE)), dtype=np.float32)]
        count = 0
        for part in _decode_samples(track):
            parts.append(part)
            count += len(part)
            check_length(count / SAMPLE_RATE, path.name)
    samples = np.concatenate(parts) if count else np.zeros(0, dtype=np.float32)
    return samples[max(0, round(-late * SAMPLE_RATE)) :], track.digest, track.list_issues(key)


def is_silent(mels: np.ndarray) -> bool:
    """Whether nothing in (F, M) log mel energies can be heard."""
    return bool(len(mels)) and float(mels.max()) < AUDIBLE_LEVEL


def compute_log_mel(samples: np.ndarray, mels: int) -> np.ndarray:
    """Kaldi's log mel energies of 16 kHz sound, one frame for every 10 ms begun; a minute at a time."""
    import torch

    if not len(samples):
        return np.zeros((0, mels), dtype=np.float16)
    count = -(-len(samples) // _STEP_SAMPLES)
    wave = torch.zeros((count - 1) * _STEP_SAMPLES + _WINDOW_SAMPLES)
    heard = wave[: len(samples)]  # filled in place: an hour of sound is there once
    heard.copy_(torch.from_numpy(samples))
    heard -= heard.mean()
    whole = CHUNK_FRAMES * _STEP_SAMPLES
    shared = _WINDOW_SAMPLES - _STEP_SAMPLES  # samples that a chunk reads of the next one
    chunks = [wave[first : first + whole + shared] for first in range(0, count * _STEP_SAMPLES, whole)]
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


def _decode_samples(track: StreamDecoder) -> Iterator[np.ndarray]:
    """16 kHz mono in pieces, silence for packets that are lost; rate and channels may change midway."""
    resampler: Any = None
    before: tuple[str, str, int] | None = None
    for frame in track.iter_frames():
        if track.lost_seconds:
            yield np.zeros(round(track.lost_seconds * SAMPLE_RATE), dtype=np.float32)
            track.lost_seconds = 0.0
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != before:
            if resampler is not None:
                yield from _resample(resampler, None)
            resampler, before = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE), kind
        frame.pts = None  # the resampler would fill or drop by time stamps
        yield from _resample(resampler, frame)
    if resampler is not None:
        yield from _resample(resampler, None)


def _resample(resampler: Any, frame: Any) -> list[np.ndarray]:
    try:
        return [out.to_ndarray()[0] for out in resampler.resample(frame)]
    except DECODE_ERRORS as error:
        raise MediaError(f"its sound cannot be brought to {SAMPLE_RATE} Hz ({describe_error(error)})") from None


def _get_audio_delay(container: Any) -> float:
    """Return the stated seconds from picture to sound (negative: sound first); 0 where over a minute."""
    sound, shown = container.streams.audio[0], find_video_streams(container)
    if not shown or sound.start_time is None or shown[0].start_time is None:
        return 0.0
    late = float(sound.start_time * sound.time_base - shown[0].start_time * shown[0].time_base)
    return late if abs(late) <= MAX_FRAME_GAP else 0.0
