"""List motors (BLDC) and slide rail (DCASE 2020) as a corpus of egs/custom.

    python3 local/real.py --real FOLDER --out list.csv

FOLDER holds bldc/dev_data/BLDCMotor and dcase2020/dev_data/slider. Of slide rail id_00, 50 clips are trained on and the
others are normal test clips; its anomalies and all clips of the other rails are what is to be found.
"""

import argparse
import csv
import io
from pathlib import Path

from asdkit.utils.files import write_text

TRAINED = 50


def clips_of(real: Path) -> list[tuple[Path, str, str, str]]:
    """Recording, machine, split and condition of every clip; raises ValueError where a folder is missing or empty."""
    found = []
    motors = sorted((real / "bldc/dev_data/BLDCMotor").glob("*/*.flac"))
    rail = real / "dcase2020/dev_data/slider"
    own = sorted((rail / "train").glob("normal_id_00_*.flac"))
    tests = sorted((rail / "test").glob("*.flac"))
    if not motors or len(own) <= TRAINED or not tests:
        raise ValueError(
            f"--real {real}: needs bldc/dev_data/BLDCMotor/*/*.flac and dcase2020/dev_data/slider/*/*.flac"
        )
    for path in motors:
        found.append((path, "BLDCMotor", path.parent.name, "anomaly" if "_anomaly_" in path.name else "normal"))
    for i, path in enumerate(own):
        found.append((path, "slider", "train" if i < TRAINED else "test", "normal"))
    for path in tests:
        normal = path.name.startswith("normal_id_00")
        found.append((path, "slider", "test", "normal" if normal else "anomaly"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "machine", "split", "condition"])
    for path, *others in clips_of(args.real.absolute()):
        rows.writerow([path, *others])
    write_text(args.out, text.getvalue())


if __name__ == "__main__":
    main()
