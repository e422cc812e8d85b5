"""Stage 0: fetch and unpack the recordings of a challenge year."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Command line of the download."""
    parser = cli.parser("Fetch a corpus's archives and ground truth, check and unpack them. What is done is skipped.")
    parser.add_argument("--download", default="conf/download.yaml", help="what to fetch")
    parser.add_argument("--dataset", default="conf/dataset.yaml", help="machines and folders")
    parser.add_argument("--out", default="downloads", help="folder to write; the archives stay in <out>/archives")
    parser.add_argument("--jobs", type=int, default=4, help="archives fetched at a time")
    parser.add_argument("--machines", help="only these machines, separated by commas")
    parser.add_argument("--recordings", type=cli.boolean, default=True, help="false: the ground truth alone")
    parser.add_argument("--unpack", type=cli.boolean, default=True, help="false: leave the archives packed")
    parser.add_argument("--dry-run", type=cli.boolean, default=False, help="true: print what would be fetched, no more")
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: check and unpack again what is done")
    parser.add_argument("--api", help="REST interface of the records (default: Zenodo's)")
    parser.add_argument("--codeload", help="server of the repositories' zips (default: GitHub's)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Plan, fetch, unpack; prints the licences."""
    args = get_parser().parse_args(argv)
    from asdkit.corpus import description
    from asdkit.fetch import download, records

    if args.jobs < 1:
        raise ValueError(f"--jobs is a number from 1, not {args.jobs}")
    what = description.load_description(args.dataset)
    plan = records.load_plan(args.download)
    archives = records.archives(plan, what, args.machines.split(",") if args.machines else None, args.download)
    archives = archives if args.recordings else []
    truth = records.truth_path(plan, what, args.download)
    servers = {key: value.rstrip("/") for key in ("api", "codeload") if (value := getattr(args, key))}
    transfer = download.Transfer(Path(args.out), unpack=args.unpack, jobs=args.jobs, force=args.force, **servers)
    print(f"licence of the recordings: {plan.licence}")
    if plan.ground_truth:
        print(f"licence of the ground truth: {plan.ground_truth.licence}")
    if args.dry_run:
        print("\n".join(download.describe(plan, archives, truth, transfer)))
        return
    download.download(plan, archives, truth, transfer)
    print(f"{args.out}: complete ({len(archives)} archives)")


if __name__ == "__main__":
    cli.run(main)
