"""Firefox without a window, driven through Marionette, its remote control: scripts, keys, the mouse, screenshots."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FOUND = next((path for name in ("firefox", "firefox-esr") if (path := shutil.which(name))), None)
PREFERENCES = {"app.update.enabled": False, "browser.shell.checkDefaultBrowser": False, "media.autoplay.default": 0}


class Firefox:
    """One page of a headless Firefox: `with Firefox() as browser: browser.open(path)`."""

    def __init__(self, width: int = 1280, height: int = 900, **preferences: Any) -> None:
        self.profile, self.count, self.left = tempfile.TemporaryDirectory(ignore_cleanup_errors=True), 0, b""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        told = PREFERENCES | {"marionette.port": port} | preferences
        lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in told.items()]
        Path(self.profile.name, "user.js").write_text("".join(lines), encoding="utf-8")
        size = [f"--width={width}", f"--height={height}"]
        command = [FOUND, "--headless", "--marionette", "--no-remote", "--profile", self.profile.name, *size]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, "Firefox does not answer"
                time.sleep(0.2)
        self._message()  # its greeting
        self.send("WebDriver:NewSession", capabilities={})
        self.send("WebDriver:SetWindowRect", width=width, height=height)

    def __enter__(self) -> "Firefox":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()

    def _message(self) -> Any:
        """Marionette's messages are `length:JSON`."""
        while b":" not in self.left:
            self.left += self._block()
        length, _, self.left = self.left.partition(b":")
        while len(self.left) < int(length):
            self.left += self._block()
        text, self.left = self.left[: int(length)], self.left[int(length) :]
        return json.loads(text)

    def _block(self) -> bytes:
        block = self.socket.recv(1 << 20)
        assert block, "the browser has gone"
        return block

    def send(self, command: str, **parameters: Any) -> Any:
        """Give a command and wait for its answer."""
        self.count += 1
        text = json.dumps([0, self.count, command, parameters]).encode()
        self.socket.sendall(str(len(text)).encode() + b":" + text)
        _, _, error, found = self._message()
        assert error is None, error
        return found["value"] if isinstance(found, dict) and "value" in found else found

    def open(self, path: Path, width: int | None = None) -> None:
        """Open a file and wait until it is loaded; with a width, in a frame: no window is as narrow as a phone."""
        if width is None:
            self.send("WebDriver:Navigate", url=path.absolute().as_uri())
            return
        frame = Path(self.profile.name, "frame.html")
        told = f'<iframe src="{path.absolute().as_uri()}" style="border:0;height:844px;width:{width}px"></iframe>'
        frame.write_text(f'<!DOCTYPE html><meta name="color-scheme" content="light dark">{told}', encoding="utf-8")
        self.send("WebDriver:Navigate", url=frame.as_uri())
        found = self.send("WebDriver:FindElement", using="css selector", value="iframe")
        self.send("WebDriver:SwitchToFrame", element=next(iter(found.values())))
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.send("WebDriver:ExecuteScript", script=f"return ({script});", args=[], sandbox=None)

    def until(self, script: str, seconds: float = 30) -> None:
        """Wait for an expression to become true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def act(self, kind: str, *actions: dict[str, Any]) -> None:
        """Do what the mouse (`pointer`) or the keys (`key`) do, one after the other."""
        source = {"type": kind, "id": kind, "actions": list(actions)}
        if kind == "pointer":
            source["parameters"] = {"pointerType": "mouse"}
        self.send("WebDriver:PerformActions", actions=[source])

    def key(self, character: str) -> None:
        """Press and release a key, as WebDriver names them."""
        self.act("key", {"type": "keyDown", "value": character}, {"type": "keyUp", "value": character})

    def middle(self, selector: str) -> list[float]:
        """Where the middle of an element is in the window, x and y, after it was brought there."""
        box = "e => { e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect(); "
        box += "return [Math.round(b.x + b.width / 2), Math.round(b.y + b.height / 2)]; }"
        return self.run(f"({box})(document.querySelector({selector!r}))")

    def drag(self, selector: str, by: int) -> None:
        """Press in the middle of an element, move to the side and let go."""
        x, y = self.middle(selector)
        move, press = {"type": "pointerMove", "y": y}, {"button": 0}
        down, up = {"type": "pointerDown", **press}, {"type": "pointerUp", **press}
        self.act("pointer", {**move, "x": x}, down, {**move, "x": x + by, "duration": 50}, up)

    def click(self, selector: str) -> None:
        """Bring an element into view and click in its middle."""
        self.drag(selector, 0)

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        path.write_bytes(base64.b64decode(self.send("WebDriver:TakeScreenshot", full=True)))
