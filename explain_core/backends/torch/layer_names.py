"""Which layer a weight of a recorded model is of."""

from __future__ import annotations

import torch
from torch import Tensor

from explain_core.backends.torch.capture import Captured
from explain_core.backends.torch.interpreter import Place, module_path
from explain_core.errors import CaptureError, UnsupportedOperation


def layer_names(captured: Captured, place: Place) -> dict[int, str]:
    """Module paths by the identity of the weights as the run uses them.

    Raises:
        UnsupportedOperation, CaptureError: a weight is none that could be followed.
    """
    names = {}
    for node in captured.graph.graph.find_nodes(op="get_attr"):
        weight = getattr(captured.graph, node.target)
        if not isinstance(weight, Tensor):
            raise UnsupportedOperation(
                f"the model computes with an object of its own kind, {type(weight).__name__}",
                where=module_path(next(iter(node.users), node)),
                hint="If its weights are quantized, explain the model as it was before.",
            )
        if torch._C._functorch.is_functorch_wrapped_tensor(weight):
            raise CaptureError(
                "functions of torch.func that differentiate (grad, jacrev, jvp) cannot be followed",
                where=module_path(next(iter(node.users), node)),
                hint="Write this part with operations on whole batches.",
            )
        if isinstance(weight, Tensor) and weight.data_ptr() in captured.weight_names:
            path = captured.weight_names[weight.data_ptr()].rpartition(".")[0]
            names[id(place.constant(weight))] = path
    return {key: path for key, path in names.items() if path}
