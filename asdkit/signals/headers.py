"""What a file's header says, against what the file holds; libsndfile passes over most of it."""

import io
import os
from pathlib import Path

_UNKNOWN_SIZE = 0xFFFFFFFF  # length field of a wav that was written to a pipe


def check_file(path: str | Path) -> None:
    """Raise ValueError for a file that is missing, empty, or a wav shorter than its header says.

    libsndfile reads such a wav without complaint as far as it goes.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ValueError(f"{path}: an empty file (0 bytes)")
            if str(path).lower().endswith(".wav"):
                _check_wav_length(file, size, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be opened: {error.strerror}") from None


def _check_wav_length(file: io.FileIO, size: int, path: str | Path) -> None:
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    position = len(head)
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        position += 8
        if chunk[:4] == b"data":
            if length != _UNKNOWN_SIZE and position + length > size:
                held = size - position
                raise ValueError(
                    f"{path}: truncated: the header promises {length} bytes of samples, the file holds {held}"
                )
            return
        position += length + length % 2
        file.seek(position)
