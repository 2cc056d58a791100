"""Single precision is single precision: PyTorch's switches for coarser products are off in a run, and back after it."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from exactness import RESIDUAL, Net, draw
from torch import nn
from torch.utils import _pytree as pytree

import explain_core as xc
from explain_core.backends.protocol import Target
from explain_core.backends.torch import one_at_a_time as lock
from explain_core.backends.torch import open_runner
from explain_core.backends.torch.precision import as_given, full_precision, in_one_order
from explain_core.backends.torch.recurrent import paired
from explain_core.methods.torch_model import TorchModel
from explain_core.preparation.inputs import read_arguments

KEYS = [("generic", "all"), *((b, k) for b in ("cuda", "mkldnn") for k in ("all", "matmul", "conv", "rnn"))]
PRODUCTS = [key for key in KEYS if key[1] != "all"]


def read(key):
    return torch._C._get_fp32_precision_getter(*key)


def write(key, precision):
    torch._C._set_fp32_precision_setter(*key, precision)


def older():
    """The older switches; "raises" where the newer ones contradict them."""
    found = []
    for switch in (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda: torch.backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision,
    ):
        try:
            found.append(switch())
        except RuntimeError:
            found.append("raises")
    return found


def all_switches():
    return {key: read(key) for key in KEYS}, older(), torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic


def followed():
    """What each switch reads under two values of the levels above it: tells what is written at it."""
    found, kept = [], read(("generic", "all"))
    for precision in ("ieee", "none"):
        write(("generic", "all"), precision)
        found.append({key: read(key) for key in KEYS})
    write(("generic", "all"), kept)
    return found


SETTINGS = {
    "as it comes": {},
    "older, high": {"older": "high"},
    "older, medium": {"older": "medium"},
    "matrix products": {("cuda", "matmul"): "tf32"},
    "everything": {("generic", "all"): "tf32"},
    "everything exact": {("generic", "all"): "ieee"},
    "older and newer disagree": {"older": "high", ("cuda", "matmul"): "ieee"},
    "all of cuDNN": {("cuda", "all"): "tf32", ("generic", "all"): "ieee"},
    "the CPU": {("mkldnn", "conv"): "bf16", ("mkldnn", "rnn"): "tf32"},
}


@contextmanager
def set_to(settings):
    """Settings for a test, undone in the end; what stands at cuDNN's own default is never written."""
    try:
        for key, precision in settings.items():
            if key == "older":
                torch.set_float32_matmul_precision(precision)
            else:
                write(key, precision)
        yield
    finally:
        torch.set_float32_matmul_precision("highest")
        for key in {("cuda", "matmul"), ("mkldnn", "matmul"), *settings} - {"older"}:
            write(key, "none")


@pytest.fixture
def a_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("a_card")
@pytest.mark.parametrize("name", SETTINGS)
def test_products_are_exact_within_and_every_switch_is_put_back(name):
    with set_to(SETTINGS[name]):
        before, under = all_switches(), followed()
        with full_precision():
            inside = all_switches()
            assert {read(key) for key in PRODUCTS} <= {"ieee", "none"}
            assert inside[1][1:] == [False, "highest"]  # PyTorch reads these too, and raises where they contradict
            assert inside[2:] == (False, True)
            with as_given():
                assert all_switches() == before
            assert all_switches() == inside
            with full_precision():
                assert all_switches() == inside
            assert all_switches() == inside
        assert all_switches() == before
        assert followed() == under


@pytest.mark.usefixtures("a_card")
def test_switches_are_put_back_after_an_error():
    before = all_switches()
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert all_switches() == before


@pytest.fixture
def card(monkeypatch):
    """LSTMs as a GPU runs them: with TF32, what goes into their products has 10 binary digits.

    Gives the precisions that they were run in.
    """
    seen = set()

    def as_a_card(kernel):
        def run(*args):
            precision = read(("mkldnn", "rnn"))
            seen.add(precision)
            if precision == "tf32":
                args = pytree.tree_map(lambda x: ten_digits(x) if isinstance(x, torch.Tensor) else x, args)
            return kernel(*args)

        return run

    for library in (torch, torch._VF):  # the engine's, and that of ``nn.LSTM``
        monkeypatch.setattr(library, "lstm", as_a_card(library.lstm))
    return seen


def ten_digits(x):
    """Rounded to 10 binary digits after the point, as TensorFloat-32 does."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def net():
    torch.manual_seed(0)
    last = lambda net, x: net.head(net.rnn(x)[0][:, -1])  # noqa: E731
    return Net(last, rnn=nn.LSTM(3, 16, batch_first=True), head=nn.Linear(16, 1)).eval()


def residual_of(model, x):
    """The largest residual over all attribution, as the engine returns it before anything judges it."""
    runner = open_runner(model, read_arguments(model, x), sample_axes=(0,))
    runner._answers.require = lambda *args: None
    found = runner.attribute([x], [np.zeros_like(x)], [Target(0, (0,), "0")], gates=False, embeddings=False)
    change = found.prediction[0].astype(float) - found.baseline_prediction[0]
    parts = found.attributions[0][0].astype(float)
    return np.max(np.abs(parts.sum((1, 2)) - change) / np.abs(parts).sum((1, 2)))


def test_coarse_hidden_states_would_break_the_sum_and_are_not_asked_for(card, monkeypatch):
    monkeypatch.setattr(paired, "choose", lambda xp, layer, own: own)  # a GPU takes cuDNN's states
    x, model = draw(0, 2, 50, 3).astype(np.float32), net()
    with set_to({("mkldnn", "rnn"): "tf32"}):
        assert residual_of(model, x) < 1e-6
        assert card == {"ieee"}
        card.clear()
        monkeypatch.setattr(lock, "full_precision", nullcontext)
        assert residual_of(model, x) > RESIDUAL[torch.float32]
        assert card == {"tf32"}


@pytest.mark.usefixtures("card")
def test_a_coarser_answer_of_the_own_call_is_said():
    x, model = draw(0, 2, 50, 3).astype(np.float32), net()
    with set_to({("mkldnn", "rnn"): "tf32"}):
        (note,) = xc.explain(model, x).notes
        own = model(torch.from_numpy(x))
    assert note.startswith("The settings of this process (TF32 in recurrent layers) make")
    assert any(f"gives {value:.6g}." in note for value in own.flatten())
    assert xc.explain(model, x).notes == []


def test_autocast_around_the_call_leaves_the_explanation_alone_and_is_said():
    x, model = draw(0, 2, 5, 3).astype(np.float32), net()
    plain = xc.explain(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = xc.explain(model, x)
        assert torch.is_autocast_enabled("cpu")
    np.testing.assert_array_equal(found.attributions, plain.attributions)
    (note,) = found.notes
    assert "autocast to bfloat16" in note


def test_other_methods_run_in_the_lock_and_leave_cudnn_as_it_was():
    before = torch.backends.cudnn.enabled, all_switches()
    with TorchModel.at_work():
        assert not torch.backends.cudnn.enabled
        assert lock._LOCK._is_owned()
    assert (torch.backends.cudnn.enabled, all_switches()) == before


@pytest.mark.parametrize(
    ("op", "device", "asked"),
    [
        (torch.ops.aten.index_add.default, "cuda", True),
        (torch.ops.aten.scatter_add_.default, "cuda", True),
        (torch.ops.aten.index_add.default, "cpu", False),
        (torch.ops.aten.mm.default, "cuda", False),  # PyTorch would warn, and need not do anything
    ],
)
def test_additions_to_one_place_are_asked_for_in_one_order(op, device, asked):
    with in_one_order(op, torch.device(device)):
        assert torch.are_deterministic_algorithms_enabled() is asked
    assert not torch.are_deterministic_algorithms_enabled()
