"""The lines of Python that explain a model in the library, for what the app cannot ask a person for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from explain_core.models.loaded import ExpectedInput

_NUMBERS = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")
_NUMPY = (*_NUMBERS, "complex64", "complex128")
_SIZES = ("samples", "timesteps", "features")


def python_lines(file: str, inputs: Sequence[ExpectedInput], time_first: Collection[str] = ()) -> str:
    """A script that opens the model, makes an array of zeros for each input, and explains.

    Args:
        file: the model's file name.
        inputs: what the model takes, in its own layout.
        time_first: names of the inputs that are (time, sample, ...).
    """
    made = {spec.name: _array(spec, spec.name in time_first) for spec in inputs}
    axes = {name: 1 for name in made if name in time_first}
    if len(made) == 1:
        given = [f"inputs = {next(iter(made.values()))}"]
        where = ", sample_axis=1" if axes else ""
    else:
        given = ["inputs = {", *(f"    {name!r}: {array}," for name, array in made.items()), "}"]
        where = f", sample_axis={axes!r}" if axes else ""
    return "\n".join(
        [
            "import numpy as np",
            "import explain_core as xc",
            "",
            "samples, timesteps, features = 1, 10, 3  # put your own numbers in the place of zeros",
            f"model = xc.load_model({file!r})",
            *given,
            f"explanation = xc.explain(model, inputs{where})",
            "print(explanation.residual_in_words())",
        ]
    )


def _array(spec: ExpectedInput, time_first: bool) -> str:
    """An array of zeros; whole numbers in a row are lengths, which are not zero."""
    if spec.shape is None:
        return "np.zeros((samples, timesteps, features), 'float32')"
    names = list(_SIZES)
    if time_first:
        names[:2] = names[1], names[0]
    sizes = [str(size) if size is not None else names[min(k, 2)] for k, size in enumerate(spec.shape)]
    shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
    kind = spec.dtype if spec.dtype in _NUMPY else "float32"
    if len(sizes) == 1 and kind.startswith("int"):
        return f"np.full({shape}, timesteps, {kind!r})"
    return f"np.ones({shape}, bool)" if kind == "bool" else f"np.zeros({shape}, {kind!r})"
