"""Methods for PyTorch models, through captum and shap. Each returns (K, ...) for every explained input.

Several baselines: every method is run for each of them and the results are averaged, which for DeepLift is what
captum calls DeepLiftShap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from explain_core.errors import MethodError
from explain_core.methods.sample import Sample, seeded
from explain_core.methods.shap_values import from_shap
from explain_core.methods.torch_model import TorchModel


def integrated_gradients(model: TorchModel, sample: Sample, steps: int) -> list[np.ndarray]:
    """Sundararajan et al. 2017, by ``captum.attr.IntegratedGradients`` with its Gauss-Legendre points.

    Token ids are followed from the embedding's output, by ``captum.attr.LayerIntegratedGradients``, and summed over it.
    """
    from captum.attr import IntegratedGradients, LayerIntegratedGradients

    options = {"n_steps": steps, "internal_batch_size": max(sample.rows_at_once, len(sample.base[0]))}
    if sample.takes_gradients:
        method = IntegratedGradients(model)
        return _per_output(model, sample, lambda x, b, k: method.attribute(x, b, target=k, **options))
    method = LayerIntegratedGradients(model, _only_embedding(model, sample))

    def at_embedding(x: tuple[Tensor, ...], b: tuple[Tensor, ...], k: int) -> Tensor:
        return method.attribute(x, b, target=k, **options).sum(-1)

    return _per_output(model, sample, at_embedding)


def deep_lift(model: TorchModel, sample: Sample) -> list[np.ndarray]:
    """Shrikumar et al. 2017, by ``captum.attr.DeepLift``."""
    from captum.attr import DeepLift

    model.require_batches("captum")
    _require_floats(sample)
    _note_what_has_no_rule(model, "captum", "input")
    method = DeepLift(model)
    return _per_output(model, sample, lambda x, b, k: method.attribute(x, b, target=k))


def deep_explainer(model: TorchModel, sample: Sample) -> list[np.ndarray]:
    """Lundberg & Lee 2017, by ``shap.DeepExplainer``, without its check that the sum is right to 0.01."""
    import shap

    model.require_batches("shap")
    _require_floats(sample)
    _note_what_has_no_rule(model, "shap", "baseline")
    test, base = _tensors(model, sample.test), _tensors(model, sample.base)
    explainer = shap.DeepExplainer(model, base if len(base) > 1 else base[0])
    return from_shap(explainer.shap_values(test if len(test) > 1 else test[0], check_additivity=False), sample)


def gradient_shap(model: TorchModel, sample: Sample, points: int) -> list[np.ndarray]:
    """Expected gradients (Erion et al. 2021), by ``shap.GradientExplainer``."""
    import shap

    _require_floats(sample)
    test, base = _tensors(model, sample.test), _tensors(model, sample.base)
    with seeded(sample.seed):
        explainer = shap.GradientExplainer(model, base if len(base) > 1 else base[0])
        values = explainer.shap_values(test if len(test) > 1 else test[0], nsamples=points, rseed=sample.seed)
    return from_shap(values, sample)


def gradient_difference(model: TorchModel, sample: Sample) -> list[np.ndarray]:
    """The gradient by ``captum.attr.Saliency`` times the difference; with zeros as baseline it is InputXGradient."""
    from captum.attr import Saliency

    _require_floats(sample)
    method = Saliency(model)

    def slope_times_difference(x: tuple[Tensor, ...], b: tuple[Tensor, ...], k: int) -> tuple[Tensor, ...]:
        slopes = method.attribute(x, target=k, abs=False)
        return tuple(slope * (here - there) for slope, here, there in zip(slopes, x, b, strict=True))

    return _per_output(model, sample, slope_times_difference)


def occlusion(model: TorchModel, sample: Sample) -> list[np.ndarray]:
    """Zeiler & Fergus 2014, by ``captum.attr.Occlusion`` with a window of one value."""
    from captum.attr import Occlusion

    method = Occlusion(model)
    windows = tuple((1,) * (values.ndim - 1) for values in sample.test)
    at_once = max(1, sample.rows_at_once // len(sample.base[0]))

    def occlude(x: tuple[Tensor, ...], b: tuple[Tensor, ...], k: int) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return method.attribute(x, windows, baselines=b, target=k, perturbations_per_eval=at_once)

    return _per_output(model, sample, occlude)


Attribute = Callable[[tuple[Tensor, ...], tuple[Tensor, ...], int], Tensor | tuple[Tensor, ...]]


def _per_output(model: TorchModel, sample: Sample, attribute: Attribute) -> list[np.ndarray]:
    """Every output by itself, and the mean over the baselines, which are the rows of one batch."""
    base = _tensors(model, sample.base)
    test = tuple(x.expand_as(b).clone() for x, b in zip(_tensors(model, sample.test), base, strict=True))
    outputs = model(*(x[:1] for x in test)).shape[1]
    found = []
    for k in range(outputs):
        inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in test)
        values = attribute(inputs, tuple(base), k)
        values = values if isinstance(values, tuple) else (values,)
        found.append([value.detach().mean(0, dtype=torch.float64).cpu().numpy() for value in values])
    return [np.stack(of_each) for of_each in zip(*found, strict=True)]


def _tensors(model: TorchModel, leaves: Sequence[np.ndarray]) -> list[Tensor]:
    return [model.tensor(leaf) for leaf in leaves]


def _require_floats(sample: Sample) -> None:
    if not sample.takes_gradients:
        raise MethodError(
            "Token ids are whole numbers, of which this method can take no slope.",
            hint="Use integrated_gradients, which starts at the embedding, occlusion or sampled_shapley.",
        )


def _note_what_has_no_rule(model: TorchModel, library: str, where: str) -> None:
    """Both packages know a layer by its module, and say nothing (captum) or little (shap) where they know none."""
    layers = {type(module).__name__ for module in model.modules() if isinstance(module, nn.RNNBase | nn.RNNCellBase)}
    if layers:
        note = f"{library} has no rule for {' and '.join(sorted(layers))} and takes the plain slope there."
    elif not any(isinstance(module, _KNOWN_LAYERS) for module in model.modules()):
        note = (
            f"The model comes as single operations, without layers that {library} could know: these are plain slopes "
            f"at the {where}, times the difference."
        )
    else:
        return
    if note not in model.notes:
        model.notes.append(note)


_KNOWN_LAYERS = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax, nn.Linear, nn.Embedding)


def _only_embedding(model: TorchModel, sample: Sample) -> nn.Embedding:
    found = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if len(found) != 1 or len(sample.test) != 1:
        raise MethodError(
            "Token ids need the one embedding layer that they are looked up in, and the model shows "
            f"{len(found)} for {len(sample.test)} inputs.",
            hint="Use occlusion or sampled_shapley; an exported program shows none of its layers.",
        )
    return found[0]
