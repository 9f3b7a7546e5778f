"""The sound of a sample clip: a voice whose pitch, rhythm and timbre follow the emotion, over a speaker of its own.

Key: n samples at 16 kHz.
"""

from __future__ import annotations

import numpy as np

RATE = 16000
NOISE = 0.08  # amplitude of the room's noise, beside a voice of 0.12 to 0.5
RHYTHM = (2.0, 3.2, 11.0, 7.5, 1.2, 5.0, 9.0, 4.0)  # beats a second of each class
PITCH = (1.25, 0.8, 1.5, 1.35, 0.75, 1.1, 0.9, 1.0)  # of the speaker's base
GLIDE = (-0.2, -0.1, 0.15, 0.3, -0.3, 0.45, 0.0, -0.45)  # rise of the pitch within a beat
BRIGHT = (1.0, 0.3, 0.55, 0.8, 0.1, 0.65, 0.9, 0.4)  # share of high partials


def voice(labels: np.ndarray, strengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) samples between -1 and 1 for n classes and strengths."""
    count = len(labels)
    time = np.arange(count) / RATE
    base, loudness, noise = rng.uniform(85, 300), rng.uniform(0.12, 0.5), NOISE * rng.uniform(0.5, 2)
    calm = {"rhythm": rng.uniform(2.5, 4.5), "bright": rng.uniform(0.25, 0.75)}  # the speaker's own manner
    rhythm = _mix(RHYTHM, labels, strengths, calm["rhythm"])
    beat = np.cumsum(rhythm) / RATE
    within = beat % 1
    pitch = base * _mix(PITCH, labels, strengths, 1.0) * (1 + _mix(GLIDE, labels, strengths, 0.0) * within)
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.01 * np.sin(2 * np.pi * 5 * time))) / RATE
    bright = _mix(BRIGHT, labels, strengths, calm["bright"])
    tone = np.zeros(count)
    for partial in range(1, 13):
        audible = pitch * partial < 0.45 * RATE
        tone += audible * bright ** (0.35 * (partial - 1)) / partial**0.5 * np.sin(partial * phase)
    envelope = 1 - (0.25 + 0.65 * strengths) * within  # a stroke that dies away, the more so the stronger
    wave = loudness * envelope * tone / 3 + rng.normal(0, noise, count)
    return np.clip(wave, -1, 1).astype(np.float32)


def _mix(values: tuple[float, ...], labels: np.ndarray, strengths: np.ndarray, calm: float) -> np.ndarray:
    """A class's value as far as the emotion is strong, the speaker's own beyond."""
    found: np.ndarray = calm + strengths * (np.asarray(values)[labels % len(values)] - calm)
    return found
