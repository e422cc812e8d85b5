"""Opening a recording by the ending of its name: sound files, and the files that measurements come in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

from asdkit.signals.arrays import ArrayRecording, named, recorded
from asdkit.signals.recording import Recording, Signal, check_regular, open_recording

SOUND = (".wav", ".flac")
# Ending -> module and function that opens it, the extra that brings the package it needs, and that package.
FORMATS: dict[str, tuple[str, str, str, str]] = {
    ".npy": ("numpy_file", "open_npy", "", ""),
    ".npz": ("numpy_file", "open_npz", "", ""),
    ".csv": ("columns", "open_csv", "", ""),
    ".mat": ("matlab", "open_matlab", "hdf5", "h5py"),
    ".h5": ("hdf5", "open_hdf5", "hdf5", "h5py"),
    ".hdf5": ("hdf5", "open_hdf5", "hdf5", "h5py"),
    ".tdms": ("tdms", "open_tdms", "tdms", "nptdms"),
    ".uff": ("uff", "open_uff", "uff", "pyuff"),
    ".unv": ("uff", "open_uff", "uff", "pyuff"),
    ".parquet": ("columns", "open_parquet", "parquet", "pyarrow"),
}
SUFFIXES = (*SOUND, *FORMATS)


@contextmanager
def open_signal(path: str | Path, signal: Signal | None = None) -> Iterator[Recording | ArrayRecording]:
    """Open a recording of any format; `signal`: what of the file it is, as the dataset description declares it.

    Raises ValueError naming the file where it is broken, or not as declared, or the package that reads it is missing.
    """
    check_regular(path)
    family = FORMATS.get(Path(path).suffix.lower())
    if family is None:
        with open_recording(path, signal) as sound:
            yield sound
        return
    module, function, extra, package = family
    signal = signal or Signal()
    with ExitStack() as stack:
        with named(path):
            try:
                opener = getattr(import_module(f"asdkit.signals.{module}"), function)
                held = stack.enter_context(opener(path, signal.variable))
            except ModuleNotFoundError as error:
                raise ValueError(
                    f"{path}: files of this kind are read by {package or error.name}, which is not installed: "
                    f"tools/setup_env.sh {extra}, or: pip install {package or error.name}"
                ) from None
        yield recorded(path, held, signal)
