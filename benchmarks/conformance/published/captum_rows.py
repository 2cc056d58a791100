"""captum's tests of DeepLift and DeepLiftShap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import explain_core as xc
from benchmarks.conformance.published import Outcome, Row, attributed, both, complete, numbers
from benchmarks.conformance.published import captum_models as models

BASIC, CLASSES = "tests/attr/test_deeplift_basic.py", "tests/attr/test_deeplift_classification.py"
SEED = 1234
"""What captum's tests seed PyTorch with."""
WITHIN_GRADIENTS = 0.05
"""How near they ask integrated gradients to be."""
X1, X2 = torch.tensor([[-10.0, 1.0, -5.0]]), torch.tensor([[3.0, 3.0, 1.0]])
TWO = (torch.tensor([[-10.0, 1.0, -5.0], [2.0, 3.0, 4.0]]), torch.tensor([[3.0, 3.0, 1.0], [2.3, 5.0, 4.0]]))
SET = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])

OWN_FUNCTION = (
    "a function of the caller's on the multipliers: PairLift gives contributions, not multipliers of what stays"
)
ROUNDING = (
    "all weights are 1, so that all logits move together and no probability moves: the difference is zero, and "
    "PairLift returns no attributions that are only the rounding of the logits"
)
MAX_RULE = (
    "captum gives all to the places of the two maxima; PairLift gives the exact Shapley values of the maximum, in "
    "which the other elements that the baseline's maximum stood above have a part"
)


def explain(model: nn.Module, inputs: Any, baselines: Any, target: Any = 0, background: bool = False) -> xc.Explanation:
    return xc.explain(model.eval(), inputs, baselines, target, "torch", "cpu", background)


def integrated_gradients(
    model: nn.Module, inputs: tuple[Tensor, ...], baselines: tuple[Tensor, ...], target: int
) -> list:
    """Sundararajan et al. 2017, by the midpoint rule."""
    total = [torch.zeros_like(x) for x in inputs]
    for step in range(100):
        at = [
            (b + (step + 0.5) / 100 * (x - b)).detach().requires_grad_() for x, b in zip(inputs, baselines, strict=True)
        ]
        y = model(*at)
        for part, gradient in zip(total, torch.autograd.grad(y.reshape(len(y), -1)[:, target].sum(), at), strict=True):
            part += gradient / 100
    return [(part * (x - b)).numpy() for part, x, b in zip(total, inputs, baselines, strict=True)]


def sound(model: nn.Module, inputs: Any, baselines: Any, within: float = 1e-5, target: int = 0) -> Outcome:
    """Complete, and near integrated gradients."""
    found = explain(model, inputs, baselines, target)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    baselines = baselines if isinstance(baselines, tuple) else (baselines,)
    baselines = tuple(b.expand_as(x) for x, b in zip(inputs, baselines, strict=True))
    near = integrated_gradients(model, inputs, baselines, target)
    off = max(float(abs(a - b).max()) for a, b in zip(attributed(found), near, strict=True))
    return both(complete(found, within), Outcome(f"{off:.0e} from integrated gradients", off <= WITHIN_GRADIENTS))


def complete_set(model: nn.Module, inputs: Any, baselines: Any, within: float = 1e-5, target: Any = 0) -> Outcome:
    return complete(explain(model, inputs, baselines, target, background=True), within)


def multipliers(
    model: nn.Module, inputs: Any, baselines: Any, background: bool = False, target: Any = 0
) -> list[np.ndarray]:
    """Contributions over differences; nothing here differs by zero."""
    found = attributed(explain(model, inputs, baselines, target, background))
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    baselines = baselines if isinstance(baselines, tuple) else (baselines,)
    return [part / (x - b[:1]).numpy() for part, x, b in zip(found, inputs, baselines, strict=True)]


def zeros(values: Any) -> Any:
    return tuple(map(torch.zeros_like, values)) if isinstance(values, tuple) else torch.zeros_like(values)


def all_numbers(found: list[np.ndarray], wanted: list[Any], within: float = 1e-4) -> Outcome:
    return both(*(numbers(a, b, within) for a, b in zip(found, wanted, strict=True)))


def same(first: list[np.ndarray], second: list[np.ndarray]) -> Outcome:
    return all_numbers(first, second)


def pair(a: float, b: float, *shape: int) -> tuple[Tensor, Tensor]:
    return torch.full(shape, a), torch.full(shape, b)


def row(
    file: str, test: str, model: str, expected: str, run: Callable[[], Outcome] | None = None, reason: str = ""
) -> Row:
    return Row("captum", f"{file}::{test}", model, expected, run, reason)


def relu_pair() -> nn.Module:
    return models.two_branches(torch.relu)


def exact() -> Outcome:
    inputs = pair(1.0, 2.0, 1)[0], pair(1.0, 2.0, 1)[1]
    found = explain(relu_pair(), inputs, zeros(inputs))
    return both(all_numbers(attributed(found), [[2.0], [1.0]], 0), complete(found, 0))


def in_place(background: bool) -> Outcome:
    base = (SET, SET) if background else zeros(TWO)
    return same(*(attributed(explain(models.relu_linear(k), TWO, base, background=background)) for k in (True, False)))


def as_functions() -> Outcome:
    given = (X1, X2), [lambda: (SET, SET), lambda: (torch.cat([X1, X1 - 10]), torch.cat([X2, X2 - 10]))]
    return both(*(complete_set(models.relu_linear(True), given[0], made()) for made in given[1]))


def maximum() -> Outcome:
    base = torch.tensor([[1.0, 2.0, 3.0, 9.0], [4.0, 8.0, 6.0, 7.0]])
    found = explain(models.linear_pool_linear(), torch.ones(2, 4), base)
    return both(numbers(attributed(found)[0], [[0, 0, 0, -8.0], [0, -7.0, 0, 0]], 1e-4), complete(found, 1e-4))


def reused() -> Outcome:
    torch.manual_seed(SEED)
    found = explain(models.reused(), torch.rand(1, 3), torch.zeros(1, 3))
    return Outcome(f"explained, {complete(found, 1e-6).ours}", False)


def random_linear() -> Outcome:
    torch.manual_seed(SEED)
    return sound(models.relu_linear(True), TWO, (torch.zeros(1, 3), torch.rand(1, 3) * 0.001))


BASIC_ROWS = [
    row(
        BASIC,
        "test_relu_deeplift",
        "two ReLU branches",
        "complete to 1e-5; within 0.05 of integrated gradients",
        lambda: sound(relu_pair(), pair(1.0, 2.0, 1), pair(0.0, 0.0, 1)),
    ),
    row(BASIC, "test_relu_deeplift_exact_match", "two ReLU branches", "2; 1; no residual", exact),
    row(
        BASIC,
        "test_relu_deeplift_exact_match_wo_mutliplying_by_inputs",
        "two ReLU branches",
        "multipliers 2; 0.5",
        lambda: all_numbers(multipliers(relu_pair(), pair(1.0, 2.0, 1), pair(0.0, 0.0, 1)), [[2.0], [0.5]], 0),
    ),
    row(
        BASIC,
        "test_tanh_deeplift",
        "two tanh branches",
        "complete to 1e-5; within 0.05 of integrated gradients",
        lambda: sound(models.two_branches(torch.tanh), pair(-1.0, -2.0, 1), pair(0.0, 0.0, 1)),
    ),
    row(
        BASIC,
        "test_relu_deeplift_batch",
        "two ReLU branches",
        "complete to 1e-5; within 0.05 of integrated gradients",
        lambda: sound(relu_pair(), pair(1.0, 2.0, 4, 1), pair(0.0, 0.0, 4, 1)),
    ),
    row(
        BASIC,
        "test_relu_linear_deeplift",
        "linear, ReLU, linear",
        "complete to 1e-5; within 0.05 of integrated gradients",
        lambda: sound(models.relu_linear(), (X1, X2), pair(0.0, 0.0001, 1, 3)),
    ),
    row(
        BASIC,
        "test_relu_linear_deeplift_compare_inplace",
        "linear, ReLU, linear",
        "the same with a ReLU in place",
        lambda: in_place(False),
    ),
    row(
        BASIC,
        "test_relu_linear_deepliftshap_compare_inplace",
        "linear, ReLU, linear",
        "the same with a ReLU in place",
        lambda: in_place(True),
    ),
    row(
        BASIC,
        "test_relu_linear_deeplift_batch",
        "linear, ReLU, linear",
        "complete to 1e-5; within 0.05 of integrated gradients",
        random_linear,
    ),
    row(BASIC, "test_relu_deeplift_with_hypothetical_contrib_func", "convolution", "a shape", None, OWN_FUNCTION),
    row(
        BASIC,
        "test_relu_deepliftshap_batch_4D_input",
        "two ReLU branches",
        "complete to 1e-5",
        lambda: complete_set(relu_pair(), pair(1.0, 2.0, 4, 1, 1, 1), pair(0.0, 0.0, 4, 1, 1, 1), target=(0, 0, 0)),
    ),
    row(
        BASIC,
        "test_relu_deepliftshap_batch_4D_input_wo_mutliplying_by_inputs",
        "two ReLU branches",
        "multipliers 2; 0.5",
        lambda: all_numbers(
            multipliers(relu_pair(), pair(1.0, 2.0, 4, 1, 1, 1), pair(0.0, 0.0, 4, 1, 1, 1), True, (0, 0, 0)),
            [np.full((4, 1, 1, 1), 2.0), np.full((4, 1, 1, 1), 0.5)],
        ),
    ),
    row(
        BASIC,
        "test_relu_deepliftshap_multi_ref",
        "two ReLU branches",
        "complete to 1e-5",
        lambda: complete_set(relu_pair(), pair(1.0, 2.0, 1, 1), pair(0.0, 0.0, 4, 1)),
    ),
    row(BASIC, "test_relu_deepliftshap_baselines_as_func", "linear, ReLU, linear", "complete to 1e-5", as_functions),
    row(BASIC, "test_relu_deepliftshap_with_custom_attr_func", "linear, ReLU, linear", "0", None, OWN_FUNCTION),
    row(BASIC, "test_relu_deepliftshap_with_hypothetical_contrib_func", "convolution", "a shape", None, OWN_FUNCTION),
    row(
        BASIC,
        "test_reusable_modules",
        "one ReLU at two places",
        "an error",
        reused,
        "captum's hooks cannot tell the two uses apart, so it refuses; PairLift records operations, and explains it",
    ),
    row(
        BASIC,
        "test_lin_maxpool_lin_classification",
        "maximum of four",
        "(0, 0, 0, -8); (0, -7, 0, 0)",
        maximum,
        MAX_RULE,
    ),
    row(BASIC, "test_futures_not_implemented", "-", "an error", None, "futures are a call form of captum's own"),
]


def classified(
    model: Callable[[], nn.Module], draw: Callable[[], tuple[Tensor, Tensor]], targets: tuple[int, ...]
) -> Outcome:
    torch.manual_seed(SEED)
    x, base = draw()
    net = model()
    return both(*(sound(net, x, base, 0.003, target) for target in targets))


def classified_set(samples: int) -> Outcome:
    torch.manual_seed(SEED)
    x, base = torch.arange(samples * 40.0).reshape(samples, 40), torch.randn(5, 40)
    net = models.softmax_model(40)
    return both(*(complete_set(net, x, base, 0.003, target) for target in (2, 1)))


def convolved(dimensions: int, spread: float) -> Callable[[], Outcome]:
    shape = (2, 1, *[10] * dimensions)
    return lambda: classified(
        lambda: models.convolutions(dimensions),
        lambda: (100 * torch.randn(shape), spread * torch.randn(shape)),
        (2, 1),
    )


def softmax(inputs: int, samples: int, base: float | None, double: bool = False) -> Callable[[], Outcome]:
    def draw() -> tuple[Tensor, Tensor]:
        x = torch.arange(samples * float(inputs)).reshape(samples, inputs)
        b = torch.zeros_like(x) if base is not None else torch.arange(1.0, inputs + 1).expand(samples, inputs)
        return (x.double(), b.double()) if double else (x, b)

    def model() -> nn.Module:
        return models.softmax_model(inputs).double() if double else models.softmax_model(inputs)

    return lambda: classified(model, draw, (2, 1))


GRADIENTS = "complete to 0.003; within 0.05 of integrated gradients"
CLASS_ROWS = [
    row(
        CLASSES,
        "test_sigmoid_classification",
        "linear, ReLU, linear, sigmoid",
        GRADIENTS,
        lambda: classified(models.sigmoid_model, lambda: (torch.arange(20.0)[None], torch.zeros(1, 20)), (0,)),
    ),
    row(
        CLASSES,
        "test_softmax_classification_zero_baseline",
        "perceptron, softmax",
        GRADIENTS,
        softmax(20, 1, 0.0),
        ROUNDING,
    ),
    row(
        CLASSES,
        "test_softmax_classification_batch_zero_baseline",
        "perceptron, softmax",
        GRADIENTS,
        softmax(40, 3, 0.0),
        ROUNDING,
    ),
    row(
        CLASSES,
        "test_softmax_classification_batch_multi_target",
        "perceptron, softmax",
        GRADIENTS,
        softmax(40, 3, None, True),
        ROUNDING,
    ),
    row(
        CLASSES,
        "test_softmax_classification_multi_baseline",
        "perceptron, softmax",
        "complete to 0.003",
        lambda: classified_set(1),
        ROUNDING,
    ),
    row(
        CLASSES,
        "test_softmax_classification_batch_multi_baseline",
        "perceptron, softmax",
        "complete to 0.003",
        lambda: classified_set(2),
        ROUNDING,
    ),
    *(
        row(
            CLASSES,
            f"test_convnet_with_maxpool{d}d{label}",
            f"convolutions in {d}D, max-pooling, softmax",
            GRADIENTS,
            convolved(d, spread),
        )
        for d in (3, 2, 1)
        for label, spread in (("", 20.0), ("_large_baselines", 600.0 if d == 3 else 500.0))
    ),
]

ROWS = [*BASIC_ROWS, *CLASS_ROWS]
