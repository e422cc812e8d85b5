"""The page of a monitor: one file without scripts, from its database: scores over time, alarms, their sounds."""

import base64
import html
import io
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import soundfile

from asdkit.monitor.alarms import ANOMALY, SENSOR
from asdkit.monitor.database import as_path, reading
from asdkit.monitor.status import clock, status
from asdkit.utils.files import write_text
from asdkit.utils.names import shown

SHOWN, HEARD = 100, 20  # newest alarms; those of them whose sound is in the page
SECONDS = 10  # of a sound
POINTS = 1500  # of a time line: of more clips it shows the highest of each share
WIDE, HIGH = 1000, 160
COLOURS = {ANOMALY: "#c0392b", SENSOR: "#8e6d00"}
KNOWN_FAULT = "#6c3483"
STYLE = """body{font:16px/1.5 sans-serif;max-width:66rem;margin:1rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;
vertical-align:top}svg{width:100%;height:auto;background:#fafafa}pre{white-space:pre-wrap}audio{width:14rem}"""


def write_report(database: str | Path, out: str | Path, days: int = 7) -> None:
    """Write the page of the last `days` days. Errors as for `reading`."""
    today = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    since = (today - timedelta(days=days)).timestamp()
    lines = list(status(database, days))
    with reading(database) as rows:
        body = [f"<h1>{_text(Path(database).name)}</h1><pre>{_text(chr(10).join(lines))}</pre>"]
        keys = "SELECT DISTINCT machine, section FROM clips WHERE number IS NOT NULL AND judged >= ? ORDER BY 1, 2"
        for machine, section in rows.execute(keys, (since,)).fetchall():
            body.append(f"<h2>{_text(f'{machine} {section}'.removesuffix(' -'))}</h2>")
            body.append(_line(rows, machine, section, since))
        body += ["<h2>Alarms, the newest first</h2>", *_alarms(rows, since)]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(Path(database).name)}</title>'
    policy = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
    head += f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style>'
    write_text(out, f"{head}<body>{''.join(body)}</body></html>\n")


def _line(rows: sqlite3.Connection, machine: str, section: str, since: float) -> str:
    """Scores of a machine over time, its limit, and alarms as bars below."""
    own = "machine = ? AND section = ? AND judged >= ?"
    found = rows.execute(
        f"SELECT id, time, score, threshold, verdict FROM clips WHERE {own} AND score IS NOT NULL ORDER BY id",
        (machine, section, since),
    ).fetchall()
    if not found:
        return "<p>No clip has a score.</p>"
    share = -(-len(found) // POINTS)
    dots = [max(found[i : i + share], key=lambda row: row["score"]) for i in range(0, len(found), share)]
    first, last = min(row["time"] for row in found), max(row["time"] for row in found)
    values = [row["score"] for row in dots] + [row["threshold"] for row in found[-1:]]
    low, high = min(values), max(values)

    def x(time: float) -> float:
        return 10 + (WIDE - 20) * min(max((time - first) / max(last - first, 1e-9), 0), 1)

    def y(score: float) -> float:
        return HIGH - 30 - (HIGH - 45) * (score - low) / max(high - low, 1e-9)

    parts = [f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="scores over time">']
    limit = y(found[-1]["threshold"])
    parts.append(
        f'<line x1="10" x2="{WIDE - 10}" y1="{limit:.1f}" y2="{limit:.1f}" stroke="#888" stroke-dasharray="6"/>'
    )
    for row in dots:
        colour = {"normal": "#2e6da4", "anomalous": COLOURS[ANOMALY]}.get(row["verdict"], COLOURS[SENSOR])
        told = f"<title>{clock(row['time'])}: {row['score']:.4g}</title>"
        parts.append(
            f'<circle cx="{x(row["time"]):.1f}" cy="{y(row["score"]):.1f}" r="3" fill="{colour}">{told}</circle>'
        )
    alarms = (
        "SELECT * FROM episodes WHERE machine = ? AND section = ? AND (open OR last IN (SELECT id FROM clips WHERE "
    )
    for row in rows.execute(f"{alarms}{own}))", (machine, section, machine, section, since)).fetchall():
        left, right = sorted((x(row["start"]), x(row["end"])))
        colour = COLOURS.get(row["kind"], KNOWN_FAULT)
        bar = f'<rect x="{left:.1f}" y="{HIGH - 26}" width="{max(right - left, 3):.1f}" height="8" fill="{colour}">'
        parts.append(f"{bar}<title>{_text(_kind(row['kind']))}: {clock(row['start'])}</title></rect>")
    text = f'<text y="{HIGH - 4}" font-size="12"'
    parts.append(
        f'{text} x="10">{clock(first)}</text>{text} x="{WIDE - 10}" text-anchor="end">{clock(last)}</text></svg>'
    )
    return "".join(parts)


def _alarms(rows: sqlite3.Connection, since: float) -> Iterator[str]:
    select = """SELECT e.*, p.recording, p.start AS at, p.seconds AS seconds, p.nearest, p.louder_db, p.low_hz,
    p.high_hz, p.sensor FROM episodes AS e LEFT JOIN clips AS l ON l.id = e.last LEFT JOIN clips AS p ON p.id = e.peak
    WHERE e.open OR l.judged >= ? ORDER BY e.id DESC LIMIT ?"""
    found = rows.execute(select, (since, SHOWN)).fetchall()
    if not found:
        yield "<p>None.</p>"
        return
    yield "<table><tr><th>when<th>what<th>its highest clip<th>compared with<th>sound</tr>"
    for number, row in enumerate(found):
        end = "goes on" if row["open"] else clock(row["end"])
        what = f"{_kind(row['kind'])}, {row['over']} clip{'s' * (row['over'] != 1)}"
        score = f", score {row['peak_score']:.4g}" if row["kind"] == ANOMALY else ""
        path = as_path(row["recording"]) if row["recording"] is not None else ""
        moved = ""
        if row["louder_db"] is not None and row["kind"] == ANOMALY:
            side = "louder" if row["louder_db"] > 0 else "quieter"
            moved = f": {abs(row['louder_db']):.0f} dB {side}, {row['low_hz']:.0f} to {row['high_hz']:.0f} Hz"
        sensor = f" ({row['sensor']})" if row["sensor"] else ""
        whose = f"{row['machine']} {row['section']}".removesuffix(" -")
        cells = (f"{clock(row['start'])}<br>{end}", _text(f"{whose}: {what}{sensor}"), _text(shown(path) + score))
        near = _text((row["nearest"] or "") + moved)
        sound = _sound(path, row["at"] or 0.0, row["seconds"] or 0.0) if number < HEARD and path else ""
        yield "<tr>" + "".join(f"<td>{cell}" for cell in (*cells, near, sound)) + "</tr>"
    yield "</table>"


def _sound(path: str, start: float, seconds: float) -> str:
    """The beginning of a clip to be heard, where its file is still there."""
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(min(round(start * file.samplerate), file.frames))
            wave = file.read(round(min(seconds, SECONDS) * file.samplerate), "float32", always_2d=True)[:, 0]
            rate = file.samplerate
    except (OSError, RuntimeError, ValueError):
        return "not there any more"
    held = io.BytesIO()
    peak = float(np.abs(wave).max(initial=0.0))
    soundfile.write(held, wave * (0.7 / peak if peak > 0.007 else 1.0), rate, "PCM_16", format="WAV")
    content = base64.b64encode(held.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/wav;base64,{content}"></audio>'


def _kind(kind: str) -> str:
    return {ANOMALY: "alarm", SENSOR: "sensor"}.get(kind, f"known fault {kind}")


def _text(text: str) -> str:
    return html.escape(text.encode("utf-8", "backslashreplace").decode())
