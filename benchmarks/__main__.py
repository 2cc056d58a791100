"""Both tables, one after the other; `make bench`."""

from __future__ import annotations

import argparse

from benchmarks import peers, speed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="tables as in the README")
    options = parser.parse_args()
    flags = ["--markdown"] if options.markdown else []
    peers.main(flags)
    print()
    speed.main(flags)


if __name__ == "__main__":
    main()
