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
from asdkit.monitor.status import clock, span, status
from asdkit.monitor.verdict import ANOMALOUS, DOUBTFUL, NORMAL
from asdkit.utils.files import write_text
from asdkit.utils.names import shown

SHOWN, HEARD = 100, 20  # newest alarms; those of them whose sound is in the page
SECONDS = 10  # of a sound
POINTS = 1500  # of a time line: of more clips it shows the highest of each share
WIDE, HIGH = 1000, 160
GRID = 40 * 86400  # seconds: no longer line has its midnights
KINDS = {ANOMALY: "a", SENSOR: "s"}  # the class of its colour
KNOWN_FAULT = "k"
LEGEND = (
    ("n", "normal"), ("a", "above the limit, and alarms below"), ("s", "cannot be trusted"), ("k", "known fault")
)  # fmt: skip
STYLE = """:root{--ground:#fff;--panel:#f4f5f6;--ink:#1b1e22;--soft:#5a626b;--line:#d5d9dd;--n:#2e6da4;--a:#c0392b;
--s:#8e6d00;--k:#6c3483}@media(prefers-color-scheme:dark){:root{--ground:#14171a;--panel:#1c2127;--ink:#e8eaed;
--soft:#a3abb4;--line:#363c43;--n:#6bb3ea;--a:#f57f6c;--s:#e0b93c;--k:#c79be0}}:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:1rem auto;padding:0 1rem;color:var(--ink);
background:var(--ground);overflow-wrap:anywhere}pre{white-space:pre-wrap;font-size:.9rem}
h1,h2{line-height:1.2}svg{display:block;width:100%;height:11rem;background:var(--panel)}
path{vector-effect:non-scaling-stroke;fill:none}.dot{stroke-width:6px;stroke-linecap:round}.bar{stroke-width:8px}
.n{stroke:var(--n);color:var(--n)}.a{stroke:var(--a);color:var(--a)}.s{stroke:var(--s);color:var(--s)}
.k{stroke:var(--k);color:var(--k)}.limit{stroke:var(--soft);stroke-dasharray:6}.day{stroke:var(--line)}
.ends{display:flex;justify-content:space-between}.ends,.key{color:var(--soft);font-size:.85rem;margin:.2rem 0}
.key{display:flex;flex-wrap:wrap;gap:0 1rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child{min-width:10rem}audio{width:14rem}
@media(max-width:45rem){table,tbody,tr,td{display:block}th{display:none}td{border:0;padding:.1rem 0}
tr{border-bottom:1px solid var(--line);padding:.6rem 0}td:empty{display:none}}"""


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
    head += '<meta name="viewport" content="width=device-width,initial-scale=1">'
    policy = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
    head += f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style>'
    write_text(out, f"{head}<body>{''.join(body)}</body></html>\n")


def _line(rows: sqlite3.Connection, machine: str, section: str, since: float) -> str:
    """Scores of a machine over time, its limit, and alarms as bars below."""
    own = "machine = ? AND section = ? AND judged >= ?"
    found = rows.execute(
        f"SELECT id, time, score, threshold, verdict, fault FROM clips WHERE {own} AND score IS NOT NULL ORDER BY id",
        (machine, section, since),
    ).fetchall()
    if not found:
        return "<p>No clip has a score.</p>"
    share = -(-len(found) // POINTS)
    dots = [max(found[i : i + share], key=lambda row: row["score"]) for i in range(0, len(found), share)]
    first, last = min(row["time"] for row in found), max(row["time"] for row in found)
    limit = found[-1]["threshold"]
    # What a broken sensor hears has scores beyond all others, among which nothing else would be seen.
    values = [row["score"] for row in dots if row["verdict"] != DOUBTFUL] + [limit]
    low, high = min(values), max(values)

    def x(time: float) -> float:
        return 10 + (WIDE - 20) * min(max((time - first) / max(last - first, 1e-9), 0), 1)

    def y(score: float) -> float:
        return HIGH - 24 - (HIGH - 36) * min(max((score - low) / max(high - low, 1e-9), 0), 1.02)

    name = f"scores over time, {low:.4g} to {high:.4g}"
    parts = [f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" aria-label="{name}">']
    parts += [f'<path class="day" d="M{x(one):.1f} 0V{HIGH}"/>' for one in _midnights(first, last)]
    parts.append(f'<path class="limit" d="M10 {y(limit):.1f}H{WIDE - 10}"/>')
    seen = set()
    for row in dots:
        kind = {NORMAL: "n", ANOMALOUS: KNOWN_FAULT if row["fault"] else KINDS[ANOMALY]}.get(
            row["verdict"], KINDS[SENSOR]
        )
        seen.add(kind)
        told = f"<title>{clock(row['time'])}: {row['score']:.4g}</title>"
        place = f"M{x(row['time']):.1f} {y(row['score']):.1f}h.01"
        parts.append(f'<path class="dot {kind}" d="{place}">{told}</path>')
    alarms = (
        "SELECT * FROM episodes WHERE machine = ? AND section = ? AND (open OR last IN (SELECT id FROM clips WHERE "
    )
    for row in rows.execute(f"{alarms}{own}))", (machine, section, machine, section, since)).fetchall():
        left, right = sorted((x(row["start"]), x(row["end"])))
        kind = KINDS.get(row["kind"], KNOWN_FAULT)
        seen.add(kind)
        place = f"M{left:.1f} {HIGH - 6}H{max(right, left + 3):.1f}"
        told = f"<title>{_text(_kind(row['kind']))}: {clock(row['start'])}</title>"
        parts.append(f'<path class="bar {kind}" d="{place}">{told}</path>')
    key = "".join(f'<span><b class="{kind}">&#9679;</b> {told}</span>' for kind, told in LEGEND if kind in seen)
    ends = f'<p class="ends"><span>{clock(first)}</span><span>{clock(last)}</span></p>'
    return f'{"".join(parts)}</svg>{ends}<p class="key">{key}<span>- - limit {limit:.4g}</span></p>'


def _midnights(first: float, last: float) -> Iterator[float]:
    """The midnights between two times."""
    day = datetime.fromtimestamp(first).replace(hour=0, minute=0, second=0, microsecond=0)
    while last - first < GRID and (day := day + timedelta(days=1)).timestamp() < last:
        yield day.timestamp()


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
        what = f"{_kind(row['kind'])}, {row['over']} clip{'s' * (row['over'] != 1)}"
        score = f", score {row['peak_score']:.4g}" if row["kind"] == ANOMALY else ""
        path = as_path(row["recording"]) if row["recording"] is not None else ""
        moved = ""
        if row["louder_db"] is not None and row["kind"] == ANOMALY:
            side = "louder" if row["louder_db"] > 0 else "quieter"
            moved = f": {abs(row['louder_db']):.0f} dB {side}, {row['low_hz']:.0f} to {row['high_hz']:.0f} Hz"
        sensor = f" ({row['sensor']})" if row["sensor"] else ""
        whose = f"{row['machine']} {row['section']}".removesuffix(" -")
        cells = (span(row), _text(f"{whose}: {what}{sensor}"), _text(shown(path) + score))
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
