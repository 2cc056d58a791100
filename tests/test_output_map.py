"""The map of output steps, and explanations put together of blocks."""

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.errors import InputError
from explain_core.explanation.joining import folded, joined, with_input_first, with_outputs
from explain_core.figures.output_map import output_map, output_map_figure

STEPS, FEATURES = 7, 3


class EachStep(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(FEATURES, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


@pytest.fixture(scope="module")
def whole():
    x = np.random.default_rng(0).normal(size=(2, STEPS, FEATURES)).astype("float32")
    return xc.explain(EachStep(), x, target=[(i, 0) for i in range(STEPS)])


def test_blocks_of_outputs_are_the_same_as_all_at_once(whole):
    x = whole.inputs.values
    parts = [xc.explain(EachStep(), x, target=[(i, 0) for i in block]) for block in ((0, 1, 2), (3, 4), (5, 6))]
    found = joined(parts)
    assert found.outputs == whole.outputs
    np.testing.assert_allclose(found.attributions.values, whole.attributions.values, atol=1e-7)
    np.testing.assert_array_equal(found.prediction.values, whole.prediction.values)
    for name, gates in whole.gates.items():
        for part in gates:
            assert found.gates[name][part].dims == gates[part].dims
            np.testing.assert_allclose(found.gates[name][part].values, gates[part].values, atol=1e-7)
    with pytest.raises(InputError, match="is there 2 times"):
        joined([parts[0], parts[0]])
    named = with_outputs(found, [f"Step {i + 1}" for i in range(STEPS)])
    one = named.sel(output="Step 3")
    np.testing.assert_array_equal(one.attributions.values, found.sel(output=[2]).attributions.values)


def test_every_row_of_the_map_adds_up_to_what_its_output_moved(whole):
    for sample in range(2):
        found = output_map(whole, sample)
        assert found.values.shape == (STEPS, STEPS)
        moved = (whole.prediction - whole.baseline_prediction).values[sample]
        np.testing.assert_allclose(found.values.sum(axis=1), moved, atol=1e-6)
        assert (found.values[np.triu_indices(STEPS, 1)] == 0).all()  # nothing comes from later steps
    figure = output_map_figure(found, found.outputs[2], theme="dark")
    np.testing.assert_array_equal(np.array(figure.data[0].z), found.values)
    assert (figure.layout.shapes[0].y0, figure.layout.shapes[0].y1) == (1.5, 2.5)
    axis = figure.layout.coloraxis
    assert axis.cmax == -axis.cmin > 0
    row, column = np.unravel_index(np.abs(found.values).argmax(), found.values.shape)
    assert f"input step {column + 1} moved {found.outputs[row]}" in found.alt


def test_columns_of_a_long_map_are_sums(whole):
    long = xc.explain(EachStep(), np.ones((1, 3000, FEATURES), "float32"), target=[(2999, 0), (5, 0)], keep_gates=False)
    found = output_map(long)
    z = np.array(output_map_figure(found).data[0].z)
    assert z.shape[1] < 3000
    np.testing.assert_allclose(z.sum(axis=1), found.values.sum(axis=1), atol=1e-9)


def test_one_output_has_no_map(whole):
    with pytest.raises(InputError, match="several outputs"):
        output_map(whole.sel(output=0))


class Image(nn.Module):
    def forward(self, film, other):
        return (film.flatten(2).sum(2) * film[:, :, 0, 0, 0]).sum(1, keepdim=True) + other


def test_folding_keeps_the_sum_and_the_order_of_inputs():
    film = np.random.default_rng(1).normal(size=(1, 4, 2, 3, 3)).astype("float32")
    whole = xc.explain(Image(), {"film": film, "other": np.ones((1, 1), "float32")})
    named = {**whole.attributions, "film": whole.attributions["film"]}
    assert list(named) == ["film", "other"]
    dims = whole.attributions["film"].dims
    rename = dict(zip(dims, ("sample", "time", "channel", "height", "width"), strict=True))

    def change(arrays):
        return {name: array.rename(rename) if name == "film" else array for name, array in arrays.items()}

    for field in ("attributions", "inputs", "baselines"):
        setattr(whole, field, change(getattr(whole, field)))
    small = folded(whole)
    assert small.attributions["film"].dims == ("sample", "time", "feature")
    np.testing.assert_allclose(
        small.attributions["film"].values, whole.attributions["film"].values.sum(axis=(3, 4)), atol=1e-5
    )
    np.testing.assert_allclose(small.inputs["film"].values, film.mean(axis=(3, 4)), atol=1e-6)
    assert small.adds_up()
    assert with_input_first(small, "other").input_names == ["other", "film"]
