"""The Triton kernels, compiled for a GPU where there is none; a script with its own process.

The interpreter knows neither types nor the size of a chip, and takes some things that the compiler does not.
"""

from __future__ import annotations

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from explain_core.backends.torch.cuda import BYTES_ON_CHIP
from explain_core.kernels import cuda_cells, cuda_persistent

HOPPER = GPUTarget("cuda", 90, 32)
SIZES, PLACES, FLAGS = {"steps", "rows", "pairs", "units"}, {"test", "base"}, {"KEEP", "HAS_C", "RELU"}
OPTIONAL = {"gates", "all_h", "all_c", "out_c"}


def compiled(kernel, dtype: str, flag: bool, size: int | None, **blocks: int):
    """A kernel for pointers to a type. A size of 1 is known to the compiler, and what is not given is None."""
    signature, constants = {}, {}
    for place, name in enumerate(kernel.arg_names):
        constant = blocks.get(name, flag if name in FLAGS else size if name in SIZES else None)
        if constant is not None or (not flag and name in OPTIONAL):
            signature[name], constants[place,] = "constexpr", constant
        else:
            signature[name] = "i32" if name in SIZES else "*i64" if name in PLACES else f"*{dtype}"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=HOPPER, options={"num_warps": 8})


def main() -> None:
    for name in ("states", "factors", "back"):
        for cell in ("lstm", "gru", "rnn"):
            kernel = getattr(cuda_cells, f"{cell}_{name}")
            single = compiled(kernel, "fp32", True, None, BLOCK=cuda_cells.BLOCK).asm["ptx"]
            assert ".f64" not in single, kernel  # a number written in the code has made it double
        double = compiled(kernel, "fp64", False, 1, BLOCK=cuda_cells.BLOCK).asm["ptx"]  # of the smallest cell
        assert ".f32" not in double, kernel
    for cell in ("lstm", "gru"):
        kernel = getattr(cuda_persistent, f"{cell}_back_all")
        done = compiled(kernel, "fp32", True, None, ROWS=cuda_persistent.ROWS, WIDTH=16)
        assert "tf32" not in done.asm["ptx"]
        assert done.metadata.shared < BYTES_ON_CHIP


if __name__ == "__main__":
    main()
