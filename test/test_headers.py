"""Headers that say less, more or something else than the file holds."""

import struct

import numpy as np
import pytest
import soundfile
from corpora import noise, write_clip

from asdkit.pretrain.config import SoundConfig
from asdkit.pretrain.corpus import list_audio
from asdkit.signals.audio import AudioReader
from asdkit.signals.content import measure

CLIP = 3200  # bytes of 0.1 s, 16 bits


def clip(tmp_path, **options):
    return bytearray(write_clip(tmp_path / "clip.wav", 0.1, **options).read_bytes())


def said(content, size, riff=None):
    """A wav whose header says `size` bytes of samples."""
    changed = bytearray(content)
    at = changed.index(b"data") + 4
    changed[at : at + 4] = struct.pack("<I", size)
    if riff is not None:
        changed[4:8] = struct.pack("<I", riff)
    return bytes(changed)


def refused(tmp_path, content, message, name="a.wav"):
    path = tmp_path / "corpus" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    reader = AudioReader()
    for read in (reader.length, reader.read, measure, lambda path: list_audio(path.parent, SoundConfig())):
        with pytest.raises(ValueError, match=message) as error:
            read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def reads(tmp_path, content, samples, name="a.wav"):
    path = tmp_path / name
    path.write_bytes(content)
    reader = AudioReader()
    assert reader.length(path) == measure(path).samples == len(samples)
    np.testing.assert_array_equal(reader.read(path), samples)
    np.testing.assert_array_equal(reader.read(path, 700, 100), samples[700:800])


def whole(path):
    return soundfile.read(path, dtype="float32")[0]


@pytest.mark.parametrize("size", [800, 1602, 3190])
def test_bytes_behind_the_samples_that_are_no_chunks(tmp_path, size):
    message = rf"says {size} bytes of samples, but {CLIP - size} bytes follow .* {CLIP} in all.*sox --ignore-length"
    refused(tmp_path, said(clip(tmp_path), size), message)
    refused(tmp_path, said(clip(tmp_path), size, 36 + size), message)


def test_a_length_that_was_wrapped_at_4_gib(tmp_path):
    path = tmp_path / "a.wav"
    samples = 2**32 + 10**6
    with open(path, "wb") as file:  # sparse
        file.write(said(clip(tmp_path), samples % 2**32, (samples + 36) % 2**32))
        file.truncate(44 + samples - 2)
        file.seek(0, 2)
        file.write(b"\1\1")
    message = rf"a\.wav: its header says 1000000 bytes.*{samples} in all.*trim 0 3600 : newfile"
    with path.open("r+b") as file:
        file.seek(44 + 10**6)
        file.write(bytes(range(1, 200)))
    with pytest.raises(ValueError, match=message):
        AudioReader().length(path)


def test_a_recording_past_4_gib_that_tells_no_length(tmp_path):
    path = tmp_path / "a.wav"
    with open(path, "wb") as file:  # sparse
        file.write(said(clip(tmp_path), 0xFFFFFFFF))
        file.truncate(44 + 2**32 + 10**6)
    with pytest.raises(ValueError, match=rf"a\.wav: \d+ samples can be read of the {2**31 + 500_000} that it holds"):
        AudioReader().length(path)


def test_two_recordings_in_one_file(tmp_path):
    content = clip(tmp_path)
    refused(tmp_path, content + content, f"says {CLIP} bytes of samples, but {CLIP + 44} bytes follow")
    refused(tmp_path, content + content[36:], f"says {CLIP} bytes of samples, but {CLIP + 8} bytes follow")


@pytest.mark.parametrize(
    "rest",
    [
        b"LIST" + struct.pack("<I", 6) + b"abcdef",
        b"id3 " + struct.pack("<I", 5) + b"abcde\0" + b"cue " + struct.pack("<I", 4) + b"abcd",
        b"LIST" + struct.pack("<I", 5) + b"abcdecue " + struct.pack("<I", 3) + b"abc",  # none is padded
        b"TAG" + b"a title".ljust(125),
        b"ID3\4\0\0\0\0\0\12" + b"0123456789",
        bytes(5000),
        b"\n",
    ],
    ids=["chunk", "chunks", "odd chunk", "ID3v1", "ID3v2", "zeros", "line break"],
)
def test_what_else_may_follow_the_samples(tmp_path, rest):
    content = bytes(clip(tmp_path))
    reads(tmp_path, content + rest, whole(tmp_path / "clip.wav"))


def test_chunks_after_an_odd_number_of_bytes(tmp_path):
    path = tmp_path / "odd.wav"
    soundfile.write(path, noise(0.1)[:1599], 16000, subtype="PCM_U8")
    content, rest = path.read_bytes(), b"LIST" + struct.pack("<I", 4) + b"abcd"
    assert len(content) == 44 + 1600  # one byte of padding
    for end in (content, content[:-1]):
        reads(tmp_path, end + rest, whole(path))


def test_wave64_and_rf64_that_say_too_little(tmp_path):
    samples = noise(0.1)
    for kind, at, size, of in (("W64", 96, "<q", 800 + 24), ("RF64", 28, "<Q", 800)):
        path = tmp_path / f"{kind}.wav"
        soundfile.write(path, samples, 16000, format=kind)
        content = bytearray(path.read_bytes())
        assert struct.unpack_from(size, content, at)[0] == CLIP + of - 800, kind
        struct.pack_into(size, content, at, of)
        refused(tmp_path, bytes(content), f"says 800 bytes of samples, but {CLIP - 800} bytes follow")
        struct.pack_into(size, content, at, CLIP + of - 800 + 100)
        refused(tmp_path, bytes(content), f"truncated: the header promises {CLIP + 100} bytes of samples")
        struct.pack_into(size, content, at, 2**63 - 1)
        reads(tmp_path, bytes(content), whole(path))


def test_chunks_behind_the_samples_of_a_wave64_are_no_samples(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, noise(0.1), 16000, format="W64")
    content, samples = path.read_bytes(), whole(path)
    junk = b"junk" + bytes(12) + struct.pack("<q", 24 + 40) + b"0123456789" * 4
    reads(tmp_path, content + junk, samples)


def flac_of(content, samples):
    """The flac with another number of samples in its header."""
    changed = bytearray(content)
    number = int.from_bytes(changed[18:26], "big")
    changed[18:26] = (number >> 36 << 36 | samples).to_bytes(8, "big")
    return bytes(changed)


@pytest.mark.parametrize("told", [4000, 8192, 15999])
def test_a_flac_that_says_too_little(tmp_path, told):
    path = write_clip(tmp_path / "a.flac", 1.0)
    good = path.read_bytes()
    path.write_bytes(flac_of(good, told))
    for read in (AudioReader().length, measure):
        with pytest.raises(ValueError, match=rf"a\.flac: its header says {told} samples, but the file holds 16000"):
            read(path)
    for rest in (b"", b"TAG" + bytes(125), bytes(512)):
        reads(tmp_path, good + rest, whole_flac(tmp_path, good), "b.flac")
    reads(tmp_path, b"ID3\4\0\0\0\0\0\12" + bytes(10) + good, whole_flac(tmp_path, good), "b.flac")


def test_a_cut_flac_is_seen_without_decoding_it(tmp_path):
    path = write_clip(tmp_path / "a.flac", 1.0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.flac: broken at sample 15999"):
        AudioReader().length(path)


def test_two_flacs_in_one_file(tmp_path):
    content = write_clip(tmp_path / "b.flac", 1.0).read_bytes()
    path = tmp_path / "a.flac"
    path.write_bytes(content + content)
    for read in (measure, lambda path: list_audio(path.parent, SoundConfig())):
        with pytest.raises(ValueError, match=r"a\.flac: another flac file lies behind"):
            read(path)


def whole_flac(tmp_path, content):
    (tmp_path / "whole.flac").write_bytes(content)
    return whole(tmp_path / "whole.flac")


def test_a_flac_without_a_length(tmp_path):
    content = write_clip(tmp_path / "a.flac", 1.0).read_bytes()
    refused(tmp_path, flac_of(content, 0), r"a\.flac: its header tells no length.*flac -d", "a.flac")


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0x7FFFFFDB, 0x7FFFEFFF])
@pytest.mark.parametrize("options", [{}, {"subtype": "PCM_24"}, {"subtype": "FLOAT"}], ids=str)
def test_lengths_that_stand_for_none_are_read_to_the_end(tmp_path, size, options):
    content = clip(tmp_path, **options)
    reads(tmp_path, said(content, size, min(size + 36, 0xFFFFFFFF)), whole(tmp_path / "clip.wav"))


def test_a_header_that_was_never_closed(tmp_path):
    message = f"never closed.*0 bytes of samples, {CLIP} bytes follow.*sox --ignore-length"
    for riff in (0, 36, 36 + CLIP):
        refused(tmp_path, said(clip(tmp_path), 0, riff), message)
    refused(tmp_path, said(clip(tmp_path), 0)[:44], "holds no samples")
    refused(tmp_path, said(clip(tmp_path), 0)[:44] + b"LIST\4\0\0\0abcd", "holds no samples")
    refused(tmp_path, bytes(clip(tmp_path))[:36], "no chunk 'data'")


def test_a_cut_wav_is_seen_behind_long_metadata(tmp_path):
    content, samples = bytes(clip(tmp_path)), whole(tmp_path / "clip.wav")
    note = b"LIST" + struct.pack("<I", 9001) + bytes(9002)  # chunks are padded to an even length
    reads(tmp_path, content[:36] + note + content[36:], samples)
    refused(tmp_path, content[:36] + note + content[36:-2], "promises 3200 bytes of samples, the file holds 3198")


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_24"])
def test_wavs_of_which_no_part_can_be_read(tmp_path, subtype):
    path = write_clip(tmp_path / "clip.wav", 0.1, subtype=subtype)
    refused(tmp_path, path.read_bytes(), "its samples are coded .*ffmpeg -i")


@pytest.mark.parametrize(("tag", "name"), [(0x55, "mp3"), (0x45, "G.726"), (0xF1AC, "flac"), (0x99, "unknown")])
def test_wavs_of_codings_that_are_not_known(tmp_path, tag, name):
    content = clip(tmp_path)
    content[20:22] = struct.pack("<H", tag)
    refused(tmp_path, bytes(content), rf"its samples are coded \(format {tag:#x}, {name}\)")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"])
def test_codings_that_are_read(tmp_path, subtype):
    path = write_clip(tmp_path / "clip.wav", 0.2, subtype=subtype)
    samples = whole(path)
    reads(tmp_path, path.read_bytes(), samples[:3200] if subtype == "MS_ADPCM" else samples)


def test_the_filling_of_the_last_block_is_no_samples(tmp_path):
    path = write_clip(tmp_path / "clip.wav", 0.1, subtype="IMA_ADPCM")
    content = bytearray(path.read_bytes())
    at = content.index(b"fact") + 8
    assert struct.unpack_from("<I", content, at)[0] > 1600  # that is of the blocks; others write the samples
    struct.pack_into("<I", content, at, 1600)
    reads(tmp_path, bytes(content), whole(path)[:1600])


@pytest.mark.parametrize(("kind", "name"), [("OGG", "Ogg"), ("AIFF", "AIFF"), ("CAF", "CAF"), ("MP3", "mp3")])
def test_other_files_under_the_name_of_a_wav(tmp_path, kind, name):
    soundfile.write(tmp_path / "clip", noise(0.5), 16000, format=kind)
    refused(tmp_path, (tmp_path / "clip").read_bytes(), f"not a readable wav or flac file: it is {name} under another")


def test_big_endian_and_tagged_wavs(tmp_path):
    path = write_clip(tmp_path / "clip.wav", 0.1, endian="BIG")
    content = path.read_bytes()
    reads(tmp_path, content, whole(path))
    refused(tmp_path, content[:-2], "promises 3200 bytes of samples, the file holds 3198")
    reads(tmp_path, b"ID3\4\0\0\0\0\0\12" + bytes(10) + bytes(clip(tmp_path)), whole(tmp_path / "clip.wav"))
