"""Chromium without a window, driven through its debugging pipe: real mouse and keys, screenshots."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FOUND = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium: `with Browser() as browser: browser.open(path)`."""

    def __init__(self, width: int = 1280, height: int = 900, **media: str) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # its processes end a moment later
        to_child, self.out = os.pipe()
        self.back, from_child = os.pipe()
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--disable-background-networking"]
        words += [
            "--autoplay-policy=no-user-gesture-required",
            "--remote-debugging-pipe",
            f"--user-data-dir={self.profile.name}",
        ]
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}', FOUND, *words, "about:blank"]
        self.process = subprocess.Popen(
            command, pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child)
        os.close(from_child)
        self.count, self.left, self.session, self.errors = 0, b"", None, []
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.size(width, height)
        self.send(
            "Emulation.setEmulatedMedia", features=[{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        )

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.back)
        self.profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the debugging protocol and wait for its answer."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.left:
                block = os.read(self.back, 1 << 20)
                assert block, "the browser has gone"
                self.left += block
            text, _, self.left = self.left.partition(b"\0")
            found = json.loads(text)
            if found.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(found["params"])
            if found.get("id") == self.count:
                assert "error" not in found, found
                return found["result"]

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """The window's size, CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.send("Page.navigate", url=path.absolute().as_uri())
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 20) -> None:
        """Wait for an expression to become true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, held: bool = False) -> None:
        """Move, press or release the left button at a place of the window."""
        name = {"move": "mouseMoved", "press": "mousePressed", "release": "mouseReleased"}[kind]
        down = held or kind != "move"
        self.send(
            "Input.dispatchMouseEvent",
            type=name,
            x=x,
            y=y,
            button="left" if down else "none",
            buttons=int(held or kind == "press"),
            clickCount=1,
        )

    def middle(self, selector: str) -> list[float]:
        """Where the middle of an element is in the window, x and y."""
        box = "e => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }"
        return self.run(f"({box})(document.querySelector({selector!r}))")

    def click(self, selector: str) -> None:
        """Bring an element into view and click in its middle."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.middle(selector)
        for kind in ("move", "press", "release"):
            self.mouse(kind, x, y)

    def key(self, name: str, code: int) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Put text into what has the focus."""
        self.send("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        height = self.run("document.documentElement.scrollHeight")
        width = self.run("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))
