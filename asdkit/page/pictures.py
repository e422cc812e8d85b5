"""Spectrograms as small pictures, and sounds as small files."""

import io
import math
import struct
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from asdkit.signals.resample import resample, resampled_length

BANDS = 96  # rows of a picture
LOWEST = 50.0  # Hz, of sound
AUDIBLE = (8000, 96000)  # Hz, rates that browsers play; at higher ones the encoder's library may crash
FLOOR = -120.0  # dB, of silence
WINDOW = 0.064  # seconds
WIDEST = 400  # columns of a picture
DIFFERENCE = 20.0  # dB at the ends of the scale
BLOCK = 1 << 14  # samples that the encoder is given at once: more, and some versions of it run out of stack
# Colours in OKLab (Ottosson), equally far apart: lightness, green to red, blue to yellow.
LEVELS = [(0.13, 0.01, -0.02), (0.36, 0.07, -0.12), (0.55, 0.18, -0.02), (0.74, 0.11, 0.12), (0.95, -0.02, 0.13)]
SIGNED = [(0.88, -0.05, -0.07), (0.66, -0.03, -0.15), (0.17, 0.0, 0.0), (0.68, 0.1, 0.13), (0.92, 0.0, 0.11)]


def spectrogram(wav: np.ndarray, rate: int) -> np.ndarray:
    """Level in dB of full scale of wav [T] in bands of equal width on the mel scale: [BANDS, columns], lowest first."""
    size = 1 << int(np.ceil(np.log2(WINDOW * rate)))
    wav = np.pad(wav, (0, max(0, size - len(wav))))
    frames = np.lib.stride_tricks.sliding_window_view(wav, size)[:: size // 2]  # [frames, size]
    window = np.hanning(size).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window)) ** 2 * (2 / window.sum()) ** 2  # [frames, bins]
    pool = -(-len(power) // WIDEST)
    if pool > 1:
        power = np.add.reduceat(power, np.arange(0, len(power), pool)) / pool
    return 10 * np.log10(np.maximum(power @ _bands(size, rate), 10 ** (FLOOR / 10))).T.astype(np.float32)


def lowest(rate: int) -> float:
    """Where the bands begin at a rate, Hz."""
    return min(LOWEST, rate / 200)


@lru_cache
def _bands(size: int, rate: int) -> np.ndarray:
    """Weights of the bins in each band, [bins, BANDS]: triangles, none narrower than two bins."""
    ends = np.array([lowest(rate), rate / 2])
    centres = _hertz(np.linspace(*_mel(ends), BANDS + 2))[1:-1]
    bins = np.arange(size // 2 + 1) * rate / size
    width = np.maximum(np.gradient(centres), rate / size)
    weights = np.maximum(0, 1 - np.abs(bins[:, None] - centres) / width)
    return (weights / weights.sum(axis=0)).astype(np.float32)


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(hertz / 700)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * np.expm1(mel / 1127)


def picture(values: np.ndarray, low: float, high: float, signed: bool = False) -> bytes:
    """A PNG file of values [bands, columns], the first band below, in the colours from low to high."""
    steps = np.clip((values[::-1] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    rows = np.pad(steps, ((0, 0), (1, 0)))  # a byte before each row: no filter
    height, width = steps.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = np.array(palette(signed), np.uint8).tobytes()
    chunks = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@lru_cache
def palette(signed: bool) -> list[tuple[int, int, int]]:
    """256 colours, each as red, green and blue of 0 to 255: of levels, or of differences, dark in the middle."""
    anchors = np.array(SIGNED if signed else LEVELS)
    places = np.linspace(0, len(anchors) - 1, 256)
    lab = np.stack([np.interp(places, np.arange(len(anchors)), column) for column in anchors.T], axis=1)
    to_cones = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    linear = np.clip((lab @ to_cones.T) ** 3 @ to_rgb.T, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [tuple(int(value) for value in row) for row in np.rint(255 * coded)]


def played_length(path: Path) -> float | None:
    """Seconds of a recording that browsers play as it is: one channel of wav or flac at a rate that is heard."""
    try:
        told = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return None
    played = told.format in ("WAV", "FLAC") and told.subtype in ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "FLOAT")
    played = played and told.channels == 1 and AUDIBLE[0] <= told.samplerate <= AUDIBLE[1]
    return told.frames / told.samplerate if played else None


def sound(wav: np.ndarray, rate: int) -> bytes:
    """wav [T] within -1 and 1 as an Ogg Vorbis file, at the next rate that can be heard."""
    heard = min(max(rate, AUDIBLE[0]), AUDIBLE[1])
    if heard != rate:
        common = math.gcd(heard, rate)
        old, new = rate // common, heard // common
        stop = resampled_length(len(wav), old, new)
        wav = resample(lambda first, last: wav[first:last], len(wav), 0, stop, old, new).clip(-1, 1)
    held = io.BytesIO()
    with soundfile.SoundFile(held, "w", heard, 1, "VORBIS", format="OGG") as file:
        for start in range(0, len(wav), BLOCK):
            file.write(wav[start : start + BLOCK])
    return held.getvalue()
