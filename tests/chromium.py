"""Headless Chromium, controlled over a pipe with its debugging protocol: keys, clicks, console messages, requests.

Chromium exits when the pipe closes, so that it never outlives the test that started it, even a killed one.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
TYPED = {"Enter": "\r", " ": " "}
SHIFT = 8
PATIENCE = 15.0  # timeout of an answer, seconds


@dataclass
class Chromium:
    """A browser with one tab. `console`, `exceptions` and `requests` collect events since the last `open`."""

    folder: Path
    console: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _last_id: int = 0
    _buffer: bytes = b""
    _session: str | None = None

    def start(self) -> None:
        """Start the browser, which reads commands from fd 3 and writes answers to fd 4."""
        command, answer = os.pipe(), os.pipe()
        child_fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (command[0], answer[1])]  # not 3 or 4
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._browser = subprocess.Popen(
            [str(PROGRAM), *FLAGS, *root, f"--user-data-dir={self.folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=lambda: (os.dup2(child_fds[0], 3), os.dup2(child_fds[1], 4)),
            start_new_session=True,
        )
        for fd in (command[0], answer[1], *child_fds):
            os.close(fd)
        self._command, self._answer = command[1], answer[0]
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def stop(self) -> None:
        """Stop the browser and all its processes."""
        for fd in (self._command, self._answer):
            os.close(fd)
        try:
            self._browser.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._browser.pid, signal.SIGKILL)
            self._browser.wait()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run a command of the protocol and return its result. Raises RuntimeError if the browser rejects it."""
        self._last_id += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._last_id, "method": method, "params": params, **session}
        os.write(self._command, json.dumps(message).encode() + b"\0")
        while (answer := self._next())["id"] != self._last_id:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and clear the collected events."""
        self.call("Page.navigate", url="about:blank")
        self.console, self.exceptions, self.requests = [], [], []
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def evaluate(self, code: str) -> Any:
        """Return the value of a JavaScript expression. Raises RuntimeError if exception."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true. Raises TimeoutError after `PATIENCE` seconds."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(f"!!({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press keys in order: "Tab", "Shift+Tab", "Enter", "a", ..."""
        for name in keys:
            key = name.removeprefix("Shift+")
            common = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
            common["modifiers"] = SHIFT if name != key else 0
            text = TYPED.get(key, key if len(key) == 1 else "")
            typed = {"text": text} if text else {}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **typed)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """Click the centre of the first element that matches the selector."""
        place = self.evaluate(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            " found.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
            " const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def view(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window in pixels and the colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Save the visible part, or the whole page, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def pdf(self, path: Path) -> None:
        """Save the page as PDF on A4."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True, "printBackground": True}
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", **size)["data"]))

    def _next(self) -> dict[str, Any]:
        """Return the next answer to a command, and record the events before it."""
        while True:
            while b"\0" not in self._buffer:
                if not select.select([self._answer], [], [], PATIENCE)[0]:
                    raise TimeoutError("Chromium does not answer")
                read = os.read(self._answer, 1 << 20)
                if not read:
                    raise RuntimeError("Chromium ended")
                self._buffer += read
            message, _, self._buffer = self._buffer.partition(b"\0")
            answer: dict[str, Any] = json.loads(message)
            if "id" in answer:
                return answer
            self._record(answer["method"], answer["params"])

    def _record(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(part.get("value", part.get("description"))) for part in params["args"]))
        elif event == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.exceptions.append(json.dumps(params["exceptionDetails"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Yield a browser with an empty profile, and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        browser = Chromium(Path(folder))
        browser.start()
        try:
            yield browser
        finally:
            with suppress(OSError):
                browser.stop()
