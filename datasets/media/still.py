"""One picture from the middle of a clip, large enough for people."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from bench.data import Clip
from bench.errors import MediaError
from datasets.media.frames import number_frames
from datasets.media.packets import FAULTS, open_media, pictures


def read_still(clip: Clip, side: int) -> bytes | None:
    """A JPEG whose short side has `side` pixels; None where there is no picture to be had."""
    try:
        picture = _from_frames(clip) if clip.files.frames is not None else _from_video(clip)
    except (MediaError, OSError, *FAULTS):
        return None
    if picture is None:
        return None
    scale = side / min(picture.size)
    small = picture.convert("RGB").resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )
    data = BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()


def _from_frames(clip: Clip) -> Image.Image | None:
    assert clip.files.frames is not None
    paths = number_frames(clip.files.frames, clip.key, clip.files.root).paths
    return Image.open(paths[len(paths) // 2]) if paths else None


def _from_video(clip: Clip) -> Image.Image | None:
    """The first frame that can be decoded from the middle on, or else the first of all."""
    if clip.files.video is None:
        return None
    with open_media(clip.files.video) as container:
        streams = pictures(container)
        if not streams:
            return None
        if container.duration:
            try:
                container.seek(container.duration // 2)
                return _first(container, streams[0])
            except FAULTS:  # some files cannot be sought in
                pass
    with open_media(clip.files.video) as container:
        return _first(container, pictures(container)[0])


def _first(container: Any, stream: Any) -> Image.Image | None:
    for frame in container.decode(stream):
        picture: Image.Image = frame.to_image()
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        return picture.rotate(90 * turns, expand=True) if turns else picture
    return None
