"""Tests that a browser never outlives its test."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.chromium import needs_chromium
from tests.conftest import ROOT

CODE = """
import time
from tests.chromium import chromium

with chromium():
    print("up", flush=True)
    time.sleep(60)
"""


def browsers(folder):
    """Return the browser processes whose profile is in the folder."""
    return [
        one
        for one in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in one.info["cmdline"] or ())
    ]


@pytest.fixture
def short():
    """Yield a folder with a short name: the socket of a browser limits the length of the path."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.mark.slow
@needs_chromium
def test_a_browser_ends_with_a_killed_test(short):
    env = {**os.environ, "TMPDIR": str(short)}
    command = [sys.executable, "-c", CODE]
    test = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE)
    try:
        assert test.stdout is not None and test.stdout.readline() == b"up\n" and browsers(short)
    finally:
        test.kill()
        test.wait()
    end = time.monotonic() + 30
    while browsers(short) and time.monotonic() < end:
        time.sleep(0.1)
    assert browsers(short) == []
