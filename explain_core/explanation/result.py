"""The result of an explanation: labelled arrays, and the questions people ask of them."""

from __future__ import annotations

import html
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import InputError, TargetError
from explain_core.explanation.arrays import Arrays, by_name, mapped
from explain_core.explanation.in_words import described, residual_in_words
from explain_core.explanation.labels import position_of, positions_of
from explain_core.explanation.sums import by_sample, summed
from explain_core.explanation.tables import to_dataframe, to_shap

if TYPE_CHECKING:
    from os import PathLike

    import shap

#: What rounding alone may leave of ``|residual| / sum|attributions|``, by precision.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@dataclass(eq=False, repr=False)
class Explanation:
    """How much every value of the input moved each explained output away from the baseline's.

    Made by `explain_core.explain`, through `build.py`. ``attributions``, ``inputs`` and
    ``baselines`` are one `xarray.DataArray` where one input is explained, and a dict of them by input name
    where there are several. The dimension ``output`` of ``attributions`` and ``gates`` is there when more
    than one output is explained; ``prediction`` and ``baseline_prediction`` always have (sample, output).
    Attributions are in the unit of the output. ``diagnostics`` has tables of `explain_core.diagnostics` by name,
    which are saved with the explanation; columns ``sample`` and ``output``, where a table has them, hold labels.
    """

    attributions: Arrays
    inputs: Arrays
    baselines: Arrays
    prediction: xr.DataArray
    baseline_prediction: xr.DataArray
    gates: dict[str, xr.Dataset] = field(default_factory=dict)
    embedding_attributions: dict[str, xr.DataArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    diagnostics: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def input_names(self) -> list[str]:
        """Names of the explained inputs."""
        return list(by_name(self.attributions))

    @property
    def samples(self) -> np.ndarray:
        """Labels of the samples."""
        return self.prediction["sample"].values

    @property
    def outputs(self) -> list[str]:
        """Labels of the explained outputs."""
        return [str(label) for label in self.prediction["output"].values]

    @property
    def residual(self) -> xr.DataArray:
        """``sum(attributions) - (prediction - baseline_prediction)``, (sample, output), summed in float64."""
        return self._by_sample(summed(self.attributions) - self._changes, "residual")

    @property
    def attribution_size(self) -> xr.DataArray:
        """``sum|attributions|``, (sample, output), over all explained inputs, summed in float64."""
        return self._by_sample(summed(self.attributions, np.abs), "attribution_size")

    @property
    def relative_residual(self) -> xr.DataArray:
        """``|residual| / sum|attributions|``, (sample, output); 0 where both are 0."""
        size, off = summed(self.attributions, np.abs), np.abs(summed(self.attributions) - self._changes)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._by_sample(np.where((size == 0) & (off == 0), 0.0, off / size), "relative_residual")

    @property
    def cancellation(self) -> xr.DataArray:
        """``sum|attributions| / |prediction - baseline_prediction|``, (sample, output); 1 where nothing cancels.

        Infinite where there are attributions and no change, 1 where there is neither.
        """
        size = summed(self.attributions, np.abs)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._by_sample(np.where(size == 0, 1.0, size / np.abs(self._changes)), "cancellation")

    @property
    def tolerance(self) -> float:
        """The largest relative residual that rounding explains: at this precision, or as measured for this result."""
        dtype = self.attrs.get("dtype") or str(next(iter(by_name(self.attributions).values())).dtype)
        return max(TOLERANCE.get(dtype, TOLERANCE["float32"]), self.attrs.get("rounding", 0.0))

    def adds_up(self, sample: Any = None, output: Any = 0) -> bool:
        """Whether rounding alone explains the residual of one sample and output."""
        one = self._one(self.sample_position(sample), self.output_position(output))
        if float(one.relative_residual[0, 0]) <= self.tolerance:
            return True
        # The difference of two large predictions keeps the rounding of the large ones.
        largest = np.abs([one.prediction, one.baseline_prediction]).max()
        rounding = 4 * float(np.finfo(self.prediction.dtype).eps) * float(largest)
        return abs(float(one.residual[0, 0])) <= rounding

    def residual_in_words(self, sample: Any = None, output: Any = 0) -> str:
        """Say whether the attributions of one sample and output add up, e.g. ``"adds up: off by 3e-8"``.

        Args:
            sample, output: label, or position where labels are text; ``sample`` None is the first.
        """
        return residual_in_words(self._one(self.sample_position(sample), self.output_position(output)))

    def sel(self, sample: Any = None, output: Any = None) -> Explanation:
        """The explanation of some samples and outputs only.

        Args:
            sample, output: a label, a list of labels or a slice of positions; a number is a position where
                the labels are text. One output alone drops the ``output`` dimension of ``attributions``.

        Raises:
            InputError: no such sample.
            TargetError: no such output.
        """
        indexers: dict[str, list[int]] = {}
        if sample is not None:
            indexers["sample"] = positions_of(sample, self.samples, "sample", InputError)
        if output is not None:
            indexers["output"] = positions_of(output, self.prediction["output"].values, "output", TargetError)
        one_output = len(indexers.get("output", ())) == 1

        def pick(array):
            array = array.isel(indexers, missing_dims="ignore")
            return array.isel(output=0, drop=True) if one_output and "output" in array.dims else array

        return replace(
            self,
            attributions=mapped(pick, self.attributions),
            inputs=mapped(pick, self.inputs),
            baselines=mapped(pick, self.baselines),
            prediction=self.prediction.isel(indexers),
            baseline_prediction=self.baseline_prediction.isel(indexers),
            gates={name: pick(gates) for name, gates in self.gates.items()},
            embedding_attributions={n: pick(a) for n, a in self.embedding_attributions.items()},
            attrs=self._attrs_of(indexers),
            diagnostics={name: self._rows_of(table, indexers) for name, table in self.diagnostics.items()},
        )

    def _attrs_of(self, indexers: dict[str, list[int]]) -> dict[str, Any]:
        """Of what is kept for each output and sample, that of the chosen ones: which output each sample's own is."""
        if "targets" not in self.attrs:
            return self.attrs
        labels = np.array(self.outputs)[indexers.get("output", slice(None))]
        samples = indexers.get("sample", range(len(self.samples)))
        own = {label: [each[n] for n in samples] for label, each in self.attrs["targets"].items() if label in labels}
        rest = {name: value for name, value in self.attrs.items() if name != "targets"}
        return rest | ({"targets": own} if own else {})

    def _rows_of(self, table: pd.DataFrame, indexers: dict[str, list[int]]) -> pd.DataFrame:
        """The rows of a table that are about the chosen samples and outputs, and of tables in its ``attrs``."""
        chosen = {axis: self.prediction[axis].values[positions] for axis, positions in indexers.items()}

        def kept(rows: pd.DataFrame) -> np.ndarray:
            about = [rows[axis].isin(labels).to_numpy() for axis, labels in chosen.items() if axis in rows.columns]
            return np.logical_and.reduce(about) if about else np.ones(len(rows), bool)

        found = table[kept(table)].reset_index(drop=True)
        found.attrs = dict(table.attrs)
        for name, value in table.attrs.items():
            if isinstance(value, list) and value and all(isinstance(record, dict) for record in value):
                found.attrs[name] = [value[i] for i in np.flatnonzero(kept(pd.DataFrame(value)))]
        return found

    def sample_position(self, sample: Any) -> int:
        """Position of a sample given by label, or by number where labels are text; None is the first."""
        return 0 if sample is None else position_of(sample, self.samples, "sample", InputError)

    def output_position(self, output: Any) -> int:
        """Position of an output given by label or by number."""
        return position_of(output, self.prediction["output"].values, "output", TargetError)

    def by_time(self) -> Arrays:
        """Totals per timestep, (output,) sample, time; inputs without a time axis are left out."""
        return self._totals("time")

    def by_feature(self) -> Arrays:
        """Totals per feature, (output,) sample, feature; inputs without a feature axis are left out."""
        return self._totals("feature")

    def save(self, path: str | PathLike) -> None:
        """Write everything to a NetCDF 4 file; `load` gives back the same values bit for bit."""
        from explain_core.explanation.file import write  # h5py, which is not needed before

        write(self, path)

    @classmethod
    def load(cls, path: str | PathLike) -> Explanation:
        """Read a file that `save` wrote. Never runs code from the file.

        Raises:
            ExplanationFileError: the file is missing, damaged or was not written by `save`.
        """
        from explain_core.explanation.file import read

        return cls(**read(path))

    def to_shap(self, by: str = "timestep_feature") -> shap.Explanation:
        """As a `shap.Explanation` that shap's own plots accept; needs the package ``shap``.

        Args:
            by: ``"timestep_feature"`` has a column per value, named ``feature@time``; ``"feature"`` and
                ``"time"`` have the totals, and as data the mean input over what was summed.

        Returns:
            values (sample, column) or, with several outputs, (sample, column, output), of which shap's plots
            take one: ``result[:, :, 0]`` or ``result[:, :, "label"]``.
        """
        return to_shap(self, by)

    def to_dataframe(self) -> pd.DataFrame:
        """Long form, a row per sample, output and input value.

        Columns: sample, output, input, the axes of the inputs (time, feature), value, baseline, attribution,
        and share: the attribution over the sum of all |attributions| for that sample and output. Padding after a
        sample's length has no rows, unless it has attributions: those of all rows are the whole sum.
        """
        return to_dataframe(self)

    @property
    def _changes(self) -> np.ndarray:
        """``prediction - baseline_prediction``, (sample, output) in float64."""
        return by_sample(self.prediction) - by_sample(self.baseline_prediction)

    def _by_sample(self, values: np.ndarray, name: str) -> xr.DataArray:
        """One number for each sample and output, with their labels."""
        labels = {dim: self.prediction[dim].variable for dim in ("sample", "output")}
        return xr.DataArray(values, labels, ("sample", "output"), name)

    def require_axis(self, axis: str) -> None:
        """Refuse to total over an axis that no explained input has.

        Raises:
            InputError: says which they have.
        """
        dims = {name: part.dims for name, part in by_name(self.inputs).items()}
        if not any(axis in of_input for of_input in dims.values()):
            raise InputError(
                f"No explained input has an axis called {axis!r}; they have {dims}.",
                hint="Sum over the others: attributions.sum(dim). Names that the inputs come with are kept: "
                'explain(model, xarray.DataArray(x, dims=("sample", "time", "feature")), ...).',
            )

    def _totals(self, axis: str) -> Arrays:
        self.require_axis(axis)
        totals = {}
        for name, part in by_name(self.attributions).items():
            if axis in part.dims:
                rest = [dim for dim in part.dims if dim not in ("output", "sample", axis)]
                totals[name] = part.astype(np.float64).sum(rest, skipna=False).rename(name)
        return totals if isinstance(self.attributions, dict) else next(iter(totals.values()))

    def _one(self, row: int, column: int) -> Explanation:
        """One sample and output by position, so that nothing is summed for the others."""
        return replace(self, gates={}, embedding_attributions={}, diagnostics={}).sel(
            slice(row, row + 1), slice(column, column + 1)
        )

    def __repr__(self) -> str:
        worst = None
        if self.prediction.size:
            row, column = map(int, np.unravel_index(self.relative_residual.values.argmax(), self.prediction.shape))
            worst = self._one(row, column)
        return described(self, by_name(self.attributions), worst)

    def _repr_html_(self) -> str:
        arrays = "".join(
            f"<details><summary>{html.escape(name)}</summary>{part._repr_html_()}</details>"
            for name, part in by_name(self.attributions).items()
        )
        return f"<pre>{html.escape(repr(self))}</pre>{arrays}"
