"""Which methods there are, and what is known of each before it has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from explain_core.errors import InputError
from explain_core.rules.relevance import EPSILON


class Completeness(StrEnum):
    """Whether a method's attributions add up to the difference of the predictions."""

    EXACT = "by construction"
    ABSORBED = "but for what biases absorb"
    LIMIT = "with enough steps"
    NONE = "not promised"


class Cost(StrEnum):
    """How often a method runs the model: a few times, tens to hundreds of times, or for every value and more."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True)
class Method:
    """One way to explain.

    Attributes:
        name: for people.
        words: what it does, in one plain sentence.
        runs: by framework ("torch", "tensorflow") the function that does it, as ``module:function``; "" for the
            engine.
        libraries: by framework the package whose code it is; "" is PairLift's own.
        completeness: what the method promises in theory; the residual says what came out.
        cost: see `Cost`.
        options: what can be set, with the defaults.
    """

    name: str
    words: str
    runs: Mapping[str, str]
    libraries: Mapping[str, str]
    completeness: Completeness
    cost: Cost
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frameworks(self) -> tuple[str, ...]:
        """The frameworks whose models it explains."""
        return tuple(self.runs)


_TORCH, _TENSORFLOW, _ANY = (f"explain_core.methods.{name}" for name in ("torch_methods", "tensorflow_methods", "any"))


def _integrated(steps: int) -> Method:
    return Method(
        f"Integrated gradients, {steps} steps",
        f"The average slope of the model at {steps} points of the straight way from the baseline to the input, times "
        "the difference.",
        {"torch": f"{_TORCH}:integrated_gradients", "tensorflow": f"{_TENSORFLOW}:integrated_gradients"},
        {"torch": "captum", "tensorflow": ""},
        Completeness.LIMIT,
        Cost.MEDIUM,
        {"steps": steps},
    )


def _shapley(name: str, words: str, function: str, completeness: Completeness, options: dict[str, Any]) -> Method:
    runs = dict.fromkeys(("torch", "tensorflow"), f"{_ANY}:{function}")
    return Method(name, words, runs, dict.fromkeys(runs, "shap"), completeness, Cost.HIGH, options)


METHODS: dict[str, Method] = {
    "pairlift": Method(
        "PairLift",
        "This program: follows the input and the baseline side by side through every operation, by DeepLIFT's rules.",
        dict.fromkeys(("torch", "tensorflow"), ""),
        dict.fromkeys(("torch", "tensorflow"), ""),
        Completeness.EXACT,
        Cost.LOW,
    ),
    "deep_explainer": Method(
        "shap DeepExplainer",
        "DeepLIFT's rules where shap has one for a layer; for other layers, such as PyTorch's LSTM, the plain slope.",
        {"torch": f"{_TORCH}:deep_explainer", "tensorflow": f"{_TENSORFLOW}:deep_explainer"},
        dict.fromkeys(("torch", "tensorflow"), "shap"),
        Completeness.EXACT,
        Cost.LOW,
    ),
    "deep_lift": Method(
        "captum DeepLift",
        "DeepLIFT's rules where captum has one for a layer; for other layers, such as PyTorch's LSTM, the plain slope.",
        {"torch": f"{_TORCH}:deep_lift"},
        {"torch": "captum"},
        Completeness.EXACT,
        Cost.LOW,
    ),
    "gradient_difference": Method(
        "Gradient × difference",
        "The slope of the model at the input, times the difference from the baseline.",
        {"torch": f"{_TORCH}:gradient_difference", "tensorflow": f"{_TENSORFLOW}:gradient_difference"},
        {"torch": "captum", "tensorflow": ""},
        Completeness.NONE,
        Cost.LOW,
    ),
    "lrp": Method(
        "Layer-wise relevance propagation",
        "Shares out the prediction itself from layer to layer by what each value adds; gates get nothing, biases keep "
        "their part.",
        dict.fromkeys(("torch", "tensorflow"), ""),
        dict.fromkeys(("torch", "tensorflow"), ""),
        Completeness.ABSORBED,
        Cost.LOW,
        {"epsilon": EPSILON},
    ),
    "integrated_gradients_20": _integrated(20),
    "integrated_gradients": _integrated(50),
    "integrated_gradients_300": _integrated(300),
    "gradient_shap": Method(
        "Gradient SHAP",
        "Integrated gradients at random points of the way, from baselines drawn at random.",
        {"torch": f"{_TORCH}:gradient_shap", "tensorflow": f"{_TENSORFLOW}:gradient_shap"},
        dict.fromkeys(("torch", "tensorflow"), "shap"),
        Completeness.LIMIT,
        Cost.MEDIUM,
        {"points": 200},
    ),
    "occlusion": Method(
        "Occlusion",
        "How the prediction changes when one value alone is replaced by the baseline's.",
        {"torch": f"{_TORCH}:occlusion", "tensorflow": f"{_ANY}:occlusion"},
        {"torch": "captum", "tensorflow": ""},
        Completeness.NONE,
        Cost.HIGH,
    ),
    "sampled_shapley": _shapley(
        "Shapley values, sampled",
        "The average change when values are put in one after the other, over random orders.",
        "sampled_shapley",
        Completeness.EXACT,
        {"orders": None},
    ),
    "kernel_shap": _shapley(
        "Kernel SHAP",
        "Shapley values estimated by a weighted regression on random subsets of the values.",
        "kernel_shap",
        Completeness.EXACT,
        {"subsets": None},
    ),
    "exact_shapley": _shapley(
        "Shapley values, exact",
        "The average change when values are put in, over all orders there are; for a handful of values only.",
        "exact_shapley",
        Completeness.EXACT,
        {},
    ),
}
"""Every method by its id."""


def method_of(name: str) -> Method:
    """The method with this id.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        raise InputError(f"There is no method {name!r}.", hint=f"Choose one of {', '.join(METHODS)}.")
    return METHODS[name]
