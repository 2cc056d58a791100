"""From the model description of a Keras 2 file to the one that Keras 3 reads.

The result is plain JSON like that of a `.keras` file, and is screened as such (`check`) before anything is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.keras.check import MERGING_LAYERS, REFUSED_LAYERS, REVIVED, REVIVED_LAYERS, module_of_operation
from explain_core.models.keras.keras2_era import Era
from explain_core.models.keras.keras2_functions import FUNCTIONS, read_call
from explain_core.models.keras.keras2_layers import (
    ALIASES,
    CUSTOM_HINT,
    LAYERS,
    REBUILD_HINT,
    Config,
    by_todays_names,
    fit,
)
from explain_core.models.keras.namesakes import is_of_keras

_MODELS = ("Functional", "Model", "Sequential")
_RECURRENT = ("Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN")
_FUNCTIONS = ("SlicingOpLambda", "TFOpLambda")  # and in TensorFlow up to 2.3:
_GRAPH_OPERATION = "TensorFlowOpLayer"
_WRAPPER_OF_PRUNING = "PruneLowMagnitude"
_DEEPEST = 50
_EXPORT_HINT = """In the TensorFlow that opens it, write it as a SavedModel, and give that folder as a zip file:
    tf.saved_model.save(tf.keras.models.load_model("model.h5", compile=False), "model")"""
_DIFFER_IN_TRAINING = (
    *("AlphaDropout", "BatchNormalization", "Dropout", "Functional", "GaussianDropout", "GaussianNoise", "Model"),
    *("MultiHeadAttention", "Sequential", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
)

Shapes = Mapping[str, tuple[int, ...]]  # of the file's weights, by the layer and their own names: "lstm_1/kernel:0"


class Converter:
    """Converts one file's description.

    Args:
        era: the Keras that wrote it; gets the notes.
        shapes: of the file's weights, by the layer's name and theirs.
        where: the file's name.
    """

    def __init__(self, era: Era, shapes: Shapes, where: str) -> None:
        self._era, self._shapes, self._file, self._depth = era, shapes, where, 0
        self._top = ""  # the layer of the outermost model: weights are filed under its name
        self.pruned: set[str] = set()  # layers of the outermost model with pruning's own numbers among their weights
        self.cudnn: set[str] = set()  # and those with a layer in the layout of cuDNN
        self.maskless: set[str] = set()  # the layers of cuDNN themselves, which take no mask

    def model(self, description: Any) -> Config:
        """The whole model.

        Raises:
            ModelFileError: names the layer that cannot be opened and says why.
        """
        if not isinstance(description, dict) or not isinstance(description.get("class_name"), str):
            raise self._broken("it names no class")
        if description["class_name"] not in _MODELS and not _is_functional(description.get("config")):
            raise self._custom(description["class_name"], self._file)
        try:
            return self._model(description, outermost=True)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._broken(f"{type(error).__name__} {error}"[:200]) from None

    # Models

    def _model(self, description: Config, outermost: bool = False) -> Config:
        config: Any = description.get("config")
        if description["class_name"] == "Sequential":
            return self._sequential(config, outermost)
        if not _is_functional(config):
            raise self._custom(description["class_name"], self._file)
        return self._functional(config, outermost)

    def _sequential(self, config: Any, outermost: bool) -> Config:
        if isinstance(config, list):  # up to Keras 2.2.2
            config = {"layers": config}
        layers, first = [], config["layers"][0]
        for entry in config["layers"]:
            layers.append(self._entry(entry, outermost))
        if layers[0]["class_name"] != "InputLayer" and "layers" not in layers[0]["config"]:
            shape, dtype = self._input_of(first, config.get("build_input_shape"), outermost)
            if shape is not None:
                name = f"{layers[0]['config'].get('name') or 'sequence'}_input"
                own = {"batch_shape": [None, *shape[1:]], "name": name} | ({"dtype": dtype} if dtype else {})
                layers.insert(0, _described("InputLayer", own))
        return _described("Sequential", {"name": config.get("name") or "sequential", "layers": layers}, module="keras")

    def _functional(self, config: Config, outermost: bool) -> Config:
        indices = _NodeNumbers(config, native=self._era.is_keras3)
        layers = []
        for entry in config["layers"]:
            layer = self._entry(entry, outermost)
            nodes = entry.get("inbound_nodes") or []
            layer["name"] = layer["config"]["name"] = _plain_name(entry["name"])
            layer["inbound_nodes"] = [self._node(node, layer, indices, entry["name"]) for node in nodes]
            layers.append(layer)
        return _described(
            "Functional",
            {
                "name": config.get("name") or "model",
                "layers": layers,
                "input_layers": self._places(config["input_layers"], indices),
                "output_layers": self._places(config["output_layers"], indices),
            },
            module="keras.src.models.functional",
        )

    def _input_of(self, entry: Config, built: Any, outermost: bool) -> tuple[list[int | None] | None, str | None]:
        """Shape and type of what the first layer takes; without a shape, the model is built where it is called."""
        config, kind = entry.get("config", {}), entry["class_name"]
        while isinstance(config, dict):
            if shape := config.get("batch_input_shape") or config.get("batch_shape"):
                dtype = config.get("dtype")
                return shape, "int32" if kind == "Embedding" else dtype if isinstance(dtype, str) else None
            inner = config.get("layer")
            config = inner.get("config") if isinstance(inner, dict) and kind != "TimeDistributed" else None
        if built and isinstance(built, list) and len(built) > 1:
            return built, None
        if not outermost:
            return None, None
        return self._guess_input(entry, kind)

    def _guess_input(self, entry: Config, kind: str) -> tuple[list[int | None], str | None]:
        """From the weights, where the file has no shape at all."""
        name = entry["config"].get("name", "")
        if kind == "Embedding":
            return [None, None], "int32"
        kernel = next((s for path, s in self._weights(name) if _last(path) == "kernel" and len(s) in (2, 3)), None)
        if kernel is None or kind not in (*_RECURRENT, "CuDNNLSTM", "CuDNNGRU", "Conv1D"):
            raise ModelFileError(
                "The file does not say what shape of input the model takes.",
                where=self._file,
                hint='Load it in Python, call it once on data, and save it again with model.save("model.keras").',
            )
        self._era.note("The file does not say the shape of its input; the number of features is that of its weights.")
        return [None, None, kernel[-2]], None

    # Layers

    def _entry(self, entry: Config, outermost: bool) -> Config:
        """A layer in a model's list; the outermost ones say under which name the file has the weights."""
        if outermost:
            self._top = entry.get("name") or entry["config"].get("name", "")
        return self.layer(entry, self._file)

    def layer(self, entry: Config, where: str) -> Config:
        """One layer, with the layers inside it."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._broken(f"it is nested more than {_DEEPEST} deep")
        try:
            return self._layer(entry)
        finally:
            self._depth -= 1

    def _layer(self, entry: Config) -> Config:
        name, config = entry["class_name"], entry["config"]
        own = config.get("name") if isinstance(config, dict) else None
        where = f"{self._file}: {own}" if isinstance(own, str) else self._file
        kind = ALIASES.get(name, name)
        if kind in _MODELS:
            return self._model(entry)
        if name == _WRAPPER_OF_PRUNING:
            return self._unwrap(config)
        if kind in REFUSED_LAYERS:
            raise ModelFileError(
                f"The model has a {kind} layer, which {REFUSED_LAYERS[kind]}; it is not opened.",
                where=where,
                hint=CUSTOM_HINT if "code" in REFUSED_LAYERS[kind] else REBUILD_HINT,
            )
        if name in _FUNCTIONS and config.get("function") in FUNCTIONS:
            return _described("Keras2Function", {"name": config.get("name"), "function": config["function"]})
        if name in (*_FUNCTIONS, _GRAPH_OPERATION):
            function = config.get("function") or config.get("node_def") or ""
            raise ModelFileError(
                f"The model calls a TensorFlow function between its layers ({str(function)[:60]!r}), which is not one "
                "of those that open here.",
                where=where,
                hint=_EXPORT_HINT,
            )
        if self._era.is_keras3 and "trainable" not in config and (module := module_of_operation(name)):
            return _described(name, dict(config), module)  # x + y and keras.ops; layers say whether they train
        if kind not in LAYERS:
            raise self._custom(name, where)
        if entry.get("registered_name") not in (None, "", name, kind):
            raise self._custom(entry["registered_name"], where)
        if not is_of_keras(kind, name, entry, by_todays_names(kind, config), self._era):
            raise self._namesake(name, where)
        fitted = fit(name, config, self._era, where, self.layer)
        if isinstance(fitted.get("name"), str):
            fitted["name"] = _plain_name(fitted["name"])
        self._adapt(name, kind, config, fitted)
        return _described(f"Keras2{kind}" if kind in MERGING_LAYERS and not self._era.is_keras3 else kind, fitted)

    def _adapt(self, name: str, kind: str, config: Config, fitted: Config) -> None:
        era = self._era
        if kind == "InputLayer" and isinstance(fitted.get("batch_shape"), list):
            fitted["batch_shape"] = [None, *fitted["batch_shape"][1:]]
        if config.get("stateful"):
            era.note(
                "The model keeps its state between calls in Keras; here each sequence starts from a state of zeros."
            )
        if name.startswith("CuDNN"):
            self.cudnn.add(self._top)
            self.maskless.add(str(fitted.get("name")))
            era.note(f"{name} opens as {kind}: the same function, with its weights in another order.")
        if kind in ("GRU", "GRUCell") and "reset_after" not in fitted:
            fitted["reset_after"] = self._resets_after(fitted)

    def _resets_after(self, fitted: Config) -> bool:
        """Where the file does not say it: by the shape of the bias, else by what was usual at its time."""
        era = self._era
        biases = [shape for path, shape in self._weights(self._top) if _last(path) == "bias"]
        if fitted.get("use_bias", True) and biases:
            after = any(len(shape) == 2 and shape[0] == 2 for shape in biases)
            place = "after" if after else "before"
            era.note(f"The file does not say reset_after; by its weights, the reset gate acts {place} the product.")
            return after
        if era.version is None or not (era.is_multi_backend or era.version >= (2, 4)):
            raise ModelFileError(
                "The GRU layer does not say reset_after and has no bias to tell it by, and its default depends on the "
                f"TensorFlow that wrote the file ({era.name}).",
                where=f"{self._file}: {fitted.get('name', '')}",
                hint="Open it in the TensorFlow that trained it and save it again.",
            )
        return not era.is_multi_backend

    def _unwrap(self, config: Config) -> Config:
        self.pruned.add(self._top)
        self._era.note("Pruning wrappers are taken off: the weights are those stored, with which Keras predicts too.")
        inner = config["layer"]
        return self.layer({**inner, "config": {**inner["config"], "name": config["name"]}}, self._file)

    def _weights(self, layer: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        return ((path, shape) for path, shape in self._shapes.items() if path.startswith(f"{layer}/"))

    # Calls of layers

    def _node(self, node: Any, layer: Config, indices: _NodeNumbers, name: str) -> Config:
        kind = layer["class_name"]
        if isinstance(node, dict) and {"args", "kwargs"} <= set(node):  # Keras 3's own
            return node
        if kind == "Keras2Function":
            call = read_call(node, lambda place: self._tensor(place, indices), indices.__contains__)
            if call is None:
                raise ModelFileError(
                    f"The call of the TensorFlow function {layer['config']['function']!r} is not all in the file, or "
                    "not in a form that this version knows.",
                    where=f"{self._file}: {name}",
                    hint=_EXPORT_HINT,
                )
            return call
        parts = [node] if node and isinstance(node[0], str) else node
        tensors = [self._tensor(part, indices) for part in parts]
        options = {key: value for part in parts if len(part) > 3 for key, value in part[3].items() if value is not None}
        if options.get("training") and self._differs_in_training(layer):
            raise ModelFileError(
                f"The {kind} layer is called with training=True: it stays in training when the model predicts, so the "
                "model answers differently each time or depends on the other samples.",
                where=f"{self._file}: {name}",
                hint="Build the model without training=True in that call, load the weights, and save it again.",
            )
        kwargs = {key: self._argument(value, indices, f"{name}: {key}") for key, value in options.items()}
        if len(tensors) == 1:
            return {"args": tensors, "kwargs": kwargs}
        if kind in _RECURRENT:  # a sequence and its initial states
            return {"args": tensors[:1], "kwargs": kwargs | {"initial_state": tensors[1:]}}
        return {"args": [tensors], "kwargs": kwargs}

    def _differs_in_training(self, layer: Config) -> bool:
        inner = [layer, *(layer["config"].get(key) or {} for key in ("layer", "backward_layer", "cell"))]
        return any(
            part.get("class_name") in _DIFFER_IN_TRAINING
            or any(part["config"].get(key) for key in ("dropout", "recurrent_dropout"))
            for part in inner
            if isinstance(part, dict) and part
        )

    def _tensor(self, part: Any, indices: _NodeNumbers) -> Config:
        layer, node, tensor = part[:3]
        if not isinstance(layer, str) or layer not in indices:
            raise ModelFileError(
                f"The model calls a layer on {str(layer)[:60]!r}, which is no layer of it.",
                where=self._file,
                hint=REBUILD_HINT,
            )
        history = [_plain_name(layer), indices.here(layer, node), tensor]
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": [1], "dtype": "float32", "keras_history": history},  # only the place is read
        }

    def _argument(self, value: Any, indices: _NodeNumbers, where: str) -> Any:
        if isinstance(value, list):
            if len(value) in (3, 4) and isinstance(value[0], str) and all(isinstance(n, int) for n in value[1:3]):
                return self._tensor(value, indices)
            return [self._argument(item, indices, where) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise ModelFileError(
            f"A layer is called with {str(value)[:60]!r}, which this version does not know.",
            where=f"{self._file}: {where}",
            hint=REBUILD_HINT,
        )

    def _places(self, places: Any, indices: _NodeNumbers) -> Any:
        if isinstance(places, dict):
            return {key: self._places(value, indices) for key, value in places.items()}
        if len(places) == 1:  # a list of one would be called with a list
            return self._places(places[0], indices)
        if isinstance(places[0], str):
            return [_plain_name(places[0]), indices.outside(places[0], places[1]), places[2]]
        return [self._places(place, indices) for place in places]

    # Errors

    def _custom(self, name: Any, where: str) -> ModelFileError:
        return ModelFileError(
            f"The model needs the class {str(name)[:80]!r}, which is not one of the Keras layers that open here.",
            where=where,
            hint=CUSTOM_HINT,
        )

    def _namesake(self, name: str, where: str) -> ModelFileError:
        return ModelFileError(
            f"The model has a class {name[:80]!r} that is not Keras's layer of that name: the file does not have what "
            "Keras writes of its own.",
            where=where,
            hint=CUSTOM_HINT,
        )

    def _broken(self, why: str) -> ModelFileError:
        return ModelFileError(
            f"The description of the model in the file is not one of Keras: {why}.",
            where=self._file,
            hint="The file may be damaged; copy it again, or save the model again.",
        )


class _NodeNumbers:
    """The calls of each layer by number, from the file's count to that of Keras 3.

    A model inside a model began with a call of its own in Keras 2, so that calls from outside counted from 1. Keras 3
    counts them from 0 inside of ``inbound_nodes``, and from 1 in the lists of inputs and outputs.
    """

    def __init__(self, config: Config, native: bool) -> None:
        self._models = {layer["name"] for layer in config["layers"] if layer["class_name"] in ("Functional", "Model")}
        self._native = native  # written by Keras 3 itself
        self._calls = {layer["name"]: len(layer.get("inbound_nodes") or []) for layer in config["layers"]}
        used: dict[str, list[int]] = {name: [] for name in self._calls}
        nodes = [layer.get("inbound_nodes") for layer in config["layers"]]
        for name, number in _references([nodes, config["input_layers"], config["output_layers"]]):
            used.setdefault(name, []).append(number)
        self._from_one = {
            name
            for name, numbers in used.items()
            if numbers and min(numbers) > 0 and max(numbers) >= self._calls.get(name, 0)
        }

    def __contains__(self, name: str) -> bool:
        return name in self._calls

    def here(self, name: str, number: int) -> int:
        return number - (name in self._from_one and not self._native)

    def outside(self, name: str, number: int) -> int:
        return self.here(name, number) + (name in self._models and not self._native)


def _references(value: Any) -> Iterable[tuple[str, int]]:
    """Every ``[layer, call, tensor, ...]`` in nested lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return
    if len(value) in (3, 4) and isinstance(value[0], str) and isinstance(value[1], int) and isinstance(value[2], int):
        yield value[0], value[1]
        value = value[3:]
    for item in value:
        yield from _references(item)


def _is_functional(config: Any) -> bool:
    return isinstance(config, dict) and {"layers", "input_layers", "output_layers"} <= set(config)


def _described(kind: str, config: Config, module: str = "keras.layers") -> Config:
    if kind in REVIVED_LAYERS:
        return {"module": REVIVED, "class_name": kind, "config": config, "registered_name": kind}
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _plain_name(name: str) -> str:
    """Keras 3 has no slash in names."""
    return name.replace("/", "_")


def _last(path: str) -> str:
    return path.rpartition("/")[2].partition(":")[0]
