"""Exported programs that were prepared to do something, or whose weights are not in their bytes."""

import json

import pytest
import torch
from torch import nn
from untrusted_files import (
    PROGRAM,
    WEIGHTS,
    Model,
    edited,
    export,
    with_json,
)

from explain_core.errors import ModelFileError
from explain_core.models import load_model

pytestmark = [  # TorchScript files will be around for long; the exporter's own, on nn.LSTM's flattened weights
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return export(Model(), torch.randn(2, 5, 2), path=tmp_path_factory.mktemp("pt2") / "good.pt2")


def node(target, *inputs):
    """A node of a program that is run for what it does."""
    named = [{"name": name, "arg": argument, "kind": 1} for name, argument in inputs]
    return {"target": target, "inputs": named, "outputs": [], "metadata": {}, "is_hop_single_tensor_return": None}


X = {"as_tensor": {"name": "x"}}
TARGETS = {
    "torch.ops.aten.save.default": [("item", X), ("filename", {"as_string": "{}"})],
    "torch.ops.aten.from_file.default": [("filename", {"as_string": "{}"})],
    "torch.ops.aten.from_file.out": [("filename", {"as_string": "{}"})],
    "torch.ops.aten._print.default": [("s", {"as_string": "PRINTED-BY-FILE"})],
    "torch.ops.aten.warn.default": [("message", {"as_string": "WARNED-BY-FILE"})],
    "torch.ops.aten.resize_.default": [("self", X), ("size", {"as_ints": [9999]})],
    "torch.ops.aten.set_.default": [("self", X)],
    "torch.ops.aten.add.out": [("self", X), ("other", X), ("out", X)],
    "torch.ops.aten.lstm.data": [("data", X)],
    "torch.ops.aten._sparse_coo_tensor_unsafe.default": [("indices", X), ("values", X), ("size", {"as_ints": [4]})],
    "torch.ops.aten.ctc_loss.IntList": [("log_probs", X)],
    "torch.ops.aten._embedding_bag.default": [("weight", X)],
    "torch.ops.aten.add.nothing": [("self", X)],
    "torch.ops.aten.add": [("self", X)],
    "torch.ops.prims.as_strided.default": [("a", X)],
    "torch.ops.quantized.linear.default": [("X", X)],
    "torch.ops.higher_order.triton_kernel_wrapper_mutation": [("x", X)],
}


@pytest.mark.parametrize("target", TARGETS)
def test_programs_call_only_what_is_on_the_list(target, program, tmp_path, capfd):
    canary = tmp_path / "canary"
    inputs = json.loads(json.dumps(TARGETS[target]).replace("{}", str(canary)))
    path = with_json(
        program,
        tmp_path / "m.pt2",
        PROGRAM,
        lambda j: j["graph_module"]["graph"]["nodes"].insert(0, node(target, *inputs)),
    )
    with pytest.raises(ModelFileError, match=target):
        load_model(path)
    assert not canary.exists()
    assert "BY-FILE" not in "".join(capfd.readouterr())


def _first(listing):
    return next(payload for payload in listing["config"].values() if len(payload["tensor_meta"]["sizes"]) == 2)


def _sizes(*sizes):
    return lambda j: _first(j)["tensor_meta"].update(sizes=[{"as_int": n} for n in sizes])


BEYOND = ("larger", "far larger", "with other strides", "further on", "of other numbers", "of another layout")
TENSORS = {
    "larger": _sizes(4000, 2),
    "far larger": _sizes(2**62, 2**62),
    "negative": _sizes(-1, 2),
    "of a truth": _sizes(True, 2),
    "not whole": _sizes(1.5, 2),
    "more axes": _sizes(*[1] * 70),
    "with other strides": lambda j: _first(j)["tensor_meta"].update(strides=[{"as_int": 2**40}, {"as_int": 1}]),
    "further on": lambda j: _first(j)["tensor_meta"].update(storage_offset={"as_int": 2**33}),
    "before": lambda j: _first(j)["tensor_meta"].update(storage_offset={"as_int": -8}),
    "of other numbers": lambda j: _first(j)["tensor_meta"].update(dtype=8),
    "of another layout": lambda j: _first(j)["tensor_meta"].update(layout=1),
    "of no numbers": lambda j: _first(j)["tensor_meta"].update(dtype=99),
    "by a symbol": lambda j: _first(j)["tensor_meta"].update(sizes=[{"as_expr": {"expr_str": "s0"}}, {"as_int": 2}]),
    "elsewhere": lambda j: _first(j).update(path_name="../constants/tensor_0"),
    "pickled": lambda j: _first(j).update(use_pickle=1),
    "of nothing": lambda j: _first(j).update(tensor_meta=None),
    "in a list": lambda j: {"config": []},
    "alone": lambda j: 7,
}


@pytest.mark.parametrize("idea", TENSORS)
def test_weights_of_programs_lie_in_their_bytes(idea, program, tmp_path):
    with pytest.raises(ModelFileError) as caught:
        load_model(with_json(program, tmp_path / "m.pt2", WEIGHTS, TENSORS[idea]))
    said = "larger than its values" if idea in BEYOND else ""
    assert said in caught.value.what
    assert "could not be read as" not in caught.value.what  # foreseen, and not only caught


@pytest.mark.parametrize("entry", [PROGRAM, WEIGHTS])
@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"[" * 100_000,
        b'{"config": {"x": ' + b"9" * 5000 + b"}}",
        b'{"graph_module": NaN}',
        b'{"config": "\\ud800"}',
        b"\xff\xfe",
        b"[]",
        b"null",
        b"",
    ],
    ids=["deep", "deep and open", "digits", "nan", "half a character", "no text", "list", "null", "empty"],
)
def test_odd_json_ends_in_an_error_of_the_file(entry, text, program, tmp_path):
    with pytest.raises(ModelFileError):
        load_model(edited(program, tmp_path / "m.pt2", lambda name, data: text if name == entry else data))


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9**9",
        "Pow(Pow(Integer(9), Integer(64)), Integer(64))",
        "Pow(Integer(9), Integer(99999999))",
        "1 << 99999999999",
        "Float('1e99999999')",
        "Integer('" + "9" * 5000 + "')",
        "__import__('os')",
        "Symbol('s0').__class__",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "(" * 300 + "1" + ")" * 300,
        "-" * 20_000 + "1",
    ],
    ids=range(12),
)
def test_expressions_are_arithmetic_of_a_size(expression, program, tmp_path):
    def change(tree):
        tree["range_constraints"] = {"s0": {"min_val": 1, "max_val": 9}}
        values = tree["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"][0] = {"as_expr": {"expr_str": expression, "hint": {"as_int": 2}}}

    with pytest.raises(ModelFileError, match="could run code"):
        load_model(with_json(program, tmp_path / "m.pt2", PROGRAM, change))


@pytest.mark.parametrize("argument", [{"as_int": 123456}, {"as_int": -9}, {"as_sym_int": {"as_int": 99}}])
def test_kinds_of_numbers_are_no_bare_numbers(argument, program, tmp_path):
    def change(tree):
        nodes = tree["graph_module"]["graph"]["nodes"]
        zeros = next(part for part in nodes if part["target"] == "torch.ops.aten.zeros.default")
        next(given for given in zeros["inputs"] if given["name"] == "dtype")["arg"] = argument

    with pytest.raises(ModelFileError):
        load_model(with_json(program, tmp_path / "m.pt2", PROGRAM, change))


def test_kinds_of_numbers_are_no_bare_numbers_where_pytorch_calls_them_numbers(program, tmp_path):
    inputs = [("self", X), ("dtype", {"as_int": 123456})]
    cast = node("torch.ops.aten.to.prim_dtype", *inputs) | {"outputs": [{"as_tensor": {"name": "cast"}}]}

    def change(tree):
        graph = tree["graph_module"]["graph"]
        graph["nodes"].insert(0, cast)
        graph["tensor_values"]["cast"] = graph["tensor_values"]["x"]

    with pytest.raises(ModelFileError, match="dtype '123456'"):
        load_model(with_json(program, tmp_path / "m.pt2", PROGRAM, change))


class Viewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 4, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0].contiguous().view(2, 20)


def test_operations_that_leave_out_a_check_are_replaced(tmp_path):
    path = export(Viewed(), torch.randn(2, 5, 2), path=tmp_path / "v.pt2")

    def change(tree):
        nodes = tree["graph_module"]["graph"]["nodes"]
        found = [part for part in nodes if part["target"] == "torch.ops.aten.view.default"]
        assert found
        found[0]["target"] = "torch.ops.aten._unsafe_view.default"

    loaded = load_model(with_json(path, tmp_path / "m.pt2", PROGRAM, change))
    assert "_unsafe_view" not in str(loaded.module.graph)
    assert loaded.module(torch.ones(2, 5, 2)).shape == (2, 20)
