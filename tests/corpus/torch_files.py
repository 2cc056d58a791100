"""PyTorch files as training scripts leave them, and files that people take for them.

``valid_files(folder)`` writes those that open, each with the original's prediction; ``refused_files(folder)`` those
that do not, each with words of the error. A refused file that could run code would make the folder "canary" in
``folder``.
"""

from __future__ import annotations

import argparse
import bz2
import copy
import gzip
import io
import lzma
import os
import pickle
import tarfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from corpus.torch_stacks import FEATURES, SAMPLES, STEPS, UNITS, Stack, plain, stacks
from torch import Tensor, nn
from torch.nn.backends.thnn import _get_thnn_function_backend


@dataclass(frozen=True)
class Case:
    """A file that opens: where it is, what goes in, what the original answers, and how to open it."""

    path: Path
    inputs: tuple[Tensor, ...]
    expected: Tensor
    architecture: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()  # words of the notes
    code: Path | None = None


def _settled(model: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics and scales as after training."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    return model.eval()


def _as_early(model: nn.Sequential) -> nn.Sequential:
    """A copy of a module with what modules had, and had not, before PyTorch 0.4.1."""
    model = copy.deepcopy(model)
    for part in model.modules():
        part._backend = Reduced(_get_thnn_function_backend)
        part._buffers.pop("num_batches_tracked", None)
    return model


def valid_cases(folder: Path) -> dict[str, Case]:
    """Files that open, by name."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Case] = {}
    x = torch.randn(SAMPLES, STEPS, FEATURES)

    def add(
        name: str,
        content: Any,
        model: nn.Module,
        *inputs: Tensor,
        zipped: bool = True,
        protocol: int = 2,
        **more: Any,
    ) -> None:
        path = folder / f"{name}.pth"
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        given = inputs or (x,)
        with torch.no_grad():
            expected = model(*given)
        expected = expected[0] if isinstance(expected, tuple) else expected
        found[name] = Case(path, given, expected, **more)

    for name, model, architecture, says in stacks():
        _settled(model)
        flat = name == "no recurrent layer"
        add(name, model.state_dict(), model, x, architecture=architecture, says=says)
        if flat:
            found[name] = Case(found[name].path, (x[:, 0],), found[name].expected, architecture, says)

    model = _settled(plain(bidirectional=True))
    weights = model.state_dict()
    settings = {"hidden_size": UNITS, "bidirectional": True, "num_layers": 1}
    add("before 1.6", weights, model, zipped=False)
    add("checkpoint", {"epoch": 3, "model_state_dict": weights, "optimizer_state_dict": {}, "config": settings}, model,
        says=("own settings say the same", "hidden_size=5"))  # fmt: skip
    parts = {key: part.state_dict() for key, part in model.named_children()}
    add("part by part", parts | {"optimizer": {"state": {}, "param_groups": []}, "epoch": 3}, model,
        says=("weights in parts", "as those of one model"))  # fmt: skip
    lightning = {f"model.{name}": value for name, value in weights.items()} | {"criterion.weight": torch.ones(2)}
    hyper = argparse.Namespace(lr=np.float64(0.1), hidden_size=np.int64(UNITS), log=Path("runs"))
    add("lightning", {"state_dict": lightning, "hyper_parameters": hyper, "pytorch-lightning_version": "2.4"}, model,
        says=("criterion.weight", "hidden_size=5", "'model.'"))  # fmt: skip
    wrapped = OrderedDict((f"_orig_mod.module.{name}", value) for name, value in weights.items())
    add("compiled and parallel", wrapped, model, says=("'_orig_mod.'", "'module.'"))
    add("list with settings", [weights, {"hidden_size": UNITS}], model, says=("under 'item 1'",))
    add("weights of a loss", {**weights, "class_weights": torch.ones(2)}, model, says=("class_weights",))
    add("under net", {"net": weights, "acc": 0.9, "epoch": 3}, model, says=("under 'net'",))
    add("settings that differ", {"model": weights, "args": {"hidden_size": 99, "batch_first": False}}, model,
        says=("hidden_size=99; the weights say 5", "batch_first=False"))  # fmt: skip
    half = _settled(plain())
    half.load_state_dict({name: value.half().float() for name, value in half.state_dict().items()})
    add("half precision", {name: value.half() for name, value in half.state_dict().items()}, half, says=("float16",))
    double = plain().double().eval()
    add("float64", double.state_dict(), double, x.double())
    counted = _settled(plain())
    extra = {"lstm.total_ops": torch.zeros(1), "val_acc.total": torch.ones(1)}
    add("counters and metrics", counted.state_dict() | extra, counted, says=("lstm.total_ops", "val_acc.total"))
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(weights, path, {"hidden_size": str(UNITS), "format": "pt"})
    found["safetensors"] = Case(path, (x,), model(x).detach(), says=("hidden_size=5",))
    ids = torch.randint(0, 9, (SAMPLES, STEPS))
    words = Stack(
        lambda net, x: net.fc(net.rnn(net.embedding(x))[0][:, -1]),
        embedding=nn.Embedding(9, 3),
        rnn=nn.GRU(3, UNITS, batch_first=True),
        fc=nn.Linear(UNITS, 2),
    ).eval()
    add("embedding", words.state_dict(), words, ids)

    tied = Stack(
        lambda net, x: net.decoder(net.rnn(net.encoder(x))[0][:, -1]),
        encoder=nn.Embedding(9, UNITS),
        rnn=nn.LSTM(UNITS, UNITS, batch_first=True),
        decoder=nn.Linear(UNITS, 9),
    ).eval()
    tied.decoder.weight = tied.encoder.weight
    add("language model", tied.state_dict(), tied, ids, says=("encoder, rnn, decoder",))
    named = Stack(
        lambda net, x: net.dense(net.gru(net.word_embedding(x))[0][:, -1]),
        word_embedding=nn.Embedding(9, 3),
        gru=nn.GRU(3, UNITS, batch_first=True),
        dense=nn.Linear(UNITS, 3),  # so that the table could be a Linear layer behind it
    ).eval()
    back = Stack(
        lambda net, x: net.vocab_head(net.rnn(net.word_embedding(x))[0][:, -1]),
        word_embedding=nn.Embedding(9, UNITS),
        rnn=nn.LSTM(UNITS, UNITS, batch_first=True),
        vocab_head=nn.Linear(UNITS, 9, bias=False),
    ).eval()
    add("language model without bias", back.state_dict(), back, ids, says=("word_embedding, rnn, vocab_head",))
    for name, words in (("tied", tied), ("head sorted before the table", named)):
        path = folder / f"{name}.safetensors"
        safetensors.torch.save_model(words, str(path))
        found[f"safetensors, {name}"] = Case(path, (ids,), words(ids).detach())
    path = folder / "sorted lists.safetensors"
    layers = next(model for name, model, *_ in stacks() if name == "list of layers and list of norms").eval()
    safetensors.torch.save_model(layers, str(path))
    found["safetensors, sorted lists"] = Case(path, (x,), layers(x).detach())

    # Whole modules of stock classes.
    for name, stock in (
        ("pickled lstm", nn.LSTM(FEATURES, UNITS, 2, batch_first=True, bidirectional=True, dropout=0.5)),
        ("pickled relu rnn", nn.RNN(FEATURES, UNITS, nonlinearity="relu", batch_first=True)),
        ("pickled sequential", nn.Sequential(nn.Flatten(), nn.Linear(STEPS * FEATURES, 3), nn.Softmax(-1))),
        ("pickled transformer", nn.TransformerEncoderLayer(FEATURES, 2, 8, batch_first=True, activation="gelu")),
        ("pickled parallel", nn.DataParallel(nn.GRU(FEATURES, UNITS, batch_first=True, bias=False))),
    ):
        add(name, stock, stock.eval())
    time_first = nn.LSTM(FEATURES, UNITS).eval()
    turned = Stack(lambda net, x: net.inner(x.transpose(0, 1))[0].transpose(0, 1), inner=time_first)
    add("pickled time first", time_first, turned, says=("batch_first=False",))
    gru = nn.GRU(FEATURES, 2, batch_first=True).eval()
    add("module in a checkpoint", {"epoch": 1, "model": gru}, gru)
    add("module in a checkpoint, before 1.6", {"epoch": 1, "model": nn.DataParallel(gru)}, gru, zipped=False)
    early = _settled(nn.Sequential(nn.Flatten(), nn.Linear(STEPS * FEATURES, 3), nn.BatchNorm1d(3), nn.Tanh()))
    add("pickled sequential, before 1.6", _as_early(early), early, zipped=False)
    add("pickled lstm, before 1.6", time_first, turned, zipped=False, says=("batch_first=False",))
    for protocol in (3, 4, 5):
        content = {"state_dict": weights, "config": {"hidden_size": np.int64(UNITS), "bytes": b"\x80"}}
        add(f"protocol {protocol}", content, model, protocol=protocol, says=("hidden_size=5",))
        add(f"module, protocol {protocol}", {"net": gru}, gru, protocol=protocol)

    found |= _programs(folder, x)
    return found


class WithState(nn.Module):
    """Wants a state, and returns it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, hidden = self.lstm(x, hidden)
        return self.fc(y[:, -1]), hidden


class Remembering(nn.Module):
    """Carries its state from one call to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.h = torch.zeros(1, SAMPLES, UNITS)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.gru(x, self.h)
        self.h = h
        self.count.add_(1)
        return y[:, -1] + self.count


def _programs(folder: Path, x: Tensor) -> dict[str, Case]:
    """Exported programs and TorchScript, of models with states."""
    state = (torch.zeros(1, SAMPLES, UNITS), torch.zeros(1, SAMPLES, UNITS))
    wants, remembers = WithState().eval(), Remembering().eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, and TorchScript's deprecation
        expected = wants(x, state)[0]
        axis = torch.export.Dim.AUTO
        program = torch.export.export(wants, (x, state), dynamic_shapes=({0: axis}, ({1: axis}, {1: axis})))
        torch.export.save(program, folder / "wants a state.pt2")
        torch.jit.script(wants).save(str(folder / "wants a state.pt"))
        torch.jit.script(remembers).save(str(folder / "remembers.pt"))
        remembered = torch.jit.load(str(folder / "remembers.pt"))(x)
        half = plain().eval().half()
        torch.export.save(torch.export.export(half, (x.half(),)), folder / "half.pt2")
        rounded = half.float()(x)
        one = torch.export.export(plain().eval(), (x[:1],))
        torch.export.save(one, folder / "one sample.pt2")
        alone = one.module()(x[:1])
    return {
        "exported, wants a state": Case(folder / "wants a state.pt2", (x,), expected, says=("starts from zeros",)),
        "torchscript, wants a state": Case(folder / "wants a state.pt", (x,), expected, says=("starts from zeros",)),
        "torchscript, remembers": Case(folder / "remembers.pt", (x,), remembered),
        "exported in half precision": Case(folder / "half.pt2", (x,), rounded, says=("computed with as float32",)),
        "exported for one sample": Case(folder / "one sample.pt2", (x[:1],), alone, says=("exactly 6 timesteps",)),
    }


def valid_files(folder: Path) -> dict[str, Path]:
    """Files that open, by name; `valid_cases` has their predictions."""
    return {name: case.path for name, case in valid_cases(folder).items()}


class Canary:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


class Reduced:
    """An object that is unpickled by the call that it is given."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


def _hooked(canary: Path) -> nn.Module:
    module = nn.Linear(2, 2)
    module._forward_hooks[0] = Canary(canary)
    return module


def _edited(**attributes: Any) -> nn.Module:
    """A stock module with attributes that its class would not have made."""
    module = nn.LSTM(FEATURES, UNITS)
    for name, value in attributes.items():
        module.__dict__[name] = value
    return module


def _early_circular() -> nn.Module:
    module = nn.Conv1d(FEATURES, 2, 3, padding=1, padding_mode="circular")
    del module._reversed_padding_repeated_twice
    return module


def _torch_bytes(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _named_class(module: str, name: str) -> bytes:
    """A pickle that asks for a class which is not installed here."""
    return (
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93)\x81."
    )


def _zip(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _tar(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def refused_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that do not open: by name, the path and words of the error."""
    folder.mkdir(parents=True, exist_ok=True)
    canary = folder / "canary"
    weights = plain().state_dict()
    evil = pickle.dumps(Canary(canary))
    old = {"_use_new_zipfile_serialization": False}
    contents: dict[str, tuple[bytes, str]] = {
        # Code in what torch.save writes.
        "os.mkdir": (_torch_bytes(Canary(canary)), "mkdir"),
        "os.mkdir, before 1.6": (_torch_bytes(Canary(canary), **old), "mkdir"),
        "os.mkdir beside weights": (_torch_bytes({**weights, "x": Canary(canary)}), "mkdir"),
        "eval": (_torch_bytes(Reduced(eval, f"__import__('os').mkdir({str(canary)!r})")), "eval"),
        "torch.load": (_torch_bytes(Reduced(torch.load, str(canary))), "torch.serialization.load"),
        "torch.hub": (_torch_bytes(Reduced(torch.hub.load, "x", "y")), "torch.hub.load"),
        "getattr": (_torch_bytes(Reduced(getattr, "a", "b")), "getattr"),
        "hooks": (_torch_bytes(_hooked(canary)), "mkdir"),
        "harmless hooks": (_torch_bytes(_edited(_forward_hooks={0: "x"})), "has hooks"),
        "attribute of a module": (_torch_bytes(_edited(forward=Canary(canary))), "mkdir"),
        "changed size": (_torch_bytes(_edited(hidden_size=10**9)), "is not as PyTorch"),
        "many layers": (_torch_bytes(_edited(num_layers=10**9)), "more layers than weights"),
        "changed kind": (_torch_bytes(_edited(mode="GRU")), "mode is 'GRU'"),
        "own class": (_torch_bytes(WithState()), "needs Python code that is not in the file"),
        "own class, before 1.6": (_torch_bytes(WithState(), **old), "needs Python code that is not in the file"),
        "function as a class, before 1.6": (
            _torch_bytes(nn.LSTM(2, 2), **old).replace(b"ctorch.nn.modules.rnn\nLSTM\n", b"cposix\nmkdir\n"),
            "'posix.mkdir'",
        ),
        "no class in the place of one": (
            _zip(**{"m/version": b"3", "m/data.pkl": b"\x80\x02cpairlift\nmodule_class\n(K\x01K\x02tR."}),
            "asks for 'pairlift.module_class'",
        ),
        "circular padding, before 1.5": (_torch_bytes(_early_circular()), "which padded half as much"),
        "quantized": (_torch_bytes({"_packed_params._packed_params": Reduced(torch.ScriptObject)}), "is quantized"),
        "quantized script": (
            _zip(**{f"m/{name}": b"" for name in ("constants.pkl", "code/__torch__/torch/ao/nn/quantized/linear.py")}),
            "is quantized",
        ),
        "list of layers": (_torch_bytes(nn.ModuleList([nn.LSTM(2, 2)])), "without what connects them"),
        # No weights, or not of one plain stack.
        "bare tensor": (_torch_bytes(torch.ones(3)), "one tensor of shape (3,)"),
        "list of tensors": (_torch_bytes([torch.ones(3)]), "a list of 1 things (Tensor)"),
        "optimizer": (_torch_bytes({"state": {}, "param_groups": []}), "state of an optimizer"),
        "ensemble": (_torch_bytes({"first": weights, "second": weights}), "several models: 'first', 'second'"),
        "modules": (_torch_bytes({"a": nn.LSTM(4, 5), "b": nn.Linear(5, 1)}), "2 modules, 'a', 'b', without what"),
        "parts that do not fit": (
            _torch_bytes({"lstm": nn.LSTM(4, 5).state_dict(), "fc": nn.Linear(7, 1).state_dict()}),
            "weights in parts, 'lstm', 'fc'. As those of one model they cannot be opened",
        ),
        "empty dict": (_torch_bytes({}), "it is empty"),
        "settings": (_torch_bytes({"epoch": 3, "lr": 0.1}), "it holds 'epoch', 'lr'"),
        "convolution": (_torch_bytes({"conv.weight": torch.ones(2, 4, 3), **weights}), "convolution"),
        "attention": (_torch_bytes({**weights, "attention.weight": torch.ones(5, 5)}), "attention by its name"),
        "branches": (
            _torch_bytes({**weights, "mu.weight": torch.ones(3, 5), "mu.bias": torch.ones(3)}),
            "more than one branch: 'fc' and 'mu'",
        ),
        "decoder": (
            _torch_bytes(
                {f"encoder.{k}": v for k, v in nn.LSTM(4, 5).state_dict().items()}
                | {f"decoder.{k}": v for k, v in nn.LSTM(5, 4).state_dict().items()}
            ),
            "is a decoder by its name",
        ),
        "weight norm": (
            _torch_bytes({**weights, "fc.weight_g": torch.ones(2, 1), "fc.weight_v": torch.ones(2, 5)}),
            "computed from others",
        ),
        "parametrized": (
            _torch_bytes({**weights, "fc.parametrizations.weight.original0": torch.ones(2, 1)}),
            "'fc.parametrizations.weight' is of a weight that is computed from others",
        ),
        "gate": (_torch_bytes({**weights, "out_gate.weight": torch.ones(2, 2)}), "a gate by its name"),
        "written by hand": (
            _torch_bytes({"i2h.weight": torch.ones(5, 4), "h2h.weight": torch.ones(5, 5)}),
            "part of a recurrent layer written by hand",
        ),
        "mean and variance": (
            _torch_bytes({**weights, "fc_logvar.weight": torch.ones(2, 2), "fc_logvar.bias": torch.ones(2)}),
            "'fc_logvar' is a branch by its name",
        ),
        "past other layers": (_torch_bytes({**weights, "skip.weight": torch.ones(2, 2)}), "leads past other layers"),
        "policy and value": (
            _torch_bytes({**weights, "value.weight": torch.ones(1, 5), "value.bias": torch.ones(1)}),
            "more than one branch: 'fc' and 'value'",
        ),
        "table of positions": (
            _torch_bytes(
                {"tokens.weight": torch.ones(9, 4), "places.weight": torch.ones(4, 4)} | {**weights},
            ),
            "'places' takes 4 values, but",
        ),
        "two tables": (
            _torch_bytes({"word_emb.weight": torch.ones(9, 4), "tag_emb.weight": torch.ones(4, 4)} | {**weights}),
            "several tables of embeddings: 'word_emb' and 'tag_emb'",
        ),
        "whole numbers": (_torch_bytes({k: v.to(torch.int8) for k, v in weights.items()}), "is of int8"),
        "NumPy arrays": (_torch_bytes({k: v.numpy() for k, v in weights.items()}), "are NumPy arrays, not tensors"),
        "missing weight": (
            _torch_bytes({k: v for k, v in plain(num_layers=2).state_dict().items() if k != "lstm.weight_hh_l1"}),
            "'lstm.weight_hh_l1' is missing",
        ),
        "half an initial state": (
            _torch_bytes({**weights, "h0": torch.ones(1, 1, 5)}),
            "LSTM starts from a hidden and a cell state, and there is 'h0'",
        ),
        "initial state of a batch": (
            _torch_bytes({**weights, "h0": torch.ones(1, 3, 5), "c0": torch.ones(1, 3, 5)}),
            "'h0' (1 × 3 × 5) is no initial state of 'lstm'",
        ),
        "initial state of two layers": (
            _torch_bytes(
                {f"{at}.{k}": v for at, size in (("a", 4), ("b", 5)) for k, v in nn.GRU(size, 5).state_dict().items()}
                | {"h0": torch.ones(1, 1, 5)}
            ),
            "'h0' is an initial state, and 2 layers could start from it",
        ),
        "state kept from training": (
            _torch_bytes({**weights, "hidden": torch.ones(1, 3, 5)}),
            "'hidden' (1 × 3 × 5) is by its name a state kept from training",
        ),
        "positions of another width": (
            _torch_bytes({**weights, "pe": torch.ones(1, 9, 3)}),
            "'pe' (9 × 3) could be added in 0 places",
        ),
        "positions and attention": (
            _torch_bytes({"pe": torch.ones(1, 9, 4), **nn.TransformerEncoderLayer(4, 2, 8).state_dict()}),
            "'self_attn' is attention by its name",
        ),
        "contradiction": (_torch_bytes({"state_dict": weights, "config": {"rnn_type": "GRU"}}), "contradicts itself"),
        "sparse": (_torch_bytes({**weights, "fc.weight": torch.eye(5)[:2].to_sparse()}), "has no plain values"),
        "stretched": (
            _torch_bytes({**weights, "fc.weight": torch.ones(1).expand(2**20, 2**20)}),
            "more than are stored",
        ),
        # Other files.
        "empty": (b"", "empty"),
        "git-LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "git-LFS pointer"),
        "page": (b"\n<!DOCTYPE html><html>", "web page"),
        "pickle": (evil, "a Python pickle (it asks for 'posix.mkdir')"),
        "text pickle": (pickle.dumps(Canary(canary), protocol=0), "a Python pickle (it asks for"),
        "scikit-learn": (_named_class("sklearn.svm._classes", "SVC"), "a scikit-learn model (it asks for 'sklearn.svm"),
        "gensim": (_named_class("gensim.models.word2vec", "Word2Vec"), "a gensim model"),
        "torch in a pickle": (pickle.dumps(weights), "a Python pickle of pickled PyTorch objects"),
        "joblib": (
            _named_class("joblib.numpy_pickle", "NumpyArrayWrapper"),
            "a joblib file (it asks for 'joblib.numpy_pickle",
        ),
        "joblib, zlib": (zlib.compress(evil), "a zlib-compressed joblib file"),
        "joblib, gzip": (gzip.compress(evil), "a gzip-compressed joblib file"),
        "joblib, xz": (lzma.compress(evil), "a xz-compressed joblib file"),
        "joblib, bzip2": (bz2.compress(evil), "a bzip2-compressed joblib file"),
        "lz4": (b"\x04\x22\x4d\x18" + bytes(40), "compressed with lz4"),
        "tar": (_tar("model/weights.bin"), "tar archive; its first entry is 'model/weights.bin'"),
        "tar.gz": (gzip.compress(_tar("model.pt")), "tar archive, compressed with gzip"),
        "before 0.1.10": (_tar("storages"), "before 0.1.10"),
        "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "7z archive"),
        "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x80\x02", "ONNX"),
        "onnx of a SavedModel": (
            b"\x08\x08\x12\x07tf2onnx\x1a\x061.16.1:\x80\x08\x0a\x2fStatefulPartitionedCall/sequential/lstm/Placeholder",
            "ONNX",
        ),
        "onnx of no producer": (b"\x08\x0a:\x80\x08\x0a\x20\x12\x0bPlaceholder" + bytes(40), "ONNX"),
        "onnx of no known producer": (b"\x08\x0a\x12\x042.0\x20:\x80\x08\x0a\x12\x0bNoOp" + bytes(40), "ONNX"),
        "coreml": (b"\x08\x05\x12\x80\x01\x0a\x10\x0a\x05input" + bytes(40), "CoreML model"),
        "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(40), "TensorFlow Lite"),
        "graph": (b"\x0a\x20\x0a\x01x\x12\x0bPlaceholder" + bytes(40), "TensorFlow graph"),
        "saved_model.pb": (b"\x08\x01\x12\x80\x08\x0a\x20\x12\x0bPlaceholder" + bytes(40), "without the folder"),
        "checkpoint index": (bytes(64) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "index of a TensorFlow checkpoint"),
        "checkpoint": (b'model_checkpoint_path: "model.ckpt-1"\n', "TensorFlow checkpoint"),
        "python": (b"import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n    pass\n", "Python source code"),
        "csv": (b"time,speed\n1,2\n3,4\n", "table of text (CSV)"),
        "json": (b'{"a": 1}', "JSON text"),
        "keras json": (b'{"class_name": "Sequential", "config": []}', "architecture of a Keras model"),
        "notebook": (b'{"cells": [], "nbformat": 4}', "Jupyter notebook"),
        "npy": (b"\x93NUMPY\x01\x00" + bytes(80), "NumPy array"),
        "npz": (_zip(**{"a.npy": b"x"}), "NumPy archive"),
        "parquet": (b"PAR1" + bytes(80), "Parquet table"),
        "zipped model": (_zip(**{"export/model.pt": b"x"}), "among them 'export/model.pt'"),
        "mlpackage": (_zip(**{"Data/com.apple.CoreML/model.mlmodel": b"x"}), "CoreML package"),
        "cut-off zip": (_torch_bytes(weights)[:700], "damaged or cut-off archive"),
        "cut-off, before 1.6": (_torch_bytes(weights, **old)[:400], "cannot read the file"),
        "program": (b"\x7fELF" + bytes(80), "native library"),
        "noise": (bytes(range(1, 256)), "not a model file that PairLift knows"),
    }  # fmt: skip
    found = {}
    for number, (name, (data, said)) in enumerate(contents.items()):
        path = folder / f"refused-{number}.pth"
        path.write_bytes(data)
        found[name] = (path, said)
    return found
