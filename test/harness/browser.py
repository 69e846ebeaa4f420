"""Chromium without a window, asked over its own protocol (Chrome DevTools Protocol)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

PATIENCE = 300  # seconds


class Browser:
    """One page in it."""

    def __init__(self, address: str) -> None:
        self._loop = IOLoop(make_current=False)
        self._socket = self._loop.run_sync(lambda: websocket_connect(address, max_message_size=2**28), PATIENCE)
        self._number, self._session, self.seen = 0, {}, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for part in ("Page", "Network", "Log", "Runtime", "Accessibility"):
            self.ask(f"{part}.enable")

    def close(self) -> None:
        self._socket.close()
        self._loop.close()

    def ask(self, method: str, **words: Any) -> dict[str, Any]:
        """A command and its result; what happens meanwhile is ``seen``."""
        self._number += 1
        self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": words, **self._session}))
        while True:
            message = json.loads(self._loop.run_sync(self._socket.read_message, PATIENCE))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.seen.append(message)

    def open(self, path: Path, width: int, dark: bool = False, media: str = "screen") -> None:
        self.seen.clear()
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.seen):
            self.run("1")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13, "ArrowRight": 39}[key]
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


@contextlib.contextmanager
def chromium(directory: Path) -> Iterator[Browser]:
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory}"]
    words += ["--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    # What it has for itself it leaves where it is killed.
    environment = {**os.environ, "TMPDIR": str(directory)}
    running = subprocess.Popen(words, **pipes, env=environment, start_new_session=True)
    try:
        address = next(found[1] for line in running.stderr if (found := re.search(r"listening on (ws://\S+)", line)))
        with contextlib.closing(Browser(address)) as browser:
            yield browser
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
