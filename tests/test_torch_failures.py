"""What is said where the model itself fails, or does what cannot be recorded: the cause, the module, the next step."""

from __future__ import annotations

import pickle

import pytest
import torch
import xarray as xr
from exactness import Named, Net, draw
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import explain_core as xc
from explain_core.errors import CaptureError, NonFiniteError, UnsupportedOperation

X = torch.linspace(-1, 1, 12).reshape(3, 4)


def refused(model: nn.Module, x=X) -> CaptureError:
    with pytest.raises(CaptureError) as raised:
        xc.explain(model, x)
    return raised.value


def test_a_failure_names_the_innermost_module_and_what_was_given():
    model = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), nn.Linear(6, 2))).eval()
    error = refused(model)
    assert error.what.endswith("mat1 and mat2 shapes cannot be multiplied (3x5 and 6x2)")
    assert error.where == "1.1"
    assert error.hint.startswith("It was given input of shape (3, 4) (float32). Check that")


def test_whole_numbers_for_a_model_of_floats():
    error = refused(nn.Linear(4, 2).eval(), torch.arange(12).reshape(3, 4))
    assert "give 'input' as floats" in error.hint


def test_a_program_for_one_size():
    program = torch.export.export(nn.Linear(4, 2).eval(), (X,))
    error = refused(program, torch.ones(5, 4))
    assert error.what == "the model was exported for inputs of which input.size()[0] == 3, and these are not"
    assert "of shape (5, 4)" in error.hint
    assert "dynamic_shapes" in error.hint


NESTED = "nested tensors (torch.nested) cannot be followed"
MEMORY = "the model copies the memory of a tensor, as pickle and torch.save do, which cannot be followed"
UNFOLLOWED = {
    "pickle": (lambda net, x: pickle.loads(pickle.dumps(x)) * 2, MEMORY),
    "cond": (
        lambda net, x: torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v * 3, (x,)),
        "the operation torch.cond, which runs functions of the model's own, cannot be followed",
    ),
    "nested": (
        lambda net, x: torch.nested.as_nested_tensor([x[0], x[1, :2]]).to_padded_tensor(0.0),
        NESTED,
    ),
    "jagged": (
        lambda net, x: torch.nested.as_nested_tensor([x[0], x[1, :2]], layout=torch.jagged).to_padded_tensor(0.0),
        NESTED,
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", UNFOLLOWED)
def test_what_cannot_be_recorded_is_named_by_its_cause(name):
    forward, what = UNFOLLOWED[name]
    error = refused(Net(forward).eval())
    assert error.what == what
    assert error.hint


def test_a_choice_that_differs_is_named_as_a_choice():
    model = Net(lambda net, x: x.gather(1, x.flip(1).argsort(1)[:, :2])).eval()
    with pytest.raises(UnsupportedOperation, match="an index or mask differs between the input and the ba") as raised:
        xc.explain(model, X, -X)
    assert "topk" in raised.value.hint


@pytest.mark.parametrize("take", [torch.from_dlpack, torch.utils.dlpack.from_dlpack])
def test_values_that_leave_by_dlpack_are_named(take):
    error = refused(Net(lambda net, x: take(x) * 2).eval())
    assert error.what.startswith("the model takes the values of the input out of PyTorch with DLPack")


def with_a_missing_weight(forward) -> Net:
    net = Net(forward, head=nn.Linear(4, 2)).eval()
    net.other = nn.Parameter(torch.full((3,), torch.nan))
    return net


def test_a_weight_that_nothing_uses_may_be_missing():
    found = xc.explain(with_a_missing_weight(lambda net, x: net.head(x)), X)
    assert found.relative_residual.max() <= 1e-6


@pytest.mark.parametrize(
    "forward", [lambda net, x: net.head(x) * net.other[0], lambda net, x: net.head(x) + net.other.sum()]
)
def test_a_weight_that_is_used_may_not(forward):
    with pytest.raises(NonFiniteError, match="the weight 'other' contains NaN"):
        xc.explain(with_a_missing_weight(forward), X)


PADDED = torch.tensor(draw(0, 3, 4, 2))
PACKED = pack_padded_sequence(PADDED, torch.tensor([4, 3, 1]), batch_first=True)
NO_ARRAYS = {
    "PackedSequence": lambda: PACKED,
    "nested tensor": lambda: torch.nested.nested_tensor(list(PADDED)),
    "quantized tensor": lambda: torch.quantize_per_tensor(PADDED.float(), 0.1, 0, torch.qint8),
    "tensor on the meta device": lambda: PADDED.to("meta"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantize_per_tensor")
@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_tensors_that_are_no_arrays_are_named_wherever_they_come(kind):
    value, model = NO_ARRAYS[kind](), Named(lambda net, x: x.sum(1)).double()
    ways = {
        "bare": lambda: xc.explain(model, value),
        "in a tuple": lambda: xc.explain(model, (value,)),
        "by name": lambda: xc.explain(model, {"x": value}),
        "as a baseline": lambda: xc.explain(model, PADDED, value),
        "as a baseline by name": lambda: xc.explain(model, PADDED, {"x": value}),
    }
    for explain in ways.values():
        with pytest.raises(xc.errors.InputError, match=f"this is a {kind}, which is no array") as caught:
            explain()
        assert caught.value.where == "x"
        assert caught.value.hint
    with pytest.raises(xc.errors.TargetError, match=f"this is a {kind}"):
        xc.explain(model, PADDED, target=value)


def test_a_model_that_returns_a_packed_sequence_is_told_to_pad_it():
    def packs(net, x, lengths):
        return net.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0]

    model = Net(packs, rnn=nn.GRU(2, 3, batch_first=True)).double()
    with pytest.raises(xc.errors.CaptureError, match="returns a PackedSequence") as caught:
        xc.explain(model, (PADDED, torch.tensor([4, 3, 1])))
    assert "pad_packed_sequence" in caught.value.hint


@pytest.mark.parametrize(
    ("inputs", "baselines", "next_step"),
    [
        (PADDED, float("inf"), "finite number"),
        (xr.DataArray(PADDED.numpy(), dims=("sample", "time", "output")), 0, "array.rename({'output': 'output_axis'})"),
    ],
)
def test_a_refusal_of_what_was_given_has_a_next_step(inputs, baselines, next_step):
    with pytest.raises(xc.errors.InputError) as caught:
        xc.explain(Named(lambda net, x: x.sum(1)).double(), inputs, baselines)
    assert next_step in caught.value.hint
