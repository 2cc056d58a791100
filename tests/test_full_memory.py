"""What does not fit into memory is explained in halves, and comes out the same."""

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.backends.torch import runner as runners
from explain_core.errors import NoRoomError

rng = np.random.default_rng(0)
X = rng.normal(size=(10, 6, 3))
BACKGROUND = rng.normal(size=(3, 6, 3))


class Model(nn.Module):
    """A recurrent model on a card that has room for ``most`` rows, full in one of the ways that PyTorch tells."""

    def __init__(self, most, full):
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)
        self.most, self.full = most, full
        self.double().eval()

    def forward(self, x):
        if len(x) > self.most:
            raise self.full
        return self.head(self.lstm(x)[0][:, -1])


CARD = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
PROCESSOR = RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("full", [CARD, PROCESSOR, MemoryError("no")], ids=["card", "processor", "python"])
@pytest.mark.parametrize("background", [False, True])
def test_a_model_that_runs_out_of_memory_is_opened_with_half(full, background):
    baselines = BACKGROUND if background else "zeros"
    expected = xc.explain(Model(1000, full), X, baselines, background=background, device="cpu")
    found = xc.explain(Model(3, full), X, baselines, background=background, device="cpu")
    np.testing.assert_allclose(found.attributions, expected.attributions, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-15)


@pytest.mark.parametrize("full", [CARD, PROCESSOR], ids=["card", "processor"])
def test_an_explanation_that_runs_out_of_memory_goes_on_in_halves(full, monkeypatch):
    """Explaining takes more than running the model does."""
    rows, explain = [], runners.run_graph

    def full_at_four(graph, inputs, ops, place):
        rows.append(len(inputs[0].test))
        if rows[-1] > 4:
            raise full
        return explain(graph, inputs, ops, place)

    expected = xc.explain(Model(1000, full), X, device="cpu")
    monkeypatch.setattr(runners, "run_graph", full_at_four)
    found = xc.explain(Model(1000, full), X, device="cpu")
    assert rows == [10, 5, 2, 2, 2, 2, 2]
    np.testing.assert_allclose(found.attributions, expected.attributions, rtol=0, atol=1e-14)


def test_where_one_row_does_not_fit_that_is_said():
    with pytest.raises(NoRoomError, match="out of memory with one row: CUDA out of memory") as caught:
        xc.explain(Model(0, CARD), X, device="cpu")
    assert "fewer timesteps" in caught.value.hint
