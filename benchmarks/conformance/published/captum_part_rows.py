"""captum's tests of the forms for layers and neurons: the model from a layer on, and up to a unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.conformance.published import Outcome, attributed, both, complete, numbers
from benchmarks.conformance.published import captum_models as models
from benchmarks.conformance.published.captum_rows import (
    OWN_FUNCTION,
    SEED,
    X1,
    X2,
    all_numbers,
    explain,
    multipliers,
    row,
    zeros,
)

LAYER, NEURON = "tests/attr/layer/test_layer_deeplift.py", "tests/attr/neuron/test_neuron_deeplift.py"


def after_relu_input(scale: float = 1.0) -> tuple[nn.Module, Tensor, Tensor]:
    """The model from the ReLU's input on."""
    at = hidden_pair(scale)
    return models.Of(lambda net, z: net.relu(z).sum(1, keepdim=True), relu=nn.ReLU(inplace=True)), *at


def hidden_pair(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    return models.hidden(X1, X2, scale), models.hidden(0 * X1, 0 * X2, scale)


def from_layer(wanted: Any, scale: float = 1.0, background: bool = False, over: bool = False) -> Callable[[], Outcome]:
    def run() -> Outcome:
        model, z, base = after_relu_input(scale)
        base = base.repeat(3, 1) if background else base
        if not over:
            return all_numbers(attributed(explain(model, z, base, background=background)), [wanted])
        found = attributed(explain(model, z, base, background=background))[0]
        moved = (z - base[:1]).numpy()
        return numbers(found / np.where(moved == 0, 1, moved), wanted, 1e-4)

    return run


def from_relu_output(copies: int, wanted: Any, background: bool = False) -> Callable[[], Outcome]:
    """The input of the last linear layer."""

    def run() -> Outcome:
        z, base = (torch.relu(value).repeat(copies, 1) for value in hidden_pair())
        model = models.Of(lambda net, h: h.sum(1, keepdim=True))
        return all_numbers(
            attributed(explain(model, z, base[:1].repeat(3, 1) if background else base, background=background)),
            [wanted],
        )

    return run


def from_end(copies: int, background: bool = False, over: bool = False) -> Callable[[], Outcome]:
    """The last layer's output is the prediction itself."""

    def run() -> Outcome:
        z, base = (torch.relu(value).sum(1, keepdim=True).repeat(copies, 1) for value in hidden_pair())
        found = attributed(explain(models.Of(lambda net, y: 1.0 * y), z, base, background=background))[0]
        if over:
            return numbers(2 * found / (z - base).numpy(), [[2.0]], 1e-4)
        return numbers(found, [[15.0]] * copies, 1e-4)

    return run


def two_relus(background: bool) -> Outcome:
    """From both outputs of a module with two ReLUs."""
    weight, bias = torch.ones(4, 3), torch.tensor([-10.0, 1.0, 1.0, 1.0])
    h, base = (torch.relu(value @ weight.T + bias) for value in (X1, 0 * X1))
    base = base.repeat(3, 1) if background else base
    model = models.OfTwo(lambda net, a, b: (a + b).sum(1, keepdim=True))
    found = explain(model, (h, h), (base, base), background=background)
    return both(all_numbers(attributed(found), [[[0, -1.0, -1, -1]]] * 2), complete(found, 1e-4))


def pooled_relu() -> Outcome:
    pooled = nn.functional.max_pool1d(torch.tensor([[[1.0, 2.0, -4.0], [-3.0, -2.0, -1.0]]]), 3)
    model = models.Of(lambda net, z: net.relu(z).sum(1), relu=nn.ReLU(inplace=True))
    return numbers(multipliers(model, pooled, zeros(pooled))[0], [[[1.0], [0.0]]], 1e-4)


def pooled_maximum() -> Outcome:
    found = explain(models.Of(lambda net, z: z[:, 0]), torch.ones(2, 1, 1), torch.tensor([[[9.0]], [[8.0]]]))
    return both(numbers(attributed(found)[0], [[[-8.0]], [[-7.0]]], 1e-4), complete(found, 1e-4))


def from_pool(dimensions: int) -> Callable[[], Outcome]:
    """Its sum is that of the input of the convolution that follows, which is the same tensor: the difference itself."""

    def run() -> Outcome:
        torch.manual_seed(SEED)
        x = 100 * torch.randn(2, 1, *[10] * dimensions)
        net = models.convolutions(dimensions)
        with torch.no_grad():
            z, base = net[:3](x), net[:3](0 * x)
        return complete(explain(net[3:], z, base), 1e-6)

    return run


def unused() -> Outcome:
    weight = torch.ones(2, 4)
    model = models.Of(lambda net, z: torch.ones(len(z), 4) @ weight.T + 0 * z.sum(1, keepdim=True))
    return numbers(attributed(explain(model, torch.full((1, 4), 3.0), torch.zeros(1, 4)))[0], [[0.0] * 4], 0)


ALIAS = "the rest of the model from that layer on"
LAYER_ROWS = [
    row(LAYER, "test_relu_layer_deeplift", ALIAS, "0, 15", from_layer([[0.0, 15.0]])),
    row(
        LAYER,
        "test_relu_layer_deeplift_wo_mutliplying_by_inputs",
        ALIAS,
        "multipliers 0, 1",
        from_layer([[0.0, 1.0]], over=True),
    ),
    row(LAYER, "test_relu_layer_deeplift_multiple_output", ALIAS, "(0, -1, -1, -1) twice", lambda: two_relus(False)),
    row(LAYER, "test_relu_layer_deeplift_add_args", ALIAS, "0, 45", from_layer([[0.0, 45.0]], scale=3.0)),
    row(LAYER, "test_linear_layer_deeplift", ALIAS, "0, 15", from_relu_output(1, [[0.0, 15.0]])),
    row(LAYER, "test_relu_deeplift_with_custom_attr_func", ALIAS, "twice the multiplier: 2", from_end(1, over=True)),
    row(LAYER, "test_inplace_maxpool_relu_with_custom_attr_func", ALIAS, "multipliers 1, 0", pooled_relu),
    row(
        LAYER,
        "test_linear_layer_deeplift_batch",
        ALIAS,
        "(0, 15); 15",
        lambda: both(from_relu_output(3, [[0.0, 15.0]] * 3)(), from_end(3)()),
    ),
    row(LAYER, "test_relu_layer_deepliftshap", ALIAS, "0, 15", from_layer([[0.0, 15.0]], background=True)),
    row(
        LAYER,
        "test_relu_layer_deepliftshap_wo_mutliplying_by_inputs",
        ALIAS,
        "multipliers 0, 1",
        from_layer([[0.0, 1.0]], background=True, over=True),
    ),
    row(LAYER, "test_relu_layer_deepliftshap_multiple_output", ALIAS, "(0, -1, -1, -1) twice", lambda: two_relus(True)),
    row(
        LAYER,
        "test_linear_layer_deepliftshap",
        ALIAS,
        "(0, 15); 15",
        lambda: both(from_relu_output(1, [[0.0, 15.0]], True)(), from_end(1, True)()),
    ),
    row(
        LAYER, "test_relu_deepliftshap_with_custom_attr_func", ALIAS, "twice the multiplier: 2", from_end(1, True, True)
    ),
    row(LAYER, "test_lin_maxpool_lin_classification", ALIAS, "-8; -7", pooled_maximum),
    row(LAYER, "test_convnet_maxpool2d_classification", ALIAS, "the same sum at both ends of a layer", from_pool(2)),
    row(LAYER, "test_convnet_maxpool3d_classification", ALIAS, "the same sum at both ends of a layer", from_pool(3)),
    row(LAYER, "test_relu_deeplift_with_unused_layer", ALIAS, "0", unused),
]


def to_neuron(
    wanted: list[Any], active: bool = True, over: bool = False, background: bool = False
) -> Callable[[], Outcome]:
    """The model up to a unit: the first of the ReLU's outputs, or the last layer's."""

    def run() -> Outcome:
        end = (lambda h: h.sum(1, keepdim=True)) if active else (lambda h: h[:, :1])
        model = models.OfTwo(lambda net, x1, x2: end(net.relu(hidden_of(x1, x2))), relu=nn.ReLU())
        base = tuple(b.repeat(3, 1) for b in zeros((X1, X2))) if background else zeros((X1, X2))
        if over:
            return all_numbers(multipliers(model, (X1, X2), base, background), wanted)
        return all_numbers(attributed(explain(model, (X1, X2), base, background=background)), wanted)

    return run


def hidden_of(x1: Tensor, x2: Tensor) -> Tensor:
    return models.hidden(x1, x2)


def in_place_neuron() -> Outcome:
    def of(inplace: bool) -> list[np.ndarray]:
        relu = nn.ReLU(inplace=inplace)
        model = models.OfTwo(lambda net, x1, x2: net.relu(hidden_of(x1, x2))[:, :1], relu=relu)
        return attributed(explain(model, (X1, X2), zeros((X1, X2))))

    return all_numbers(of(True), of(False))


def to_pool(dimensions: int) -> Callable[[], Outcome]:
    """One unit behind the max-pooling, which is also the next layer's input."""

    def run() -> Outcome:
        torch.manual_seed(SEED)
        x = 100 * torch.randn(2, 1, *[10] * dimensions)
        net = nn.Sequential(*models.convolutions(dimensions)[:3], nn.Flatten())
        return complete(explain(net, x, 0 * x), 1e-3)

    return run


def to_maximum() -> Outcome:
    base = torch.tensor([[1.0, 2.0, 3.0, 9.0], [4.0, 8.0, 6.0, 7.0]])
    return complete(explain(models.linear_pool_linear(), torch.ones(2, 4), base), 1e-4)


NOTHING, THIRD = [np.zeros((1, 3))] * 2, "the model up to that unit"
SIX_NINE, TWO_THREE = [np.zeros((1, 3)), [[6.0, 9.0, 0.0]]], [np.zeros((1, 3)), [[2.0, 3.0, 0.0]]]
NEURON_ROWS = [
    row(NEURON, "test_relu_neuron_deeplift", THIRD, "0; 0", to_neuron(NOTHING, active=False)),
    row(
        NEURON,
        "test_deeplift_compare_with_and_without_inplace",
        THIRD,
        "the same with a ReLU in place",
        in_place_neuron,
    ),
    row(
        NEURON,
        "test_linear_neuron_deeplift",
        THIRD,
        "0; 0, then 0; (6, 9, 0)",
        lambda: both(to_neuron(NOTHING, active=False)(), to_neuron(SIX_NINE)()),
    ),
    row(
        NEURON,
        "test_linear_neuron_deeplift_wo_inp_marginal_effects",
        THIRD,
        "multipliers 0; (2, 3, 0)",
        to_neuron(TWO_THREE, over=True),
    ),
    row(NEURON, "test_relu_deeplift_with_custom_attr_func", THIRD, "0; 0", None, OWN_FUNCTION),
    row(NEURON, "test_relu_neuron_deeplift_shap", THIRD, "0; 0", to_neuron(NOTHING, active=False, background=True)),
    row(
        NEURON,
        "test_linear_neuron_deeplift_shap",
        THIRD,
        "0; 0, then 0; (6, 9, 0)",
        lambda: both(to_neuron(NOTHING, active=False, background=True)(), to_neuron(SIX_NINE, background=True)()),
    ),
    row(
        NEURON,
        "test_linear_neuron_deeplift_shap_wo_inp_marginal_effects",
        THIRD,
        "multipliers 0; (2, 3, 0)",
        to_neuron(TWO_THREE, over=True, background=True),
    ),
    row(NEURON, "test_relu_deepliftshap_with_custom_attr_func", THIRD, "0; 0", None, OWN_FUNCTION),
    row(NEURON, "test_lin_maxpool_lin_classification", THIRD, "the same at both ends of a layer", to_maximum),
    row(NEURON, "test_convnet_maxpool2d_classification", THIRD, "the same sum at both ends of a layer", to_pool(2)),
    row(NEURON, "test_convnet_maxpool3d_classification", THIRD, "the same sum at both ends of a layer", to_pool(3)),
]

ROWS = [*LAYER_ROWS, *NEURON_ROWS]
