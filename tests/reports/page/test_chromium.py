"""A browser for tests never outlives them."""

import os
import subprocess
import sys
import time

import psutil

from tests.chromium import needs_chromium
from tests.conftest import ROOT

CODE = """
import time
from tests.chromium import chromium

pytestmark = pytest.mark.slow
with chromium():
    print("up", flush=True)
    time.sleep(60)
"""


def browsers(folder):
    """The processes of browsers whose profile lies in the folder."""
    return [
        one
        for one in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in one.info["cmdline"] or ())
    ]


@needs_chromium
def test_a_browser_ends_with_a_killed_test(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", CODE]
    test = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE)
    try:
        assert test.stdout is not None and test.stdout.readline() == b"up\n" and browsers(tmp_path)
    finally:
        test.kill()
        test.wait()
    end = time.monotonic() + 30
    while browsers(tmp_path) and time.monotonic() < end:
        time.sleep(0.1)
    assert browsers(tmp_path) == []
