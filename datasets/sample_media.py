"""Synthetic frames and voice of a sample clip.

The emotion determines the colour, form and motion of a shape on a background unrelated to the class, and the pitch,
rhythm and timbre of a voice around a random base per speaker; each effect grows with the emotion's strength.

Key: n frames, H W pixels; n samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WIDTH, HEIGHT = 64, 48
PIXEL_NOISE = 10.0  # standard deviation, of 255
COLOUR_NOISE = 0.16  # of the shape's hue, in turns, drawn for each span of a clip

VOICE_RATE = 16000
NOISE_LEVEL = 0.08  # amplitude of the background noise; the voice has 0.12 to 0.5
RHYTHM = (2.0, 3.2, 11.0, 7.5, 1.2, 5.0, 9.0, 4.0)  # beats per second, by class
PITCH = (1.25, 0.8, 1.5, 1.35, 0.75, 1.1, 0.9, 1.0)  # factor of the speaker's base pitch, by class
GLIDE = (-0.2, -0.1, 0.15, 0.3, -0.3, 0.45, 0.0, -0.45)  # relative rise of the pitch within a beat, by class
BRIGHTNESS = (1.0, 0.3, 0.55, 0.8, 0.1, 0.65, 0.9, 0.4)  # share of high partials, by class


def draw_frames(labels: np.ndarray, strengths: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (n, H, W, 3) uint8 frames at 30 per second for n classes and strengths."""
    count = len(labels)
    time = np.arange(count) / 30
    base_hue = rng.random()  # of the shape at strength 0
    size = 10 + 4 * rng.random()
    hue = (labels + 0.5) / classes + _draw_span_noise(labels, strengths, COLOUR_NOISE, rng)
    faint = _hsv_to_rgb(np.full(count, base_hue), 0.35, 0.6) * (1 - strengths[:, None])
    colour = _hsv_to_rgb(hue, 0.9, 0.95) * strengths[:, None] + faint
    x, y, scale = _compute_motion(labels, strengths, time, rng)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    dx = (columns[None] - x[:, None, None]) / (size * scale)[:, None, None]
    dy = (rows[None] - y[:, None, None]) / (size * scale)[:, None, None]
    inside = np.empty((count, HEIGHT, WIDTH), dtype=np.float32)
    dx, dy = dx.astype(np.float32), dy.astype(np.float32)
    forms = np.where(strengths > 0.45, labels % FAINT_SHAPE, FAINT_SHAPE)  # faint emotions share one form
    for form in np.unique(forms):
        rows_of_form = forms == form
        inside[rows_of_form] = np.clip(0.5 - SHAPES[form](dx[rows_of_form], dy[rows_of_form]) * 6, 0, 1)
    background, shape = _draw_background(rng).astype(np.float32), (255 * colour).astype(np.float32)
    frames = background + (shape[:, None, None] - background) * inside[..., None]
    frames += PIXEL_NOISE * rng.standard_normal(frames.shape, dtype=np.float32)
    clipped: np.ndarray = frames.clip(0, 255).astype(np.uint8)
    return clipped


def _compute_motion(
    labels: np.ndarray, strengths: np.ndarray, time: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (x, y, scale) of the shape, (n,) each: a slow random drift plus the motion of the emotion."""
    phase, slow = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.1, 0.25)
    x = WIDTH / 2 + 8 * np.sin(2 * np.pi * slow * time + phase[0])
    y = HEIGHT / 2 + 5 * np.sin(2 * np.pi * slow * time + phase[1])
    turn = 2 * np.pi * time
    moves = (  # (x in pixels, y in pixels, relative growth) at strength 1, by class
        (5 * np.sin(7 * turn), 0 * turn, 0 * turn),  # shaking from side to side
        (0 * turn, 3 * np.sin(2 * turn), -0.25 + 0.1 * np.sin(4 * turn)),  # shrinking back
        (2 * np.sin(11 * turn), 2 * np.cos(11 * turn), 0 * turn),  # trembling
        (0 * turn, -7 * np.abs(np.sin(1.5 * turn)), 0 * turn),  # jumping
        (0 * turn, 6 + 0 * turn, -0.1 + 0 * turn),  # sunk and still
        (0 * turn, 0 * turn, 0.35 * np.sin(2.5 * turn)),  # swelling
        (4 * np.sin(3 * turn), 4 * np.sin(3 * turn), 0 * turn),  # rocking aslant
        (6 * np.cos(1.2 * turn), 6 * np.sin(1.2 * turn), 0 * turn),  # circling
    )
    dx, dy, grow = (np.stack([move[axis] for move in moves]) for axis in range(3))
    place = (labels % len(moves), np.arange(len(time)))
    return x + strengths * dx[place], y + strengths * dy[place], 1 + strengths * grow[place]


Edge = Callable[[np.ndarray, np.ndarray], np.ndarray]  # x and y in units of the shape's size -> distance from its edge
SHAPES: tuple[Edge, ...] = (
    lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.85,  # square
    lambda x, y: np.maximum(np.abs(x) / 3, np.abs(y)) - 0.4,  # bar
    lambda x, y: np.abs(np.hypot(x, y) - 0.8) - 0.25,  # ring
    lambda x, y: np.hypot(x, y) - 0.75 - 0.3 * np.cos(5 * np.arctan2(y, x)),  # star
    lambda x, y: np.maximum(y - 0.7, np.abs(x) * 1.6 - y - 0.9),  # triangle
    lambda x, y: (
        np.minimum(np.maximum(np.abs(x) / 3, np.abs(y)), np.maximum(np.abs(x), np.abs(y) / 3)) - 0.33  # cross
    ),
    lambda x, y: np.abs(x) + np.abs(y) - 1.1,  # diamond, for a seventh class
    lambda x, y: np.hypot(np.abs(x) - 0.7, y) - 0.5,  # two discs, for an eighth class
    lambda x, y: np.hypot(x, y) - 1,  # disc, for a faint emotion
)
FAINT_SHAPE = len(SHAPES) - 1


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """Draw (H, W, 3): a soft gradient between two colours, with 2 to 5 blots."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    ends = 255 * _hsv_to_rgb(rng.random(2), rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.8))
    angle = rng.uniform(0, 2 * np.pi)
    share = 0.5 + 0.5 * np.sin(angle + (rows * np.sin(angle) + columns * np.cos(angle)) / rng.uniform(9, 25))
    image: np.ndarray = ends[0] * share[..., None] + ends[1] * (1 - share[..., None])
    for _ in range(int(rng.integers(2, 6))):
        centre, radius = rng.uniform(0, (HEIGHT, WIDTH)), rng.uniform(3, 10)
        blot = np.hypot(rows - centre[0], columns - centre[1]) < radius
        image[blot] = 0.5 * image[blot] + 0.5 * 255 * _hsv_to_rgb(rng.random(1), 0.5, 0.7)[0]
    return image


def _draw_span_noise(
    labels: np.ndarray, strengths: np.ndarray, deviation: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw (n,) noise that is constant within each span of an emotion."""
    changes = (np.diff(labels, prepend=labels[0]) != 0) | (np.diff(strengths, prepend=strengths[0]) != 0)
    number = np.cumsum(changes)
    noise: np.ndarray = rng.normal(0, deviation, number[-1] + 1)[number]
    return noise


def _hsv_to_rgb(hue: np.ndarray, saturation: float, value: float) -> np.ndarray:
    """Convert n hues (in turns) to (n, 3) colours between 0 and 1."""
    offset = np.asarray([5, 3, 1])
    k = (offset + 6 * np.asarray(hue)[:, None]) % 6
    colours: np.ndarray = value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)
    return colours


def synthesise_voice(labels: np.ndarray, strengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Synthesise (n,) samples between -1 and 1 at 16 kHz for n classes and strengths."""
    count = len(labels)
    time = np.arange(count) / VOICE_RATE
    base, loudness, noise = rng.uniform(85, 300), rng.uniform(0.12, 0.5), NOISE_LEVEL * rng.uniform(0.5, 2)
    calm = {"rhythm": rng.uniform(2.5, 4.5), "bright": rng.uniform(0.25, 0.75)}  # the speaker at strength 0
    rhythm = _blend_by_strength(RHYTHM, labels, strengths, calm["rhythm"])
    beat = np.cumsum(rhythm) / VOICE_RATE
    within = beat % 1
    rise = 1 + _blend_by_strength(GLIDE, labels, strengths, 0.0) * within
    pitch = base * _blend_by_strength(PITCH, labels, strengths, 1.0) * rise
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.01 * np.sin(2 * np.pi * 5 * time))) / VOICE_RATE
    bright = _blend_by_strength(BRIGHTNESS, labels, strengths, calm["bright"])
    tone = np.zeros(count)
    for partial in range(1, 13):
        audible = pitch * partial < 0.45 * VOICE_RATE
        tone += audible * bright ** (0.35 * (partial - 1)) / partial**0.5 * np.sin(partial * phase)
    envelope = 1 - (0.25 + 0.65 * strengths) * within  # each beat decays, more so for a strong emotion
    wave = loudness * envelope * tone / 3 + rng.normal(0, noise, count)
    return np.clip(wave, -1, 1).astype(np.float32)


def _blend_by_strength(values: tuple[float, ...], labels: np.ndarray, strengths: np.ndarray, calm: float) -> np.ndarray:
    """Interpolate between the speaker's value `calm` (strength 0) and the class's value (strength 1)."""
    found: np.ndarray = calm + strengths * (np.asarray(values)[labels % len(values)] - calm)
    return found
