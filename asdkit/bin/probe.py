"""Linear probe of pre-trained encoders against random weights and log-mels."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Linear probe on labelled clips named <fold>-<id>-<take>-<class> (ESC-10, ESC-50).")
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], help="BEATs file, repeatable")
    parser.add_argument(
        "--random-seeds", type=int, default=3, help="random networks of each file's size to compare with"
    )
    parser.add_argument("--channel", type=int, help="channel of clips that have several")
    parser.add_argument("--out", type=Path, help="also write the accuracies of all folds as JSON")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Probe everything, print a table."""
    args = get_parser().parse_args(argv)
    import numpy as np
    import torch

    from asdkit.encoders.beats import Beats
    from asdkit.encoders.beats_checkpoint import load_beats
    from asdkit.encoders.logmel import Logmel
    from asdkit.pretrain.probe import find_clips, probe
    from asdkit.utils.files import write_json

    clips = find_clips(args.clips)
    results = {"log-mel": probe(Logmel(), clips, "log-mel", args.channel)}
    for path in args.checkpoint:
        encoder = load_beats(path)
        results[str(path)] = probe(encoder, clips, str(path), args.channel)
        runs = []
        for seed in range(args.random_seeds):
            torch.manual_seed(seed)
            runs.append(probe(Beats(encoder.cfg), clips, f"random weights {seed}", args.channel))
        if runs:
            folds = {pooling: np.concatenate([run[pooling] for run in runs]).tolist() for pooling in runs[0]}
            results[f"random weights, size of {path}"] = folds
    if args.out:
        write_json(args.out, results)
    print(f"{'accuracy in %, mean +- deviation over folds':60s} {'mean':>14s} {'mean + std':>14s}")
    for name, result in results.items():
        cells = [f"{np.mean(values):.1f} +- {np.std(values):.1f}" for values in result.values()]
        print(f"{name:60s} {cells[0]:>14s} {cells[1]:>14s}")


if __name__ == "__main__":
    cli.run(main)
