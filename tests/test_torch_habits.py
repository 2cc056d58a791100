"""How people really write recurrent models: start states, bookkeeping of lengths, wrappers, and tricks with gradients.

Each model computes the same as a plain one, so it must be explained like the plain one, element by element.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import FEATURES, SAMPLES, STEPS
from exactness import Net, arrays, draw, unchanged
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import explain_core as xc

HIDDEN = 5


def modules(**more: nn.Module) -> dict[str, nn.Module]:
    torch.manual_seed(17)
    return {
        "lstm": nn.LSTM(FEATURES, HIDDEN, 2, batch_first=True, bidirectional=True),
        "head": nn.Linear(2 * HIDDEN, 2),
        **more,
    }


def plain(net, x):
    return net.head(net.lstm(x)[0][:, -1])


def by_final_states(net, x):
    """The head on the last output of both directions."""
    _, (h_n, _) = net.lstm(x)
    return net.head(torch.cat([h_n[-2], h_n[-1]], dim=1))


# --- Different words for the same ----------------------------------------------------------------------------


def zero_states_of_the_batch_size(net, x):
    h_0 = torch.zeros(4, x.size(0), HIDDEN, dtype=x.dtype).to(x.device)
    c_0 = torch.zeros(4, x.size(0), HIDDEN, dtype=x.dtype, device=x.device)
    return net.head(net.lstm(x, (h_0, c_0))[0][:, -1, :])


def zero_states_like_the_input(net, x):
    state = x.new_zeros(4, len(x), HIDDEN)
    return net.head(net.lstm(x, (state, torch.zeros_like(state)))[0][:, -1])


def flattened_parameters(net, x):
    net.lstm.flatten_parameters()
    return plain(net, x)


def detached_states(net, x):
    """Truncated back-propagation: the first steps pass on states without their gradient."""
    _, state = net.one(x[:, :3])
    return net.side(net.one(x[:, 3:], tuple(part.detach() for part in state))[0][:, -1])


def attached_states(net, x):
    return net.side(net.one(x)[0][:, -1])


def first_half_without_gradient(net, x):
    with torch.no_grad():
        y = net.lstm(x)[0]
    return net.head(y[:, -1])


class Reverse(torch.autograd.Function):
    """Gradient reversal, as in domain-adversarial training: nothing forward, minus backward."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -10 * gradient


def reversed_gradient(net, x):
    return net.head(Reverse.apply(net.lstm(x)[0][:, -1]))


def straight_through(net, x):
    """Forward it is tanh; its gradient says identity."""
    y = net.lstm(x)[0][:, -1]
    return net.head(y + (torch.tanh(y) - y).detach())


def tanh_through(net, x):
    return net.head(torch.tanh(net.lstm(x)[0][:, -1]))


def gradient_hook(net, x):
    y = net.lstm(x)[0][:, -1]
    if y.requires_grad:
        y.register_hook(lambda gradient: 0 * gradient)
    return net.head(y)


def checkpointed(net, x):
    y = torch.utils.checkpoint.checkpoint(lambda x: net.lstm(x)[0], x, use_reentrant=False)
    return net.head(y[:, -1])


def double_transposed(net, x):
    return plain(net, x.transpose(0, 1).contiguous().transpose(0, 1))


def step_by_step_through_the_layer(net, x):
    state, outputs = None, []
    for t in range(x.shape[1]):
        y, state = net.one(x[:, t : t + 1], state)
        outputs.append(y)
    return net.side(torch.cat(outputs, 1)[:, -1])


def time_distributed(net, x):
    n, t, f = x.shape
    y = net.embed(x.reshape(n * t, f)).view(n, t, -1)
    return plain(net, y)


def time_distributed_plainly(net, x):
    return plain(net, net.embed(x))


def asserted(net, x):
    assert x.dim() == 3
    assert x.size(-1) == FEATURES
    if x.ndim == 2:
        x = x.unsqueeze(1)
    return plain(net, x)


def cast_and_moved(net, x):
    return plain(net, x.to(net.head.weight.dtype).to(net.head.weight.device).contiguous().clone())


def deep_copies(net, x):
    """As a metric or a cache keeps its state; what is written into a copy stays there, and it is copied once."""
    kept = copy.deepcopy({"now": x, "before": [x], "zero": torch.tensor(0.0)})
    assert kept["now"] is kept["before"][0]
    kept["now"].mul_(2)
    return plain(net, kept["now"] - x + kept["zero"])


def dictionary(net, x):
    return {"prediction": plain(net, x)}


def dictionary_of_two(net, x):
    y = plain(net, x)
    return {"first": y[:, :1], "second": y[:, 1:]}


SAME = {
    "zero states of the batch size": (zero_states_of_the_batch_size, plain),
    "zero states like the input": (zero_states_like_the_input, plain),
    "flatten_parameters": (flattened_parameters, plain),
    "detached states": (detached_states, attached_states),
    "no_grad inside": (first_half_without_gradient, plain),
    "gradient reversal": (reversed_gradient, plain),
    "straight-through": (straight_through, tanh_through),
    "gradient hook": (gradient_hook, plain),
    "checkpoint": (checkpointed, plain),
    "transposed twice": (double_transposed, plain),
    "layer called step by step": (step_by_step_through_the_layer, attached_states),
    "time-distributed": (time_distributed, time_distributed_plainly),
    "asserts on shapes": (asserted, plain),
    "casts": (cast_and_moved, plain),
    "deep copies": (deep_copies, plain),
    "dictionary": (dictionary, plain),
    "dictionary of two": (dictionary_of_two, plain),
}


def series(seed: int = 0) -> np.ndarray:
    return draw(seed, SAMPLES, STEPS, FEATURES)


@pytest.mark.parametrize("name", SAME)
def test_another_way_of_writing_is_explained_the_same(name):
    written, simply = SAME[name]
    parts = modules(
        one=nn.LSTM(FEATURES, HIDDEN, batch_first=True), side=nn.Linear(HIDDEN, 2), embed=nn.Linear(FEATURES, FEATURES)
    )
    net = Net(written, **parts).double()
    with unchanged(net):
        found = xc.explain(net, series(), baselines=series(1))
    expected = xc.explain(Net(simply, **parts).double(), series(), baselines=series(1))
    assert found.relative_residual.max() <= 1e-12
    largest = np.abs(expected.attributions.values).max()
    np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-13 * largest)
    np.testing.assert_allclose(found.prediction.values, expected.prediction.values, atol=1e-14)


def test_learned_start_states():
    def forward(net, x):
        states = net.h_0.expand(-1, len(x), -1).contiguous(), net.c_0.repeat(1, len(x), 1)
        return net.head(net.lstm(x, states)[0][:, -1])

    net = Net(forward, **modules())
    net.h_0, net.c_0 = (nn.Parameter(torch.randn(4, 1, HIDDEN)) for _ in range(2))
    ex = xc.explain(net.double(), series(), baselines=series(1))
    assert ex.relative_residual.max() <= 1e-12
    expected = net(torch.from_numpy(series())).detach().numpy()
    np.testing.assert_allclose(ex.prediction.values, expected, atol=1e-14)


@pytest.mark.parametrize("normalise", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrised_weights(normalise):
    parts = modules()
    expected = None
    parts["head"] = normalise(parts["head"])
    net = Net(plain, **parts).double().eval()
    with unchanged(net):
        ex = xc.explain(net, series(), baselines=series(1))
    simple = modules()
    simple["head"].weight.data = net.head.weight.detach().clone()
    simple["head"].bias.data = net.head.bias.detach().clone()
    expected = xc.explain(Net(plain, **simple).double(), series(), baselines=series(1))
    np.testing.assert_allclose(ex.attributions.values, expected.attributions.values, atol=1e-13)


# --- Lengths -------------------------------------------------------------------------------------------------

LENGTHS = np.array([4, 6, 2])


def sorted_by_hand(net, x, lengths):
    ordered, order = lengths.sort(descending=True)
    packed = pack_padded_sequence(x[order], ordered, batch_first=True)
    y, _ = pad_packed_sequence(net.lstm(packed)[0], batch_first=True)
    y = y[order.argsort()]
    return net.head(y[torch.arange(len(y)), lengths - 1])


def packed_plainly(net, x, lengths):
    packed = pack_padded_sequence(x, lengths.cpu().to(torch.int64), batch_first=True, enforce_sorted=False)
    y, kept = pad_packed_sequence(net.lstm(packed)[0], batch_first=True)
    return net.head(y[torch.arange(len(y)), kept - 1])


def final_states_of_packed(net, x, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    _, (h_n, _) = net.lstm(packed)
    return net.head(torch.cat([h_n[-2], h_n[-1]], 1))


def mean_of_packed(net, x, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, _ = pad_packed_sequence(net.lstm(packed)[0], batch_first=True, padding_value=0.0)
    return net.head(y.sum(1) / lengths[:, None])


def max_of_packed(net, x, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, _ = pad_packed_sequence(net.lstm(packed)[0], batch_first=True, padding_value=float("-inf"))
    return net.head(y.max(1).values)


def layer_on_packed_data(net, x, lengths):
    """An activation and a linear layer on the packed data itself."""
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    packed = packed._replace(data=torch.tanh(net.embed(packed.data)))
    y, _ = pad_packed_sequence(net.lstm(packed)[0], batch_first=True)
    return net.head(y[torch.arange(len(y)), lengths - 1])


PACKED = [sorted_by_hand, packed_plainly, final_states_of_packed, mean_of_packed, max_of_packed, layer_on_packed_data]


@pytest.mark.parametrize("forward", PACKED)
def test_packed_sequences_are_explained_like_each_sequence_alone(forward):
    net = Net(forward, **modules(embed=nn.Linear(FEATURES, FEATURES))).double()
    x, base = series(), series(1)
    together = xc.explain(net, (x, LENGTHS), baselines=(base, LENGTHS))
    assert together.relative_residual.max() <= 1e-12
    (found,) = arrays(together.attributions)
    expected = net(torch.from_numpy(x), torch.from_numpy(LENGTHS)).detach().numpy()
    np.testing.assert_allclose(together.prediction.values, expected, atol=1e-14)
    for n, length in enumerate(LENGTHS):
        alone = xc.explain(
            net, (x[n : n + 1, :length], LENGTHS[n : n + 1]), baselines=(base[n : n + 1, :length], LENGTHS[n : n + 1])
        )
        (exact,) = arrays(alone.attributions)
        np.testing.assert_allclose(found[:, n, :length], exact[:, 0], atol=1e-13 * np.abs(exact).max())
        assert not found[:, n, length:].any()


def test_lengths_counted_from_the_values_are_not_trusted():
    """The baseline of zeros would have another length than the test: there is no pair to compare."""

    def forward(net, x):
        lengths = (x.abs().sum(-1) != 0).sum(1)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(net.lstm(packed)[0], batch_first=True)
        return net.head(y.sum(1))

    with pytest.raises(xc.errors.ExplainError):
        xc.explain(Net(forward, **modules()).double(), series(), baselines="zeros")


# --- Values that slip out of the tensor world --------------------------------------------------------------

SLIPPED = {
    "item": lambda net, x: plain(net, x) * x.mean().item(),
    "float": lambda net, x: plain(net, x) * float(x.sum()),
    "tolist": lambda net, x: plain(net, x) * x[0, 0].tolist()[0],
    "numpy": lambda net, x: plain(net, x) * float(x.detach().numpy().sum()),
    "through numpy": lambda net, x: plain(net, torch.from_numpy(np.tanh(x.detach().cpu().numpy()))),
    "data": lambda net, x: plain(net, x.data * 2),
    "new tensor": lambda net, x: plain(net, x.detach().clone().mul_(2)),
    "if": lambda net, x: plain(net, x) if x.sum() > 0 else -plain(net, x),
    "while": lambda net, x: plain(net, halved(x)),
    "kept from an earlier call": lambda net, x: remembered(net, x),
}


def halved(x):
    while x.abs().max() > 1:
        x = x / 2
    return x


def remembered(net, x):
    y = plain(net, x)
    kept = getattr(net, "kept", None)
    net.kept = y.detach().clone()
    return y if kept is None else y + kept[: len(y)]


@pytest.mark.parametrize("name", SLIPPED)
def test_what_slips_out_of_the_tensors_is_explained_or_refused_but_never_silently_wrong(name):
    net = Net(SLIPPED[name], **modules()).double()
    x, base = series(), series(1)
    try:
        ex = xc.explain(net, x, baselines=base)
    except xc.errors.ExplainError:
        return
    for member, prediction in ((x, ex.prediction), (base, ex.baseline_prediction)):
        expected = copy.deepcopy(net)(torch.from_numpy(member)).detach().numpy()
        np.testing.assert_allclose(prediction.values, expected, atol=1e-12)
    assert ex.relative_residual.max() <= 1e-12


# --- Other containers for the same model -------------------------------------------------------------------


class Plain(nn.Module):
    """As `plain`, in the form that TorchScript wants."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(17)
        self.lstm = nn.LSTM(FEATURES, HIDDEN, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def traced(net, example):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript is deprecated; people have the files
        return torch.jit.trace(net, example)


def scripted(net, example):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net)


def exported(net, example):
    samples = torch.export.Dim("samples", min=2, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own list of an LSTM's weights
        return torch.export.export(net, (example,), dynamic_shapes=({0: samples},))


CONTAINERS = [traced, scripted, exported, lambda net, _: nn.DataParallel(net), lambda net, _: nn.Sequential(net)]


# Said by PyTorch about itself when an exported program is copied.
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning")
@pytest.mark.parametrize("container", CONTAINERS, ids=["trace", "script", "export", "data parallel", "sequential"])
def test_other_containers_of_a_model(container):
    net = Plain().double().eval()
    expected = xc.explain(net, series(), baselines=series(1))
    other = container(net, torch.from_numpy(series()))
    found = xc.explain(other, series(), baselines=series(1))
    np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-13)


def test_compiled_model_is_explained_or_refused():
    net = Plain().double().eval()
    expected = xc.explain(net, series(), baselines=series(1))
    try:
        found = xc.explain(torch.compile(net, backend="eager"), series(), baselines=series(1))
    except xc.errors.ExplainError:
        return
    np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-13)


# --- Forms of input ------------------------------------------------------------------------------------------


def test_states_with_their_samples_second_beside_samples_first():
    """What `nn.LSTM(batch_first=True)` itself takes: x (N, T, F), states (L, N, H)."""
    torch.manual_seed(17)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
            self.head = nn.Linear(HIDDEN, 2)

        def forward(self, x, h, c):
            return self.head(self.lstm(x, (h, c))[0][:, -1])

    x, h, c = series(), draw(3, 1, SAMPLES, HIDDEN), draw(4, 1, SAMPLES, HIDDEN)
    ex = xc.explain(
        Named().double(),
        (x, h, c),
        baselines=(0 * x, 0 * h, 0 * c),
        sample_axis={"x": 0, "h": 1, "c": 1},
    )
    assert ex.relative_residual.max() <= 1e-12
    assert [part.sizes["sample"] for part in ex.attributions.values()] == [SAMPLES] * 3


@pytest.mark.parametrize(
    "form",
    [
        np.ndarray.tolist,
        np.asfortranarray,
        lambda x: x[::-1][::-1],
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: torch.from_numpy(x).requires_grad_(),
    ],
    ids=["list", "fortran", "strided", "broadcast", "tensor with gradient"],
)
def test_forms_of_an_array(form):
    net = Net(plain, **modules()).double()
    x = np.ascontiguousarray(np.broadcast_to(series()[:1], series().shape))
    expected = xc.explain(net, x, baselines=series(1)).attributions.values
    np.testing.assert_array_equal(xc.explain(net, form(x), baselines=series(1)).attributions.values, expected)


def test_whole_numbers_into_a_model_of_floats_are_floats_or_refused():
    net = Net(plain, **modules()).double()
    x = np.arange(SAMPLES * STEPS * FEATURES).reshape(SAMPLES, STEPS, FEATURES) % 5
    try:
        ex = xc.explain(net, x, baselines=0 * x)
    except xc.errors.ExplainError as refused:
        ex = refused
    if isinstance(ex, xc.errors.ExplainError):
        assert "int64" in str(ex)
        return
    expected = xc.explain(net, x.astype(float), baselines=0.0 * x)
    np.testing.assert_array_equal(ex.attributions.values, expected.attributions.values)


@pytest.mark.parametrize("steps", [1, 2])
def test_shortest_sequences(steps):
    ex = xc.explain(Net(plain, **modules()).double(), series()[:, :steps], baselines=series(1)[:, :steps])
    assert ex.relative_residual.max() <= 1e-12


def test_no_samples_are_refused():
    with pytest.raises(xc.errors.InputError):
        xc.explain(Net(plain, **modules()).double(), series()[:0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_explained_in_full_precision_or_refused(dtype):
    net = Net(plain, **modules()).to(dtype)
    try:
        ex = xc.explain(net, series(), baselines=series(1))
    except xc.errors.ExplainError:
        return
    assert ex.relative_residual.max() <= 1e-5


def test_default_dtype_does_not_matter():
    net = Net(plain, **modules()).double()
    expected = xc.explain(net, series(), baselines=series(1)).attributions.values
    torch.set_default_dtype(torch.float64)
    try:
        found = xc.explain(net, series(), baselines=series(1)).attributions.values
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)


def test_more_samples_than_go_at_once_are_explained_the_same():
    net = Net(lambda net, x: F.softmax(plain(net, x), 1), **modules()).double()
    x, base = draw(0, 300, STEPS, FEATURES), draw(1, 300, STEPS, FEATURES)
    together = xc.explain(net, x, baselines=base, keep_gates=False).attributions.values
    for start in (0, 150, 299):
        part = xc.explain(net, x[start : start + 1], baselines=base[start : start + 1]).attributions.values
        np.testing.assert_allclose(together[:, start : start + 1], part, atol=1e-13)


def test_lengths_may_differ_between_the_samples_that_go_at_once():
    net = Net(packed_plainly, **modules()).double()
    x, base = draw(0, 300, STEPS, FEATURES), draw(1, 300, STEPS, FEATURES)
    lengths = np.random.default_rng(2).integers(1, STEPS + 1, 300)
    (together,) = arrays(xc.explain(net, (x, lengths), baselines=(base, lengths), keep_gates=False).attributions)
    for n in (0, 150, 299):
        one = slice(n, n + 1)
        (alone,) = arrays(xc.explain(net, (x[one], lengths[one]), baselines=(base[one], lengths[one])).attributions)
        np.testing.assert_allclose(together[:, one], alone, atol=1e-13)


def test_a_buffer_that_each_call_changes_starts_the_same_for_all_rows():
    """More samples than go at once are several runs of the recorded model, and its constants must not change either."""

    def halving(net, x):
        net.scale.mul_(0.5)
        return plain(net, x * net.scale)

    def half(net, x):
        return plain(net, x * (net.scale * 0.5))

    nets = [Net(forward, **modules()).double() for forward in (halving, half)]
    for net in nets:
        net.register_buffer("scale", torch.arange(1.0, 1 + FEATURES, dtype=torch.float64))
    x, base = draw(0, 300, STEPS, FEATURES), draw(1, 1, STEPS, FEATURES)
    with unchanged(nets[0]):
        found = xc.explain(nets[0], x, baselines=base, keep_gates=False)
    expected = xc.explain(nets[1], x, baselines=base, keep_gates=False)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    np.testing.assert_allclose(found.baseline_prediction, expected.baseline_prediction, atol=1e-14)
    assert any("scale" in note for note in found.notes)


def test_normalising_by_the_statistics_of_a_batch_is_refused():
    net = Net(lambda net, x: plain(net, F.batch_norm(x.mT, None, None, training=True).mT), **modules()).double()
    with pytest.raises(xc.errors.UnsupportedOperation, match="statistics of the batch"):
        xc.explain(net, series(), baselines=series(1))


def test_recording_row_by_row_makes_one_mode_for_all_its_nodes(monkeypatch):
    """Each would keep a trace of the stack, which took most of the time."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    made, init = [], FakeTensorMode.__init__
    monkeypatch.setattr(FakeTensorMode, "__init__", lambda self, **more: (made.append(self), init(self, **more))[1])
    model = Net(lambda net, x: torch.stack([net.head(row) for row in x]), head=nn.Linear(4, 2)).eval()
    counts = []
    for rows in (3, 12):
        made.clear()
        assert xc.explain(model, draw(0, rows, 4).astype(np.float32)).relative_residual.max() <= 1e-5
        counts.append(len(made))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("after", [lambda y, x: y, lambda y, x: y.add_(1)])
def test_a_tensor_that_is_given_the_data_of_an_explained_one_is_followed(after):
    def forward(net, x):
        y = torch.zeros_like(x)
        y.data = 2 * x
        return net.head(after(y, x) * x).sum(1)

    model, x = Net(forward, head=nn.Linear(3, 2)).double().eval(), torch.tensor(draw(0, 5, 4, 3))
    explanation = xc.explain(model, x, target=0)
    np.testing.assert_allclose(explanation.prediction.values[:, 0], model(x).detach()[:, 0], rtol=1e-12)
    assert float(explanation.relative_residual.max()) < 1e-12
