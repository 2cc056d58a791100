"""What a run asks of its device: not an answer for each operation, and what it says where its memory is full."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from explain_core.backends.protocol import Target
from explain_core.backends.torch import interpreter, open_runner
from explain_core.backends.torch.infinities import Infinities, InfinityMetError
from explain_core.errors import NoRoomError
from explain_core.preparation.inputs import read_arguments


class Waits(TorchDispatchMode):
    """Counts what has to know a value: on a GPU, each waits until all before it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)
        return func(*args, **(kwargs or {}))


def runner_of(forward, x, **modules):
    model = Net(forward, **modules).eval()
    return open_runner(model, read_arguments(model, x), sample_axes=(0,))


def attribute(runner, x, base):
    return runner.attribute([x], [base], [Target(0, (0,), "0")], gates=False, embeddings=False)


def test_the_number_of_operations_makes_no_difference():
    def waits(depth):
        def forward(net, x):
            for _ in range(depth):
                x = torch.tanh(x) * torch.sigmoid(x) / (1 + x.square().mean(-1, keepdim=True)).sqrt()
                x = torch.maximum(x, net.norm(x))
            return net.rnn(x)[0][:, -1, :1]

        runner = runner_of(forward, x, norm=nn.LayerNorm(3), rnn=nn.GRU(3, 4, batch_first=True))
        attribute(runner, x, base)  # compares with the model itself once for all batches
        with Waits() as seen:
            attribute(runner, x, base)
        return seen.count

    x, base = draw(0, 2, 3, 3), draw(1, 2, 3, 3)
    few, many = waits(1), waits(6)
    assert few == many
    assert many < 15


@pytest.mark.parametrize("function", [lambda x: x.log().clamp(min=-9.0), lambda x: 1 / x.reciprocal()])
def test_a_run_that_meets_an_infinity_begins_anew_and_says_the_same(function, monkeypatch):
    x, base = np.abs(draw(0, 2, 3)), np.zeros((2, 3))
    runner = runner_of(lambda net, x: function(x).sum(1, keepdim=True), x)
    begins = attribute(runner, x, base).attributions[0]
    with Waits() as first:
        again = attribute(runner, x, base).attributions[0]
    assert first.count > 4  # looks at every result from now on
    np.testing.assert_array_equal(begins, again)
    looks = runner_of(lambda net, x: function(x).sum(1, keepdim=True), x)
    looks._meets_infinities = True
    np.testing.assert_array_equal(attribute(looks, x, base).attributions[0], begins)


def test_what_is_not_finite_is_told_in_the_end():
    unseen = Infinities(looks=False)
    assert unseen.absent(torch.ones(2), torch.ones(2, dtype=torch.float64))
    unseen.require_none()
    assert unseen.absent(torch.tensor([1.0, torch.inf]), torch.ones(2))
    with pytest.raises(InfinityMetError):
        unseen.require_none()


def test_a_full_memory_is_no_missing_rule(monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    x = draw(0, 2, 3)
    runner = runner_of(lambda net, x: x.tanh(), x)
    monkeypatch.setattr(interpreter.PairOps, "__call__", full)
    with pytest.raises(NoRoomError, match="out of memory with 2 rows at once: CUDA out of memory"):
        attribute(runner, x, x)
