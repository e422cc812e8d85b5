"""Alarms to an MQTT broker, at least once: from the database's outbox, which holds them until the broker has them.

Under `<topic>/alarm`: JSON with `id`, the same whenever an alarm is sent again; under `<topic>/state`, retained: the
heartbeat, and from the broker itself `lost` when the monitor is not heard of any more. Quality of service 1.
"""

import json
import logging
import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from asdkit.monitor.database import Database
from asdkit.monitor.heartbeat import Beat

PLAIN, SECURE = 1883, 8883
BATCH = 100  # messages that are under way at once
KEYS = ("user", "password", "tls", "ca", "cert", "key")


class Broker(NamedTuple):
    """Where a broker is, and how one is let in. tls: whether the connection is; ca, cert, key: files."""

    host: str
    port: int
    topic: str
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"


def broker(place: str, topic: str, access: Path | None) -> Broker:
    """A broker from HOST or HOST:PORT, and a file with lines `user = NAME` and so on (KEYS), paths beside that file.

    Raises ValueError for what is none of it, and for a file that others may read.
    """
    host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "")
    if not host.strip("[]") or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"--mqtt {place}: expected HOST or HOST:PORT")
    if not topic or any(sign in topic for sign in "+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
        raise ValueError(f"--topic {topic}: expected a topic such as factory/press, without + and #")
    told = _access(access) if access else {}
    secure = told.pop("tls", "false") == "true" or "ca" in told or "cert" in told
    number = int(port) if port else SECURE if secure else PLAIN
    return Broker(host.strip("[]"), number, topic, tls=secure, **told)


def _access(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_mode & 0o077:
            raise ValueError(f"--mqtt-access {path}: others may read it, and it holds a password: chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--mqtt-access {path}: cannot be read: {error}") from None
    told = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if (
            not equals
            or key not in KEYS
            or not value
            or key in told
            or (key == "tls" and value not in ("true", "false"))
        ):
            raise ValueError(
                f"--mqtt-access {path}:{number}: expected KEY = VALUE, each once, KEY of {', '.join(KEYS)}"
            )
        told[key] = str(path.parent / value) if key in ("ca", "cert", "key") else value
    if ("cert" in told) != ("key" in told):
        raise ValueError(f"--mqtt-access {path}: cert and key are given together, or neither")
    return told


class Publisher:
    """Sends what the outbox of a database holds while the monitor goes on; `send` is called now and then.

    Raises ValueError where paho-mqtt is not installed, or files of the connection cannot be used.
    """

    def __init__(self, database: Database, target: Broker) -> None:
        try:
            from paho.mqtt import client as paho
        except ImportError as error:
            raise ValueError(f"--mqtt needs the package paho-mqtt ({error}): pip install 'paho-mqtt>=2.1'") from None
        self.database, self.target = database, target
        self._under_way: dict[int, int] = {}  # number of a message to the broker -> row of the outbox
        self._answers: deque[int] = deque()  # numbers of messages that the broker has: of the thread that listens
        self._connected, self._told, self._beat = False, False, ""
        # After a while without the broker the client sends again what was not acknowledged; after a restart the outbox.
        name = f"asdkit-{database.id}"
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=True)
        if target.user is not None or target.password is not None:
            self.client.username_pw_set(target.user or "", target.password)
        if target.tls:
            try:
                self.client.tls_set(target.ca, target.cert, target.key)
            except (OSError, ValueError) as error:
                raise ValueError(f"--mqtt-access: ca, cert or key cannot be used: {error}") from None
        self.client.will_set(f"{target.topic}/state", json.dumps({"type": "state", "state": "lost"}), 1, True)
        self.client.on_connect, self.client.on_disconnect = self._came, self._left
        self.client.on_connect_fail = self._failed
        self.client.on_publish = lambda client, data, number, reason, properties: self._answers.append(number)
        self.client.reconnect_delay_set(1, 30)
        self.client.connect_async(target.host, target.port, keepalive=30)
        self.client.loop_start()

    def send(self) -> None:
        """Take out of the outbox what the broker has, and hand it what it has not. Errors as for `Database.change`."""
        taken = []
        while self._answers:
            row = self._under_way.pop(self._answers.popleft(), None)
            taken += [row] if row is not None else []  # a heartbeat has none
        if taken:
            self.database.change(lambda rows: _remove(rows, taken))
        if not self._connected or len(self._under_way) >= BATCH:
            return
        under_way = set(self._under_way.values())
        select = "SELECT id, topic, payload FROM outbox ORDER BY id LIMIT ?"
        for row, topic, payload in self.database.connection.execute(select, (2 * BATCH,)).fetchall():
            if row not in under_way and len(self._under_way) < BATCH:
                self._under_way[self.client.publish(topic, payload, 1).mid] = row

    def beat(self, beat: Beat) -> None:
        """Send a heartbeat; while the broker is away the newest one waits for it."""
        self._beat = json.dumps({"type": "state", **beat._asdict()})
        if self._connected:
            self.client.publish(f"{self.target.topic}/state", self._beat, 1, True)

    def end(self, seconds: float = 5.0) -> None:
        """Send what there is, as long as a broker takes it within `seconds`; the rest stays in the outbox."""
        last = time.monotonic() + seconds
        left = "SELECT count(*) FROM outbox"
        while self._connected and time.monotonic() < last:
            self.send()
            if not self.database.connection.execute(left).fetchone()[0] and not self.client.want_write():
                break
            time.sleep(0.02)
        self.client.disconnect()
        self.client.loop_stop()

    def _came(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._say(f"refuses: {reason}")
            return
        self._connected, self._told = True, False
        logging.info("the broker %s takes messages", self.target.place)
        if self._beat:
            client.publish(f"{self.target.topic}/state", self._beat, 1, True)

    def _left(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected = False
        if reason.is_failure:
            self._say(f"is away: {reason}")

    def _failed(self, client: Any, data: Any) -> None:
        self._say("cannot be reached")

    def _say(self, what: str) -> None:
        if not self._told:
            logging.warning("the broker %s %s. Alarms wait; nothing is lost", self.target.place, what)
        self._told = True


def _remove(rows: sqlite3.Connection, taken: list[int]) -> None:
    rows.executemany("DELETE FROM outbox WHERE id = ?", [(row,) for row in taken])
