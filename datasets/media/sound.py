"""Any sound to log-mel frames every 10 ms, with Kaldi's filter bank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from bench.data import Problem
from bench.errors import MediaError
from datasets.media.packets import FAULTS, LONGEST, Track, check_length, open_media, pictures, reason
from datasets.segments import HOP

if TYPE_CHECKING:
    import torch

RATE_HZ = 16000  # of sound
FLOOR = -15.9424  # log mel energy of digital silence: log of the float32 epsilon, as the Kaldi filter bank has it
FAINT = -10.0  # log mel energy of a tone of two steps of 16 bits: nobody hears what is below
CHUNK = 60 * HOP  # sound frames filtered at a time: a minute
_WINDOW, _STEP = 400, 160  # samples of a filter bank frame and from one to the next


@dataclass(frozen=True)
class Sound:
    """Log mel energies, and what tells the sound from others."""

    mels: np.ndarray  # (F, M) float16
    digest: str = ""  # sha256 of what was decoded, the same for the same sound in another container


def read_sound(path: Path, mels: int, key: str) -> tuple[Sound, list[Problem]]:
    """Log mel energies every 10 ms, from the picture's start on; no rows where there is no sound."""
    samples, digest, problems = read_samples(path, key)
    return Sound(filter_bank(samples, mels), digest), problems


def read_samples(path: Path, key: str) -> tuple[np.ndarray, str, list[Problem]]:
    """(n,) float32 of mono sound at RATE_HZ from the picture's start on, and the digest of what was decoded."""
    with open_media(path) as container:
        if not container.streams.audio:
            return np.zeros(0, dtype=np.float32), "", []
        late = _delay(container)
        track = Track(container, container.streams.audio[0], path.name)
        parts = [np.zeros(max(0, round(late * RATE_HZ)), dtype=np.float32)]
        count = 0
        for part in _samples(track):
            parts.append(part)
            count += len(part)
            check_length(count / RATE_HZ, path.name)
    samples = np.concatenate(parts) if count else np.zeros(0, dtype=np.float32)
    return samples[max(0, round(-late * RATE_HZ)) :], track.digest, track.problems(key)


def is_silent(mels: np.ndarray) -> bool:
    """Whether nothing in (F, M) log mel energies can be heard."""
    return bool(len(mels)) and float(mels.max()) < FAINT


def filter_bank(samples: np.ndarray, mels: int) -> np.ndarray:
    """Kaldi's log mel energies of 16 kHz sound, one frame for every 10 ms begun; a minute at a time."""
    import torch

    if not len(samples):
        return np.zeros((0, mels), dtype=np.float16)
    count = -(-len(samples) // _STEP)
    wave = torch.zeros((count - 1) * _STEP + _WINDOW)
    heard = wave[: len(samples)]  # filled in place: an hour of sound is there once
    heard.copy_(torch.from_numpy(samples))
    heard -= heard.mean()
    ends = [min(first + CHUNK, count) for first in range(0, count, CHUNK)]
    spans = [(first, end) for first, end in zip(range(0, count, CHUNK), ends, strict=True)]
    return np.concatenate([_energies(wave[a * _STEP : (b - 1) * _STEP + _WINDOW], mels) for a, b in spans])


def _energies(wave: torch.Tensor, mels: int) -> np.ndarray:
    from torchaudio.compliance.kaldi import fbank

    energies = fbank(
        wave[None],
        htk_compat=True,
        sample_frequency=RATE_HZ,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=1000 / HOP,
    )
    found: np.ndarray = energies.numpy().astype(np.float16)
    return found


def _samples(track: Track) -> Iterator[np.ndarray]:
    """16 kHz mono in pieces, silence for packets that are lost; rate and channels may change midway."""
    resampler: Any = None
    before: tuple[str, str, int] | None = None
    for frame in track.frames():
        if track.silence:
            yield np.zeros(round(track.silence * RATE_HZ), dtype=np.float32)
            track.silence = 0.0
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != before:
            if resampler is not None:
                yield from _resampled(resampler, None)
            resampler, before = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ), kind
        frame.pts = None  # the resampler would fill or drop by time stamps
        yield from _resampled(resampler, frame)
    if resampler is not None:
        yield from _resampled(resampler, None)


def _resampled(resampler: Any, frame: Any) -> list[np.ndarray]:
    try:
        return [out.to_ndarray()[0] for out in resampler.resample(frame)]
    except FAULTS as error:
        raise MediaError(f"its sound cannot be brought to {RATE_HZ} Hz ({reason(error)})") from None


def _delay(container: Any) -> float:
    """Seconds by which the sound starts later (negative: earlier) than the picture, as the container states; 0 where
    it states more than a minute."""
    sound, shown = container.streams.audio[0], pictures(container)
    if not shown or sound.start_time is None or shown[0].start_time is None:
        return 0.0
    late = float(sound.start_time * sound.time_base - shown[0].start_time * shown[0].time_base)
    return late if abs(late) <= LONGEST else 0.0
