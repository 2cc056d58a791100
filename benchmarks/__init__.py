"""The measured tables of the README: `python -m benchmarks`, or one of `benchmarks.peers` and `benchmarks.speed`."""
