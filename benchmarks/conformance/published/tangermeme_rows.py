"""tangermeme's tests of its DeepLiftShap on one-hot sequences.

It publishes, for the letter that a sequence has at each place, the mean over references of what the place contributes:
the sum of PairLift's contributions over the letters there. The sequences and references are as its own functions drew
them (`tangermeme.npz`: letters by number, for ``random_state=0``), and so are its figures (`tangermeme.json`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import explain_core as xc
from benchmarks.conformance.published import Outcome, Row, both, numbers
from benchmarks.conformance.published import tangermeme_models as models
from benchmarks.conformance.published.tangermeme_models import Total, convolved

FILE = "tests/test_deep_lift_shap.py"
DECIMALS = 1.5e-4
"""What ``assert_array_almost_equal(..., 4)`` allows."""

PLACES = (
    "captum's rule for max-pooling, which tangermeme has, gives all to the places of the two maxima; PairLift gives "
    "the exact Shapley values of the maximum, in which the other letters of the window have a part"
)
REUSED = (
    "the model uses one ReLU at three places, and tangermeme's hooks know its last use only: its figures are not "
    "complete (with a ReLU for each place they are PairLift's)"
)
UNSEEN = "the multipliers of letters that neither sequence has there: PairLift gives contributions, and theirs are zero"
OPTIONS = "about tangermeme's own options and call form, not about attributions"


@cache
def drawn() -> dict[str, Tensor]:
    """One-hot: "sequences" (16, 4, 100), references "dinucleotide" and "shuffled" (16, 20, 4, 100)."""
    with np.load(Path(__file__).with_suffix("").with_name("tangermeme.npz")) as file:
        return {name: torch.eye(4)[torch.from_numpy(file[name]).long()].transpose(-1, -2) for name in file.files}


@cache
def figures() -> dict:
    return json.loads(Path(__file__).with_name("tangermeme.json").read_text(encoding="utf-8"))


def explain(model: nn.Module, sequence: Tensor, references: Tensor) -> xc.Explanation:
    """One sequence (1, 4, 100) over its references (n, 4, 100)."""
    return xc.explain(model.eval(), sequence, references, None, "torch", "cpu", True)


def by_place(make: Callable[[], nn.Module], samples: int, kind: str, count: int) -> np.ndarray:
    """(sample, place)"""
    torch.manual_seed(0)
    model, sequences, references = make(), drawn()["sequences"], drawn()[kind]
    found = [explain(model, sequences[n : n + 1], references[n, :count]).attributions.values for n in range(samples)]
    return np.concatenate(found).reshape(samples, 4, -1).sum(1)


def published(test: str, make: Callable[[], nn.Module], kind: str, count: int) -> Outcome:
    wanted = np.array(figures()[test])
    found = by_place(make, len(wanted), kind, count)
    return numbers(found[:, : wanted.shape[1]], wanted, DECIMALS)


def row(
    name: str, model: str, make: Callable[[], nn.Module], kind: str = "dinucleotide", count: int = 20, reason: str = ""
) -> Row:
    test = f"test_deep_lift_shap{name}"
    expected = f"{np.size(figures()[test])} figures to 4 decimals"
    return Row("tangermeme", f"{FILE}::{test}", model, expected, lambda: published(test, make, kind, count), reason)


def other(name: str, model: str, expected: str, run: Callable[[], Outcome] | None = None, reason: str = "") -> Row:
    return Row("tangermeme", f"{FILE}::test_{name}", model, expected, run, reason)


def residuals() -> Outcome:
    torch.manual_seed(0)
    model, sequences, references = models.deep_sea(), drawn()["sequences"], drawn()["dinucleotide"]
    found = [explain(model, sequences[n : n + 1], references[n, :3]).residual.values for n in range(4)]
    off = float(np.abs(found).max())
    return Outcome(f"off by {off:.0e}", off <= 1e-7)


def independent() -> Outcome:
    """A sequence alone is what it is among others."""
    torch.manual_seed(0)
    model, sequences, references = models.flat_dense(), drawn()["sequences"], drawn()["dinucleotide"][0]
    alone, among = (explain(model, sequences[:n], references).attributions.values[0] for n in (1, 10))
    return numbers(alone, among, 1e-6)


def numbered(*types: torch.dtype) -> Outcome:
    """Sequences of whole numbers and of half precision are the same sequences."""
    torch.manual_seed(0)
    model, sequence, references = models.deep_sea(), drawn()["sequences"][:1], drawn()["dinucleotide"][0, :5]
    plain = explain(model, sequence, references).attributions.values
    return both(
        *(
            numbers(explain(model, sequence.to(kind).float(), references).attributions.values, plain, 1e-6)
            for kind in types
        )
    )


def orders() -> Outcome:
    """Fewer references are the first of more."""
    torch.manual_seed(0)
    model, sequence, references = models.deep_sea(), drawn()["sequences"][:1], drawn()["dinucleotide"][0]
    each = [explain(model, sequence, references[n : n + 1]).attributions.values for n in range(3)]
    return numbers(explain(model, sequence, references[:3]).attributions.values, np.mean(each, 0), 1e-6)


def raw() -> Outcome:
    """Multipliers by reference, where the letters differ."""
    wanted, offs = np.array(figures()["raw"]), []
    torch.manual_seed(0)
    model, sequences, references = models.deep_sea(), drawn()["sequences"], drawn()["dinucleotide"]
    for n in range(2):
        for k in range(4):
            moved = (sequences[n] - references[n, k]).numpy()[:, :5]
            found = explain(model, sequences[n : n + 1], references[n, k : k + 1]).attributions.values[0, :, :5]
            offs.append(np.where(moved != 0, found - wanted[n, k] * moved, 0))
    off = float(np.abs(offs).max())
    return Outcome(f"at most {off:.0e} apart", off <= DECIMALS)


def with_arguments() -> Outcome:
    torch.manual_seed(0)
    sequences, references, wanted = (
        drawn()["sequences"],
        drawn()["dinucleotide"],
        np.array(figures()["test_deep_lift_shap_args"]),
    )
    layer = models.scaled()
    alpha, beta = torch.randn(16, 1), torch.randn(16, 1)
    found = []
    for n in range(2):
        model = models.scaled(alpha[n : n + 1], beta[n : n + 1])
        model.load_state_dict(layer.state_dict())
        found.append(explain(model, sequences[n : n + 1], references[n]).attributions.values[0].sum(0))
    return numbers(np.stack(found)[:, : wanted.shape[1]], wanted, DECIMALS)


def as_captum(make: Callable[[], nn.Module], within: float = 1.5e-5) -> Callable[[], Outcome]:
    """What `captum.attr.DeepLiftShap` gives, as tangermeme asks of itself."""

    def run() -> Outcome:
        import warnings

        from captum.attr import DeepLiftShap

        torch.manual_seed(0)
        model, sequence, references = make().eval(), drawn()["sequences"][:1], drawn()["shuffled"][0, :5]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = DeepLiftShap(model).attribute(sequence, references).detach().numpy()
        return numbers(explain(model, sequence, references).attributions.values, theirs, within)

    return run


def all_as_captum() -> Outcome:
    """What tangermeme asks in batches of several sizes and over several numbers of references."""
    makes = (models.first_sum, models.flat_dense, models.first_place, models.total_conv)
    return both(*(as_captum(make)() for make in makes))


def activation(name: str) -> Row:
    wanted = np.array([figures()["activations"][name]])
    test = f"{FILE}::test_deep_lift_shap_residual_conv_activation[{name}]"

    def run() -> Outcome:
        kind = getattr(nn, name)
        return numbers(by_place(lambda: models.residual(kind), 1, "shuffled", 5)[:, :4], wanted, DECIMALS)

    return Row("tangermeme", test, f"residual block with {name}", "4 figures to 4 decimals", run)


RELU, POOL, FLAT = nn.ReLU, lambda: nn.MaxPool1d(4), nn.Flatten
ROWS = [
    row("", "convolutions with max-pooling", models.deep_sea, count=3, reason=PLACES),
    other("deep_lift_shap_convergence", "convolutions with max-pooling", "complete to 1e-7", residuals),
    other("deep_lift_shap_hypothetical", "dense", "every letter's hypothetical contribution", None, UNSEEN),
    other("deep_lift_shap_independence", "dense", "the same alone and among others", independent),
    other("deep_lift_shap_random_state", "dense", "other references, other figures", None, OPTIONS),
    row("_reference_tensor", "dense", models.flat_dense, "shuffled"),
    other("deep_lift_shap_batch_size", "dense", "the same in batches of any size", independent),
    other("deep_lift_shap_n_shuffles", "dense", "the mean over references", orders),
    other(
        "deep_lift_shap_input_type",
        "convolutions with max-pooling",
        "the same for numbers of every type",
        lambda: numbered(torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16),
    ),
    other("deep_lift_shap_shuffle_ordering", "convolutions with max-pooling", "the first of more references", orders),
    other(
        "deep_lift_shap_raw_output",
        "convolutions with max-pooling",
        "160 multipliers to 4 decimals, where letters differ",
        raw,
        PLACES,
    ),
    other("deep_lift_shap_return_references", "dense", "the references", None, OPTIONS),
    other("deep_lift_shap_args", "dense, times and plus what is given", "20 figures to 4 decimals", with_arguments),
    other("deep_lift_shap_raises", "dense", "errors", None, OPTIONS),
    row("_flattendense", "dense", models.flat_dense),
    row("_convdense_dense_wrapper", "dense beside a convolution", models.dense_of_two),
    row("_convdense_conv_wrapper", "convolution beside a dense layer", models.conv_of_two),
    row("_linear", "dense, ReLU", lambda: nn.Sequential(FLAT(), nn.Linear(400, 5), RELU(), Total())),
    row(
        "_linear_bias",
        "dense without bias, ReLU",
        lambda: nn.Sequential(FLAT(), nn.Linear(400, 5, bias=False), RELU(), Total()),
    ),
    row("_conv", "convolution, ReLU", lambda: convolved(RELU, Total)),
    row("_conv_dilated", "dilated convolution, ReLU", lambda: convolved(RELU, Total, dilation=5)),
    row("_conv_stride", "convolution with strides, ReLU", lambda: convolved(RELU, Total, stride=5)),
    row("_conv_bias", "convolution without bias, ReLU", lambda: convolved(RELU, Total, bias=False)),
    row("_conv_padding", "padded convolution, ReLU", lambda: convolved(RELU, Total, padding=5)),
    row(
        "_conv_padding_same",
        "convolution, ReLU, dense",
        lambda: convolved(FLAT, RELU, lambda: nn.Linear(800, 1), padding="same"),
    ),
    row("_max_pool", "max-pooling", lambda: nn.Sequential(POOL(), Total()), reason=PLACES),
    row("_conv_relu_pool", "convolution, ReLU, max-pooling", lambda: convolved(RELU, POOL, Total), reason=PLACES),
    row("_conv_tanh_pool", "convolution, tanh, max-pooling", lambda: convolved(nn.Tanh, POOL, Total), reason=PLACES),
    row("_conv_elu_pool", "convolution, ELU, max-pooling", lambda: convolved(nn.ELU, POOL, Total), reason=PLACES),
    row(
        "_conv_relu_pool_relu",
        "convolution, ReLU, max-pooling, ReLU",
        lambda: convolved(RELU, POOL, RELU, Total),
        reason=PLACES,
    ),
    row(
        "_relu_conv_relu_pool_relu",
        "ReLU, convolution, ReLU, max-pooling, ReLU",
        lambda: convolved(RELU, POOL, RELU, Total, before=(RELU(),)),
        reason=PLACES,
    ),
    row(
        "_relu_conv_pool_relu",
        "ReLU, convolution, max-pooling, ReLU",
        lambda: convolved(POOL, RELU, Total, before=(RELU(),)),
        reason=PLACES,
    ),
    row(
        "_relu_conv_pool_relu_relu",
        "ReLU, convolution, max-pooling, two ReLUs",
        lambda: convolved(POOL, RELU, RELU, Total, before=(RELU(),)),
        reason=PLACES,
    ),
    row(
        "_conv_relu_tanh_pool",
        "convolution, ReLU, tanh, max-pooling",
        lambda: convolved(RELU, nn.Tanh, POOL, Total),
        reason=PLACES,
    ),
    row(
        "_conv_relu_pool_linear",
        "convolution, ReLU, max-pooling, dense",
        lambda: convolved(RELU, POOL, FLAT, lambda: nn.Linear(192, 1)),
        reason=PLACES,
    ),
    row(
        "_conv_relu_pool_linear_linear",
        "convolution, ReLU, max-pooling, two dense",
        lambda: convolved(RELU, POOL, FLAT, lambda: nn.Linear(192, 10), lambda: nn.Linear(10, 1)),
        reason=PLACES,
    ),
    row(
        "_conv_relu_pool_linear_relu_linear",
        "convolution, ReLU, max-pooling, perceptron",
        lambda: convolved(RELU, POOL, FLAT, lambda: nn.Linear(192, 10), RELU, lambda: nn.Linear(10, 1)),
        reason=PLACES,
    ),
    other("captum_deep_lift_shap_summodel", "a sum", "captum's to 5 decimals", as_captum(models.first_sum)),
    other("captum_deep_lift_shap_flattendense", "dense", "captum's to 5 decimals", as_captum(models.flat_dense)),
    other("captum_deep_lift_shap_scatter", "one place", "captum's to 5 decimals", as_captum(models.first_place)),
    other("captum_deep_lift_shap_conv", "convolution", "captum's to 5 decimals", as_captum(models.total_conv)),
    *(
        other(f"captum_deep_lift_shap_{name}", "a sum; dense; one place; convolution", "captum's", all_as_captum)
        for name in ("batch_size", "n_shuffles")
    ),
    other(
        "captum_deep_lift_shap_args",
        "dense, times and plus what is given",
        "captum's",
        as_captum(lambda: models.scaled(torch.tensor([[0.3]]), torch.tensor([[-1.2]]))),
    ),
    row("_residual_conv", "residual block", models.residual, "shuffled", 5),
    row("_conv2d_expand", "convolution in 2D", models.expanded, "shuffled", 5),
    row("_custom_linear", "a linear function with a gradient of its own", models.custom_linear, "shuffled", 5),
    row("_custom_sqrt", "a square root with a gradient of its own", models.custom_root, "shuffled", 5),
    row("_dilated_conv", "dilated convolutions with one ReLU", models.dilated, "shuffled", 5, REUSED),
    row("_multi_activation", "convolutions with GELU, SiLU, tanh", models.many_activations, "shuffled", 5),
    row("_dropout_conv", "convolution with dropout", models.with_dropout, "shuffled", 5),
    row("_multi_input_multi_output", "one of several outputs", models.several_outputs, "shuffled", 5),
    *(activation(name) for name in figures()["activations"]),
    *(
        other(f"deep_lift_shap_{name}", "dense", expected, None, OPTIONS)
        for name, expected in {
            "print_convergence_deltas": "something printed",
            "only_warn": "a warning for an error",
            "preserves_model_state": "no hooks left",
            "cleans_up_hooks_on_exception": "no hooks left",
            "dtype_param": "a type",
            "random_state_none_consistency": "other references each time",
            "invalid_target": "an error",
            "empty_X": "an error",
            "return_references_named_tuple": "a named tuple",
            "verbose": "the same with progress shown",
        }.items()
    ),
    other("deep_lift_shap_single_sequence", "dense", "the same in batches of any size", independent),
    *(
        other(f"hypothetical_attributions{name}", "-", "a sum of multipliers given to it", None, UNSEEN)
        for name in ("_ones", "", "_half_precision", "_independence", "_raises")
    ),
]
