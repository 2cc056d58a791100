"""Pickles of PyTorch, in TorchScript and alone, that are not what models are."""

import zipfile

import pytest
import torch
from torch import nn
from untrusted_files import (
    edited,
    said_apart,
    script,
)

from explain_core.errors import ModelFileError
from explain_core.models import load_model

pytestmark = [  # TorchScript files will be around for long; the exporter's own, on nn.LSTM's flattened weights
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]


class Held(nn.Module):
    """With a list, a dictionary and a tensor among its attributes."""

    def __init__(self):
        super().__init__()
        self.sizes, self.names, self.fc = [1, 2], {"a": 1}, nn.Linear(2, 1)
        self.register_buffer("flat", torch.zeros(8))

    def forward(self, x):
        return self.fc(x) * self.sizes[0] * self.names["a"] + self.flat[0]


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    return script(Held(), tmp_path_factory.mktemp("held") / "good.pt")


def _int(number):
    return b"K" + bytes([number])


PICKLES = {
    "a call": (b"(", b"cos\nsystem\nX\x04\x00\x00\x00true\x85R0("),
    "another class": (b"ctorch.jit._pickle\nbuild_intlist", b"c__torch__\nNothing"),
    "a quantized tensor": (b"_rebuild_tensor_v2", b"_rebuild_qtensor"),
    "a tensor by number": (b"build_intlist", b"build_tensor_from_id"),
    "a list of other things": (b"build_intlist", b"build_tensorlist"),
    "numbers with a point for whole ones": (b"build_intlist", b"build_doublelist"),
    "a type that is not so": (b"Dict[str, int]", b"Dict[int, str]"),
    "a type of no kind": (b"Dict[str, int]", b"Dict[str, os.]"),
    "a storage of another size": (b"torch\nFloatStorage", b"torch\nDoubleStorage"),
    "a storage that is not there": (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),
    "a device of its own": (b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00ipu"),
    "a list that holds itself": (b"]", b"]q\xf0h\xf0a"),
    "an object kept before it is filled": (b")\x81", b")\x81q\xf1"),
    "an object that is not filled": (b"ub", b"u0"),
    "nothing": (b"\x80\x02", b"\x80\x02."),
    "more than one": (b"ubq\x1d.", b"ubN."),
    "cut off": (b"ubq\x1d.", b"ub"),
    "a missing attribute": (b"X\x05\x00\x00\x00sizes", b"X\x05\x00\x00\x00sizez"),
}


@pytest.mark.parametrize("idea", PICKLES)
def test_pickles_hold_what_models_hold(idea, held, tmp_path):
    old, new = PICKLES[idea]

    def change(name, data):
        if name != "data.pkl":
            return data
        assert old in data
        return data.replace(old, new, 1)

    with pytest.raises(ModelFileError) as caught:
        load_model(edited(held, tmp_path / "m.pt", change))
    assert "could not be read as" not in caught.value.what  # foreseen, and not only caught


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(" + _int(8) + b"t", b"(M\xff\xfft"),  # more of them
        (b"(" + _int(1) + b"t", b"(" + _int(9) + b"t"),  # further apart
        (b"Q" + b"q\x07" + _int(0), b"Q" + b"q\x07" + _int(1)),  # from a later place on
    ],
)
def test_tensors_lie_in_their_bytes(old, new, held, tmp_path):
    def change(name, data):
        assert name != "data.pkl" or old in data
        return data.replace(old, new, 1) if name == "data.pkl" else data

    with pytest.raises(ModelFileError, match="reaches beyond its values"):
        load_model(edited(held, tmp_path / "m.pt", change))


def test_values_with_fewer_bytes_than_they_need_are_refused(held, tmp_path):
    path = edited(held, tmp_path / "m.pt", lambda name, data: data[:4] if name == "data/0" else data)
    with pytest.raises(ModelFileError, match="fewer bytes"):
        load_model(path)


def test_what_was_checked_cannot_be_changed_behind_the_check(held, tmp_path):
    tag = b"X\x0e\x00\x00\x00Dict[str, int]"

    def change(name, data):
        if name != "data.pkl":
            return data
        at = data.index(tag)
        end = data.index(b"R", at) + 1
        return data[:end] + b"(X\x01\x00\x00\x00bX\x01\x00\x00\x00cu" + data[end:]

    with pytest.raises(ModelFileError, match="has all of its own"):
        load_model(edited(held, tmp_path / "m.pt", change))


def test_constants_in_constants_in_constants(held, tmp_path):
    """PyTorch's own reader ends the process when it lets go of such a value."""
    deep = b"\x80\x02)" + b"\x85" * 500_000 + b"."
    with pytest.raises(ModelFileError, match="nested more than"):
        load_model(edited(held, tmp_path / "m.pt", lambda name, data: deep if name == "constants.pkl" else data))


def _twins(depth):
    """A pickled module that has the same module twice, which has ...: and the code of their classes."""
    code = ["class K0(Module):\n  a : int\n  def forward(self, x: Tensor) -> Tensor:\n    return x\n"]
    value = b"c__torch__.k\nK0\n)\x81}(X\x01\x00\x00\x00aK\x01ubq\x00"
    for n in range(1, depth + 1):
        code.append(f"class K{n}(Module):\n  a : __torch__.k.K{n - 1}\n  b : __torch__.k.K{n - 1}\n")
        code.append("  def forward(self, x: Tensor) -> Tensor:\n    return x\n")
        again = b"X\x01\x00\x00\x00bh" + bytes([n - 1])
        value = f"c__torch__.k\nK{n}\n".encode() + b")\x81}(X\x01\x00\x00\x00a" + value + again + b"ubq" + bytes([n])
    return b"\x80\x02" + value + b".", "".join(code)


@pytest.mark.parametrize(("depth", "opens"), [(3, True), (40, False)])
def test_modules_that_are_there_again_and_again(depth, opens, held, tmp_path):
    pickled, code = _twins(depth)
    edited(held, tmp_path / "m.pt", lambda name, data: pickled if name == "data.pkl" else data)
    with zipfile.ZipFile(tmp_path / "m.pt", "a") as archive:
        archive.writestr("good/code/__torch__/k.py", code)
    if opens:
        assert load_model(tmp_path / "m.pt").module(torch.ones(2)).shape == (2,)
        return
    with pytest.raises(ModelFileError, match="more parts in parts"):
        load_model(tmp_path / "m.pt")


ENDLESS = {  # by idea, a pickle for torch.save's archive, and words of the error
    "holds itself": (b"\x80\x02]q\x00h\x00a.", "not a state dict"),
    "settings that hold themselves": (
        b"\x80\x02}q\x00(X\x06\x00\x00\x00configh\x00X\x05\x00\x00\x00model}q\x01u.",
        "not a state dict",
    ),
    "tuples": (b"\x80\x02})" + b"\x85" * 2_000_000 + b"K\x01s.", "nested more than"),
    "lists": (b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "nested more than"),
    "operations": (b"\x80\x02" + b"N0" * 1_500_000 + b"N.", "more than 2,000,000 operations"),
}


def test_pickles_of_weights_that_go_on_and_on(tmp_path):
    paths = {}
    for idea, (pickled, words) in ENDLESS.items():
        path = tmp_path / f"{idea}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {"data.pkl": pickled, "version": "3\n", "byteorder": "little"}.items():
                archive.writestr(f"m/{name}", data)
        paths[str(path)] = words
    for path, said in said_apart(paths).items():
        assert said.startswith("ModelFileError"), path
        assert paths[path] in said, path


def sparse(path, content):
    """What ``torch.save`` writes, with a sparse tensor's index far beyond its size."""
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    changed = [name for name, data in entries.items() if data == (1).to_bytes(16, "little")]
    assert changed
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, (1 << 40).to_bytes(16, "little") if name in changed else data)
    return path


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_weights_are_not_looked_into(tmp_path):
    tensor = torch.sparse_coo_tensor(torch.tensor([[1], [0]]), torch.ones(1), (3, 2))
    linear = nn.Linear(2, 3)
    linear.weight = nn.Parameter(tensor, requires_grad=False)
    paths = [
        sparse(tmp_path / "state.pt", {**nn.LSTM(2, 3).state_dict(), "h0": tensor}),
        sparse(tmp_path / "module.pt", nn.Sequential(nn.Flatten(0, 1), linear)),
    ]
    assert [said[:14] for said in said_apart(paths).values()] == ["ModelFileError"] * 2


def test_a_stock_module_of_several_kinds_of_numbers_is_refused(tmp_path):
    """Its kernel would take the bytes of one for those of another."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    layer.self_attn.in_proj_bias = nn.Parameter(layer.self_attn.in_proj_bias.float())
    torch.save(layer, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="several kinds of numbers"):
        load_model(tmp_path / "m.pt")


def test_long_lists_are_no_deep_ones(tmp_path):
    content = {"state_dict": nn.LSTM(2, 3).state_dict(), "history": [[float(n)] for n in range(5000)]}
    torch.save(content, tmp_path / "m.pt")
    assert load_model(tmp_path / "m.pt").summary.parameters
