"""A round of pseudo-labels: seconds to cluster the embeddings of a year.

PYTHONPATH=. python test/benchmark/pseudo_labels.py [--machines 18] [--clips 3000] [--dims 768] [--method kmeans]

Machines one after the other, from 2 to 16 clusters chosen by silhouette, as `train.pseudo_labels` does by default.
"""

import argparse
import os
import time

import numpy as np

from asdkit.config import PseudoLabelsConfig
from asdkit.train.pseudo_labels import cluster


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=18, help="groups that are clustered one by one")
    parser.add_argument("--clips", type=int, default=3000, help="of a machine")
    parser.add_argument("--dims", type=int, default=768, help="of an embedding")
    parser.add_argument(
        "--method", choices=("kmeans", "agglomerative"), default="kmeans", help="as in the configuration"
    )
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    spent, counts = 0.0, []
    for _ in range(args.machines):
        centres = rng.normal(size=(7, args.dims))
        x = centres[rng.integers(7, size=args.clips)] + 2 * rng.normal(size=(args.clips, args.dims))
        began = time.perf_counter()
        found, _ = cluster(x.astype(np.float32), PseudoLabelsConfig(method=args.method), 0)
        spent += time.perf_counter() - began
        counts.append(len(np.unique(found)))
    total = args.machines * args.clips
    load = os.getloadavg()[0]
    print(f"{args.method}: {total} embeddings of {args.dims}: {spent:.1f} s (clusters {counts}, load {load:.1f})")


if __name__ == "__main__":
    main()
