#!/usr/bin/env bash
# Everything that is to be measured on a machine with a GPU, in under six minutes: PyTorch, Triton and NumPy are enough.
# Tables are printed, and figures go to $OUT, or to benchmarks/results/. `--device cpu --quick` tries it without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
exec timeout --signal=INT 355 "${PYTHON:-python3}" -m benchmarks.gpu "$@"
