"""The README's tables, one after the other: `make bench`, or `make bench BENCH_FLAGS="--markdown --threads 1"`."""

from __future__ import annotations

import argparse

from benchmarks import background, long_sequences, overheads, peers, speed


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="Other flags go to benchmarks.speed."
    )
    parser.add_argument("--markdown", action="store_true", help="tables as in the README")
    options, for_speed = parser.parse_known_args()
    flags = ["--markdown"] if options.markdown else []
    peers.main(flags)
    print()
    speed.main(flags + for_speed)
    print()
    background.main(flags)
    for cell in ("LSTM", "GRU", "RNN"):
        print()
        overheads.main([*flags, "--cell", cell, "--rounds", "5"])
    print()
    long_sequences.main(flags)


if __name__ == "__main__":
    main()
