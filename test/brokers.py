"""A real broker and who listens to it, for tests."""

import json
import os
import shutil
import socket
import subprocess
import time

import pytest


class Mosquitto:
    """A broker on a port of its own, that can be stopped and started."""

    def __init__(self, folder, *lines):
        self.program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if not self.program:
            pytest.skip("mosquitto is not installed")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        lines = (f"listener {self.port} 127.0.0.1", *(lines or ("allow_anonymous true",)))
        self.config.write_text("".join(f"{line}\n" for line in ("user root", *lines)))
        self.start()

    def start(self):
        words = [self.program, "-c", self.config]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("mosquitto does not listen")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Receiver:
    """Whoever reads a topic: all messages, in order, repeats too."""

    def __init__(self, port, topic, prepare=lambda client: None):
        from paho.mqtt import client as paho

        self.messages = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="receiver", clean_session=False)
        prepare(self.client)
        self.client.on_connect = lambda client, *rest: client.subscribe(f"{topic}/#", 1)
        self.client.on_message = lambda client, data, message: self.messages.append(
            (message.topic, json.loads(message.payload), message.retain)
        )
        self.subscribed = 0
        self.client.on_subscribe = lambda *told: setattr(self, "subscribed", self.subscribed + 1)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def listens(self, times):
        """Wait until it has subscribed so many times: a broker that was killed knows nobody any more."""
        end = time.monotonic() + 30
        while self.subscribed < times:
            assert time.monotonic() < end
            time.sleep(0.02)

    def alarms(self):
        return [told for topic, told, _ in self.messages if topic.endswith("/alarm")]

    def wait(self, count, seconds=30):
        end = time.monotonic() + seconds
        while len({one["id"] for one in self.alarms()}) < count:
            assert time.monotonic() < end, self.messages
            time.sleep(0.05)
