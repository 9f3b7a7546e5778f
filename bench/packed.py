"""A record as tags of its MLflow run, so that a search of runs alone brings records."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping

PREFIX, REQUESTS_PREFIX = "bench.json.", "bench.requests."
LENGTH, PIECES = 7_000, 8  # MLflow cuts a tag at 8,000 characters; a record that wants more pieces travels as a file
LARGEST = 2_000_000  # bytes of a record: what unpacks to more is none


def pack(record: bytes, prefix: str = PREFIX) -> dict[str, str]:
    """The tags that hold a record's text, compressed; none where it is too long for tags."""
    text = base64.b64encode(zlib.compress(record, 9)).decode()
    pieces = [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]
    if len(pieces) > PIECES or len(record) > LARGEST:
        return {}
    return {f"{prefix}{index}": piece for index, piece in enumerate(pieces)}


def unpack(tags: Mapping[str, str], sha: str, prefix: str = PREFIX) -> bytes | None:
    """The record's text, if the tags of a run hold all of it: that is, if its sha256 is `sha`."""
    text = "".join(tags.get(f"{prefix}{index}", "") for index in range(PIECES))
    try:
        record = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), LARGEST)
    except (binascii.Error, zlib.error):
        return None
    return record if hashlib.sha256(record).hexdigest() == sha else None
