"""Layer-wise relevance propagation of PyTorch models as people write them, and of what they ask it for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from exactness import Net, draw, unchanged
from relevance_agreement import absorbed, assert_adds_up, relevances
from torch import nn

from explain_core import Explanation
from explain_core.errors import CompletenessError, InputError
from explain_core.methods import explain_with

SAMPLES, STEPS, FEATURES, HIDDEN, OUTPUTS = 2, 4, 3, 4, 2


def drawn(forward: Callable, seed: int = 0, **modules: nn.Module) -> nn.Module:
    net = Net(forward, **modules, head=nn.Linear(HIDDEN, OUTPUTS)).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.7 * torch.randn(weight.shape, generator=generator))
    return net


def relevance(net: nn.Module, inputs: np.ndarray, epsilon: float = 1e-3, **options) -> Explanation:
    with unchanged(net):
        return explain_with("lrp", net, inputs, epsilon=epsilon, device="cpu", **options)


def assert_alike(found: Explanation, expected: Explanation) -> None:
    """The same relevances, and as much of each kind absorbed."""
    assert_adds_up(found, "float64")
    for part, wanted in zip(relevances(found), relevances(expected), strict=True):
        np.testing.assert_allclose(part, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    for by in ("biases", "stabilizer"):
        wanted = absorbed(expected, by)
        np.testing.assert_allclose(absorbed(found, by), wanted, rtol=0, atol=1e-11 * max(1, np.abs(wanted).max()))


def x_of() -> np.ndarray:
    return draw(0, SAMPLES, STEPS, FEATURES)


# --- What is written in place is what was written out of place -----------------------------------------------


def cells_in_a_list(net: Net, x: torch.Tensor) -> torch.Tensor:
    h, outputs = x.new_zeros(len(x), HIDDEN), []
    for x_t in x.unbind(1):
        h = net.a(x_t, h)
        outputs.append(h)
    return net.head(torch.stack(outputs, 1).mean(1))


def cells_in_a_buffer(net: Net, x: torch.Tensor) -> torch.Tensor:
    h, outputs = x.new_zeros(len(x), HIDDEN), x.new_empty(*x.shape[:2], HIDDEN)
    for t in range(x.shape[1]):
        h = net.a(x[:, t], h)
        outputs[:, t] = h
    return net.head(outputs.mean(1))


def state_in_new_tensors(net: Net, x: torch.Tensor) -> torch.Tensor:
    c = x.new_zeros(len(x), HIDDEN)
    for x_t in x.unbind(1):
        z = torch.sigmoid(net.a(x_t))
        c = z * c + (1 - z) * torch.tanh(net.b(x_t))
    return net.head(c)


def state_in_one_tensor(net: Net, x: torch.Tensor) -> torch.Tensor:
    c = x.new_zeros(len(x), HIDDEN)
    for x_t in x.unbind(1):
        z = torch.sigmoid(net.a(x_t))
        c.mul_(z).add_((1 - z) * torch.tanh(net.b(x_t)))
    return net.head(c)


def gate(net: Net, x: torch.Tensor) -> torch.Tensor:
    return net.head((net.a(x).sigmoid() * net.b(x)).sum(1))


def gate_written_over(net: Net, x: torch.Tensor) -> torch.Tensor:
    return net.head(torch.sigmoid_(net.a(x)).mul_(net.b(x)).sum(1))


def skip(net: Net, x: torch.Tensor) -> torch.Tensor:
    h = torch.relu(net.a(x))
    return net.head(((h + net.b(h.tanh())) * 2 - 1).mean(1))


def skip_written_over(net: Net, x: torch.Tensor) -> torch.Tensor:
    h = torch.relu_(net.a(x))
    h += net.b(h.tanh())
    h *= 2
    h -= 1
    return net.head(h.mean(1))


def embedded(net: Net, ids: torch.Tensor) -> torch.Tensor:
    return net.head((net.a(ids) + 1.5).mul(2)[:, 1:].tanh().sum(1))


def embedded_written_over(net: Net, ids: torch.Tensor) -> torch.Tensor:
    e = net.a(ids)
    e += 1.5
    e.mul_(2).tanh_()
    e[:, 0] = 0
    return net.head(e.sum(1))


def layer(net: Net, x: torch.Tensor) -> torch.Tensor:
    return net.head((net.a(x)[0] * 0.5)[:, 1:].sum(1))


def layer_written_over(net: Net, x: torch.Tensor) -> torch.Tensor:
    y, _ = net.a(x)
    y *= 0.5
    y[:, 0] = 0
    return net.head(y.sum(1))


def two() -> dict[str, nn.Module]:
    return {"a": nn.Linear(FEATURES, HIDDEN), "b": nn.Linear(FEATURES, HIDDEN)}


# By name what writes in place, what does not, and their modules.
IN_PLACE: dict[str, tuple[Callable, Callable, Callable[[], dict[str, nn.Module]]]] = {
    "outputs": (cells_in_a_buffer, cells_in_a_list, lambda: {"a": nn.GRUCell(FEATURES, HIDDEN)}),
    "state": (state_in_one_tensor, state_in_new_tensors, two),
    "gate": (gate_written_over, gate, two),
    "skip": (skip_written_over, skip, lambda: {"a": nn.Linear(FEATURES, HIDDEN), "b": nn.Linear(HIDDEN, HIDDEN)}),
    "embedding": (embedded_written_over, embedded, lambda: {"a": nn.Embedding(7, HIDDEN)}),
    "layer": (layer_written_over, layer, lambda: {"a": nn.LSTM(FEATURES, HIDDEN, batch_first=True)}),
}


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_written_in_place(name, epsilon):
    written, plain, modules = IN_PLACE[name]
    x = x_of()
    if name == "embedding":
        x = np.random.default_rng(0).integers(0, 7, (SAMPLES, STEPS))
    found = relevance(drawn(written, **modules()), x, epsilon)
    assert_alike(found, relevance(drawn(plain, **modules()), x, epsilon))


# --- Forms of one model --------------------------------------------------------------------------------------


def products(net: Net, x: torch.Tensor) -> torch.Tensor:
    a, b = net.a(x), net.b(x)
    return net.head((0.5 * x[:, :HIDDEN, :1] + 2 * (a @ b)).sum(1))


def products_in_one(net: Net, x: torch.Tensor) -> torch.Tensor:
    start = x[:, :HIDDEN, :1].expand(-1, -1, HIDDEN).contiguous()
    return net.head(torch.baddbmm(start, net.a(x), net.b(x), beta=0.5, alpha=2).sum(1))


def test_a_product_and_what_is_added_to_it_in_one_operation():
    x = draw(0, SAMPLES, HIDDEN, FEATURES)
    found = relevance(drawn(products_in_one, **two()), x, 0.0)
    assert_alike(found, relevance(drawn(products, **two()), x, 0.0))


def test_the_parts_of_complex_numbers():
    """The real and the imaginary part of a spectrum are sums over time with cosines and sines as their weights."""
    turns = torch.arange(3).double()[:, None] * torch.arange(STEPS) * (2 * torch.pi / STEPS)
    waves = turns.cos() - turns.sin()

    def spectrum(net, x):
        return net.head(torch.view_as_real(torch.fft.rfft(net.a(x), dim=1)).sum((1, 3)))

    found = relevance(drawn(spectrum, **two()), x_of(), 0.0)
    assert_alike(found, relevance(drawn(lambda net, x: net.head((waves @ net.a(x)).sum(1)), **two()), x_of(), 0.0))


@pytest.mark.parametrize("epsilon", [0.0, 1e-3])
def test_a_constant_output_is_a_bias(epsilon):
    """Also one that only a gate of a constant leads to."""
    constant = torch.from_numpy(draw(1, 1, HIDDEN))
    gated = lambda net, x: net.head(net.a(x[:, 0]).sigmoid() * constant)  # noqa: E731
    for forward in (gated, lambda net, x: net.head.bias.expand(len(x), -1)):
        found = relevance(drawn(forward, **two()), x_of(), epsilon)
        assert_adds_up(found, "float64")
        assert not relevances(found)[0].any()
        np.testing.assert_allclose(absorbed(found, "biases"), found.prediction.values.T, rtol=1e-12)


# --- ε -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "epsilon", [-1, float("nan"), float("inf"), pytest.param(10**400, id="too large"), "0.1", None, 1j, [0.1]]
)
def test_an_epsilon_that_is_none_is_said(epsilon):
    with pytest.raises(InputError, match="epsilon is"):
        relevance(drawn(gate, **two()), x_of(), epsilon)


@pytest.mark.parametrize("epsilon", [1, np.float32(0.5), 1e300])
def test_an_epsilon_of_any_size_is_kept_in_files(epsilon, tmp_path):
    found = relevance(drawn(gate, **two()), x_of(), epsilon)
    assert_adds_up(found, "float64")
    found.save(tmp_path / "e.nc")
    loaded = Explanation.load(tmp_path / "e.nc")
    assert loaded.attrs["options"] == {"epsilon": epsilon}
    assert loaded.diagnostics["absorbed"].equals(found.diagnostics["absorbed"])


def small_differences(net: Net, x: torch.Tensor) -> torch.Tensor:
    """Ten sums of about 1e-4, of values of about 1."""
    h = x
    for _ in range(10):
        h = (h - 0.9999).cos()
    return net.head(h)


def test_relevances_that_cancel_ask_for_a_larger_epsilon():
    net, x = drawn(small_differences), np.ones((SAMPLES, HIDDEN))
    assert any("cancel" in note and "A larger epsilon" in note for note in relevance(net, x, 0.0).notes)
    assert not any("cancel" in note for note in relevance(net, x, 1.0).notes)


def test_relevances_that_overflow_ask_for_a_larger_epsilon():
    net, x = drawn(small_differences).float(), np.ones((SAMPLES, HIDDEN), dtype=np.float32)
    with pytest.raises(CompletenessError, match="A larger epsilon"):
        relevance(net, x, 0.0)
    assert_adds_up(relevance(net, x, 1.0), "float32")


# --- Programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_traced_cell_has_what_the_cell_has(cell):
    """Traced, its gates are opened in place, in parts of the memory that all share, and at first of constants."""

    def forward(net, x):
        state = None
        for x_t in x.unbind(1):
            state = net.cell(x_t, state)
        return net.head(state[0] if cell is nn.LSTMCell else state)

    net = drawn(forward, cell=cell(FEATURES, HIDDEN))
    traced = torch.jit.trace(net, torch.zeros(SAMPLES, STEPS, FEATURES, dtype=torch.float64))
    found, expected = relevance(traced, x_of(), 0.0), relevance(net, x_of(), 0.0)
    (parts,), (wanted,) = relevances(found), relevances(expected)
    np.testing.assert_allclose(parts, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    assert_adds_up(found, "float64")


def test_what_comes_to_a_constant_that_is_written_into_is_absorbed():
    def forward(net, x):
        first, second = (net.constant * 1.0).chunk(2, 1)
        first.mul_(net.wide(x[:, 0]))
        second.mul_(2)
        return net.head(first + second)

    net = drawn(forward, wide=nn.Linear(FEATURES, HIDDEN))
    net.constant = nn.Parameter(torch.linspace(0.3, 1.7, 2 * HIDDEN, dtype=torch.float64)[None])
    found = relevance(net, x_of()[:1], 0.0)
    assert_adds_up(found, "float64")
    with torch.no_grad():
        first, second = net.constant.chunk(2, 1)
        of_second = (net.head.weight * 2 * second).sum(1) + net.head.bias
        product = (net.head.weight * first * net.wide(torch.from_numpy(x_of()[:1, 0]))).sum(1)
        of_bias = (net.head.weight * first * net.wide.bias).sum(1)
    # Of the product of two signals each has half; the constant's half is absorbed, and of the other that of its bias.
    wanted = of_second + 0.5 * product + 0.5 * of_bias
    np.testing.assert_allclose(absorbed(found, "biases")[:, 0], wanted, rtol=1e-12)


@pytest.mark.parametrize("again", [False, True], ids=["as it is", "written over"])
def test_parts_of_one_memory_are_told_apart(again):
    """A gate and a signal side by side; a gate that was written over is none any more."""

    def forward(net, x):
        both = net.wide(x[:, 0]) + 0.0
        gate, signal = both.chunk(2, 1)
        gate.sigmoid_()
        signal.tanh_()
        if again:
            both[:, 1:-1].mul_(net.narrow(x[:, 1]))
        return net.head(gate * signal)

    def plain(net, x):
        gate, signal = net.wide(x[:, 0]).chunk(2, 1)
        both = torch.cat([torch.sigmoid(gate), torch.tanh(signal)], 1)
        if again:
            both = torch.cat([both[:, :1], both[:, 1:-1] * net.narrow(x[:, 1]), both[:, -1:]], 1)
        gate, signal = both.chunk(2, 1)
        return net.head(gate * signal if again else torch.sigmoid(net.wide(x[:, 0])[:, :HIDDEN]) * signal)

    modules = {"wide": nn.Linear(FEATURES, 2 * HIDDEN), "narrow": nn.Linear(FEATURES, 2 * HIDDEN - 2)}
    found, expected = (relevances(relevance(drawn(f, **modules), x_of(), 0.0))[0] for f in (forward, plain))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
