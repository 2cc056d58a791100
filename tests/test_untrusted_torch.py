"""Model files of PyTorch that were prepared to do something: none does, in the library itself and with no sandbox.

What could corrupt memory is tried in a process of its own, so that a crash is a failure and not the end of the tests.
"""

import json
import subprocess
import sys
import warnings
import zipfile

import pytest
import torch
from corpus.torchscript_models import write
from torch import nn

import explain_core as xc
from explain_core.errors import ExplainError, ModelFileError
from explain_core.models import guards, load_model, operators, torchscript
from explain_core.models.archive import read_entries
from explain_core.models.script_graphs import check_functions

pytestmark = [  # TorchScript files will be around for long; the exporter's own, on nn.LSTM's flattened weights
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor, y: int = 1):
        return self.fc(self.lstm(x)[0][:, -1]) * y


def script(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model.eval()), str(path))
    return path


def edited(source, target, change):
    """Copy an archive with ``change(entry, data)`` of every entry; None leaves an entry out."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as out:
        root = archive.namelist()[0].partition("/")[0]
        for name in archive.namelist():
            if not name.endswith(".debug_pkl"):
                data = change(name.removeprefix(f"{root}/"), archive.read(name))
                if data is not None:
                    out.writestr(name, data)
    return target


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return script(Model(), tmp_path_factory.mktemp("scripts") / "good.pt")


@pytest.fixture(scope="module")
def main_code(good):
    """The entry with the code of `Model`."""
    return next(name for name in read_entries(good) if name.endswith("test_untrusted_torch.py"))


def in_code(good, main_code, target, old, new, more=None):
    """The good archive with a piece of its code replaced, which must be there."""

    def change(name, data):
        if name != main_code:
            return data
        assert old.encode() in data
        return data.replace(old.encode(), new if isinstance(new, bytes) else new.encode())

    edited(good, target, change)
    with zipfile.ZipFile(target, "a") as archive:
        for name, text in (more or {}).items():
            archive.writestr(f"good/{name}", text)
    return target


# --- Code that PyTorch runs while it opens an archive ---------------------------------------------------------------

DEFAULT = "y: int=1)"
NO_DEFAULTS = {  # by idea, what stands in the place of the default; {} is the path of the canary
    "octal": "y: int=torch.len([getattr(torch, 'sa\\166e')([1, 2], '{}')]))",
    "octal in double quotes": 'y: int=torch.len([getattr(torch, "sa\\166e")([1, 2], "{}")]))',
    "hexadecimal": "y: int=torch.len([getattr(torch, 'sa\\x76e')([1, 2], '{}')]))",
    "over a line break": "y: int=torch.len([getattr(torch,\n  \"sa\\166e\")([1, 2], '{}')]))",
    "with a space": "y: int=torch.len([torch . save ([1, 2], '{}')]))",
    "continued line": "y: int=torch.len([torch.\\\n  save([1, 2], '{}')]))",
    "plain call": "y: int=torch.len([torch.save([1, 2], '{}')]))",
    "through ops": "y: int=torch.len([ops.aten.save([1, 2], '{}')]))",
    "ops by getattr": "y: int=torch.len([getattr(ops, 'aten').save([1, 2], '{}')]))",
    "empty tuple": "y: Tuple[()]=torch.save([1, 2], '{}'))",
    "tensor from a file": "y: Tensor=torch.from_file('{}', True, 16))",
    "copied into a file": "y: Tensor=torch.copy_(torch.from_file('{}', True, 4, dtype=0), torch.tensor([1, 2, 3, 4])))",
    "in a list": "y: List[NoneType]=[torch.save([1, 2], '{}')])",
    "in a dictionary": "y: Dict[str, NoneType]={{'a': torch.save([1, 2], '{}')}})",
    "annotated": "y: int=annotate(int, torch.len([torch.save([1, 2], '{}')])))",
    "in a formatted text": "y: str=f\"{{torch.save([1, 2], '{}')}}\")",
    "in a condition": "y: int=1 if torch.save([1, 2], '{}') is None else 2)",
    "in a sum": "y: int=1 + torch.len([torch.save([1, 2], '{}')]))",
    "in a comprehension": "y: List[NoneType]=[torch.save([1, 2], '{}') for i in [1]])",
    "in a lambda": "y: int=(lambda: torch.save([1, 2], '{}'))())",
    "function of the archive": "y: int=__torch__.test_untrusted_torch.own())",
    "wide letters": "y: int=torch.len([torch.\uff53ave([1, 2], '{}')]))",
    "in a type": "y: annotate(torch.save([1, 2], '{}'), int)=1)",
    "behind a comment": "y: int=1 # type: torch.save([1, 2], '{}')\n, z: int=torch.len([torch.save([1, 2], '{}')]))",
    "named argument after": "*, y: int=torch.len([torch.save([1, 2], '{}')]))",
}


@pytest.mark.parametrize("idea", NO_DEFAULTS)
def test_defaults_of_arguments_run_nothing(idea, good, main_code, tmp_path):
    canary = tmp_path / "canary"
    path = in_code(good, main_code, tmp_path / "m.pt", DEFAULT, NO_DEFAULTS[idea].format(canary, canary))
    with pytest.raises(ModelFileError):
        load_model(path)
    assert not canary.exists()


def test_the_canary_of_the_defaults_is_real(good, main_code, tmp_path):
    canary = tmp_path / "canary"
    text = NO_DEFAULTS["octal"].format(canary)
    torch.jit.load(str(in_code(good, main_code, tmp_path / "m.pt", DEFAULT, text)))
    assert canary.exists()


def test_an_existing_file_keeps_its_bytes(good, main_code, tmp_path):
    target = tmp_path / "target.py"
    target.write_text("x = 1  # a file of the app's user\n" * 4)
    new = list(b"print('CANARY')#")
    text = (
        f"y: Tensor=torch.copy_(getattr(torch, 'from\\137file')('{target}', True, {len(new)}, dtype=0), "
        f"torch.tensor({new})))"
    )
    with pytest.raises(ModelFileError):
        load_model(in_code(good, main_code, tmp_path / "m.pt", DEFAULT, text))
    assert target.read_text().startswith("x = 1")


CLASS = "  __buffers__ = []\n"
IN_CLASSES = {
    "constant": "  k : Final[int] = torch.len([torch.save([1, 2], '{}')])\n",
    "constant of another form": "  k = torch.save([1, 2], '{}')\n",
    "annotation": "  __annotations__[torch.save([1, 2], '{}')] = Tensor\n",
    "type of an annotation": "  __annotations__['k'] = torch.save([1, 2], '{}')\n",
    "names of parameters": "  __parameters__ = [torch.save([1, 2], '{}')]\n",
    "hooks": "  __forward_pre_hooks__ = ['forward', ]\n",
    "statement": "  torch.save([1, 2], '{}')\n",
    "setstate": "  def __setstate__(self, state: Tensor) -> NoneType:\n    return torch.save([1, 2], '{}')\n",
    "getstate": "  def __getstate__(self) -> Tensor:\n    return torch.zeros([1])\n",
    "decorator": "  @torch.save([1, 2], '{}')\n  def g(self) -> NoneType:\n    return None\n",
    "class in a class": "  class K(Module):\n    pass\n",
    "custom class": "  k : __torch__.torch.classes.quantized.LinearPackedParamsBase\n",
}


@pytest.mark.parametrize("idea", IN_CLASSES)
def test_classes_run_nothing(idea, good, main_code, tmp_path):
    canary = tmp_path / "canary"
    text = CLASS + IN_CLASSES[idea].format(canary)
    with pytest.raises(ModelFileError):
        load_model(in_code(good, main_code, tmp_path / "m.pt", CLASS, text))
    assert not canary.exists()


OTHER_ENTRIES = {
    "interface": "class I(Interface):\n  def go(self, x: Tensor) -> Tensor:\n    pass\n",
    "module interface": "class I(ModuleInterface):\n  def go(self, x: Tensor) -> Tensor:\n    pass\n",
    "enum": "class E(Enum):\n  A = torch.save([1, 2], '{}')\n",
    "named tuple": "class T(NamedTuple):\n  a : NoneType = torch.save([1, 2], '{}')\n",
    "statement": "torch.save([1, 2], '{}')\n",
    "assignment": "x = torch.save([1, 2], '{}')\n",
    "encoding": "# -*- coding: utf-7 -*-\nx = +AHQAbwByAGM-h.save([1, 2], '{}')\n",
    "zero byte": "def f(x: Tensor) -> Tensor:\n  return x\0\n",
    "mark before all": "\ufeffdef f(x: Tensor) -> Tensor:\n  return x\n",
    "base with keywords": "class K(Module, metaclass=torch.save([1, 2], '{}')):\n  pass\n",
    "without an end": "def f(x: Tensor",
    "deep": "def f(x: int=" + "[" * 5000 + "]" * 5000 + ") -> int:\n  return x\n",
    "deeper than it looks": "def f(x: Tensor) -> Tensor:\n  return x" + ".a" * 5000 + "\n",
    "long number": "def f(x: int=" + "9" * 9000 + ") -> int:\n  return x\n",
}


@pytest.mark.parametrize("idea", OTHER_ENTRIES)
def test_other_entries_run_nothing(idea, good, main_code, tmp_path):
    canary = tmp_path / "canary"
    text = OTHER_ENTRIES[idea].replace("{}", str(canary))
    path = in_code(good, main_code, tmp_path / "m.pt", DEFAULT, DEFAULT, {"code/__torch__/other.py": text})
    with pytest.raises(ModelFileError):
        load_model(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    "entry",
    ["bytecode.pkl", "code/__torch__/pairlift_guards.py", "code/other.py", "data/../x", "mobile_debug_handles.pkl"],
)
def test_entries_that_models_do_not_have_are_refused_by_name(entry, good, main_code, tmp_path):
    with pytest.raises(ModelFileError) as caught:
        load_model(in_code(good, main_code, tmp_path / "m.pt", DEFAULT, DEFAULT, {entry: "x = 1"}))
    assert entry in caught.value.what


# --- Code that would run when the model is explained ----------------------------------------------------------------

RESULT = "torch.mul(_1, y)"
BODIES = {
    "save": ("torch.save([1, 2], '{}')", "aten::save"),
    "save, through ops": ("ops.aten.save([1, 2], '{}')", "aten::save"),
    "save, by getattr": ("getattr(torch, 'sa\\166e')([1, 2], '{}')", ""),
    "save, as a method": ("(x).save('{}')", ""),
    "a file": ("torch.from_file('{}', True, 4)", "aten::from_file"),
    "print": ("print('said by the file')", ""),
    "another namespace": ("ops.quantized.linear_dynamic(x, x)", "quantized::linear_dynamic"),
    "python": ("ops.prim.PythonOp(x)", "prim::PythonOp"),
    "a remote call": ("ops.prim.rpc_async('a', x)", "prim::rpc_async"),
    "more memory": ("torch.resize_(x, [1000000])", "aten::resize_"),
    "more memory, as a method": ("(x).resize_([1000000])", ""),
    "other memory": ("torch.set_(x, x)", "aten::set_"),
    "an address": ("torch.data_ptr(x)", "aten::data_ptr"),
    "other strides": ("torch.as_strided_(x, [2], [1])", "aten::as_strided_"),
    "a sparse tensor": ("torch._sparse_coo_tensor_unsafe(x, x, [4])", "aten::_sparse_coo_tensor_unsafe"),
    "an internal of a kernel": ("torch.mkldnn_rnn_layer(x)", "aten::mkldnn_rnn_layer"),
    "a fused cell": ("torch._thnn_fused_lstm_cell(x, x, x)", "aten::_thnn_fused_lstm_cell"),
    "a gradient": ("torch.embedding_dense_backward(x, x, 1, 1, False)", "aten::embedding_dense_backward"),
    "a bag": ("torch.embedding_bag(x, x, x)", "aten::embedding_bag"),
    "a loss that trusts": ("torch.ctc_loss(x, x, [1], [1])", "aten::ctc_loss"),
    "the seed": ("torch.manual_seed(1)", "aten::manual_seed"),
    "an operation by another name": ("__torch__.test_untrusted_torch.save(x)", ""),
    "an operation as a value": ("torch.save", "torch.save"),
    "fork": ("fork(torch.relu, x)", ""),
    "await": ("torch.wait(x)", "aten::wait"),
    "a result in a given tensor": ("torch.add(x, x, out=x)", "aten::add"),
}


@pytest.mark.parametrize("idea", BODIES)
def test_what_forward_may_not_call_is_refused_before_it_runs(idea, good, main_code, tmp_path):
    canary = tmp_path / "canary"
    call, named = BODIES[idea]
    path = in_code(good, main_code, tmp_path / "m.pt", f"return {RESULT}", f"_9 = {call}\n    return {RESULT}")
    edited_path = edited(path, tmp_path / "n.pt", lambda name, data: data.replace(b"{}", str(canary).encode()))
    with pytest.raises(ModelFileError) as caught:
        load_model(edited_path)
    assert named in caught.value.what
    assert not canary.exists()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    @torch.jit.interface
    class Interface:
        def go(self, x: torch.Tensor) -> torch.Tensor:
            pass


class Behind:
    def __init__(self):
        self.k = 1

    def go(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2.5


class WithInterface(nn.Module):
    i: Interface

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.i = torch.jit.script(Behind)()

    def forward(self, x: torch.Tensor):
        return self.i.go(self.fc(x))


def helper(x: torch.Tensor):
    return x * 2.5


class Forks(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor):
        return torch.jit.wait(torch.jit.fork(helper, self.fc(x)))


@pytest.mark.parametrize("kind", [Forks, WithInterface])
def test_what_runs_out_of_sight_is_refused(kind, tmp_path):
    with pytest.raises(ModelFileError):
        load_model(script(kind(), tmp_path / "m.pt"))


class Loops(nn.Module):
    def forward(self, x: torch.Tensor):
        for _ in range(2):
            if x.sum() > 3:
                torch.save(x, "canary")
        return x


@pytest.mark.parametrize("kind", [Forks, Loops])
def test_the_graphs_are_a_second_net(kind, tmp_path):
    """What the grammar would have let through is seen in what PyTorch compiles: subgraphs, branches, loops."""
    path = script(kind(), tmp_path / "m.pt")
    _, functions = torchscript._load(read_entries(path), path.name)
    with pytest.raises(ModelFileError, match="not on the list"):
        check_functions(functions, {}, path.name)


def test_the_functions_behind_an_interface_are_among_those_looked_through(tmp_path):
    path = script(WithInterface(), tmp_path / "m.pt")
    _, functions = torchscript._load(read_entries(path), path.name)
    assert any(function.qualified_name.endswith("Behind.go") for function in functions)


CASTS = """
class Small:
  a : int
class Big:
  a : int
  b : int
  c : Tensor
def pick(x: Tensor) -> Tensor:
  s = __torch__.other.Small.__new__(__torch__.other.Small)
  b = unchecked_cast(__torch__.other.Big, annotate(Any, s))
  return (b).c
"""
ALSO_REFUSED = {
    "an object taken for another": (CASTS, "__torch__.other.pick(x)"),
    "a tuple taken for a longer one": (
        "def pick(x: Tensor) -> Tensor:\n"
        "  a, b, c = unchecked_cast(Tuple[Tensor, Tensor, Tensor], annotate(Any, (x, x)))\n  return c\n",
        "__torch__.other.pick(x)",
    ),
    "a method of a tensor under a name of its own": ("", "_8([1000000])"),
    "a sparse tensor": ("", "torch.zeros([4], layout=1)"),
    "a sparse tensor by way of a function": (
        "def pick(n: int) -> Tensor:\n  return torch.zeros([4], layout=n)\n", "__torch__.other.pick(1)",
    ),
    "a kind of numbers that there is not": ("", "torch.zeros([4], dtype=123456)"),
    "a kind of numbers below all": ("", "torch.to(x, -99)"),
    "a quantized tensor": ("", "torch.empty([4], dtype=13)"),
    "a computed kind of numbers": ("", "torch.zeros([4], dtype=torch.add(6, int(torch.sum(x))))"),
    "a kind of numbers by way of a function": (
        "def pick(n: Optional[int]) -> Tensor:\n  return torch.zeros([4], dtype=n)\n", "__torch__.other.pick(99)",
    ),
    "a kind of numbers as a default": (
        "def pick(x: Tensor, n: int=99) -> Tensor:\n  return torch.softmax(x, 0, n)\n", "__torch__.other.pick(x)",
    ),
    "a kind of numbers by a branch": (
        "def pick(x: Tensor, way: bool) -> Tensor:\n  if way:\n    n = 6\n  else:\n    n = 99\n"
        "  return torch.to(x, n)\n", "__torch__.other.pick(x, True)",
    ),
    "a memory format that there is not": ("", "torch.contiguous(x, memory_format=99)"),
    "a tensor without values": ("", "torch.zeros([4], device=torch.device('meta'))"),
    "a tensor without values, by a text": ("", "torch.zeros([4], device='meta')"),
    "a class that is there twice": ("class A:\n  a : int\nclass A:\n  a : Tensor\n", "torch.relu(x)"),
    "a class and a function": ("class A:\n  a : int\ndef A(x: Tensor) -> Tensor:\n  return x\n", "torch.relu(x)"),
    "an attribute that is there twice": ("class A:\n  a : int\n  a : Tensor\n", "torch.relu(x)"),
    "an attribute in two forms": ("class A:\n  a : int\n  __annotations__['a'] = Tensor\n", "torch.relu(x)"),
}  # fmt: skip


@pytest.mark.parametrize("idea", ALSO_REFUSED)
def test_values_are_what_they_are_taken_for(idea, good, main_code, tmp_path):
    source, call = ALSO_REFUSED[idea]
    more = {"code/__torch__/other.py": source} if source else {}
    text = f"_8 = getattr(x, 'resize\\137')\n    return torch.add({RESULT}, torch.sum({call}))"
    if "_8" not in call:
        text = text.partition("\n")[2].lstrip()
    path = in_code(good, main_code, tmp_path / "m.pt", f"return {RESULT}", text, more)
    with pytest.raises(ModelFileError, match="is refused"):
        load_model(path)


def test_a_guarded_operation_is_not_reached_around_its_guard(good, main_code, tmp_path):
    call = "torch.lstm(x, [x, x], [x], True, 1, 0., False, False, True)"
    path = in_code(good, main_code, tmp_path / "m.pt", f"return {RESULT}", f"_9 = {call}\n    return {RESULT}")
    _, functions = torchscript._load(read_entries(path), path.name)
    with pytest.raises(ModelFileError, match="aten::lstm"):
        check_functions(functions, {}, path.name)


def test_a_server_that_trusts_code_opens_what_is_refused_and_says_so(tmp_path, monkeypatch):
    path = script(Forks(), tmp_path / "m.pt")
    monkeypatch.setattr(sys, "argv", ["app.py", "--trust-code"])
    loaded = load_model(path)
    assert any("opened unchecked" in note for note in loaded.notes)
    assert loaded.module(torch.ones(1, 2)).shape == (1, 1)


# --- Pickles ----------------------------------------------------------------------------------------------------------


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


# --- Exported programs ------------------------------------------------------------------------------------------------

PROGRAM, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


def export(model, *args, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), args), path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return export(Model(), torch.randn(2, 5, 2), path=tmp_path_factory.mktemp("pt2") / "good.pt2")


def with_json(source, target, entry, change):
    def of_entry(name, data):
        if name != entry:
            return data
        tree = json.loads(data)
        return json.dumps(change(tree) or tree)

    return edited(source, target, of_entry)


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


# --- Memory -----------------------------------------------------------------------------------------------------------


class WithTensors(Model):
    """Has tensors for an operation that is put into its code."""

    def __init__(self, *tensors):
        super().__init__()
        for name, tensor in zip("abcd", (*tensors, *[torch.zeros(1)] * 4), strict=False):
            self.register_buffer(name, tensor)


LSTM = "(torch.lstm(self.a, [self.b, self.b], [self.c, self.c, self.d, self.d], True, 1, 0., False, False, True))[0]"
N = 512
MEMORY = {
    "weights of an LSTM": (LSTM, torch.randn(1, 100, N), torch.randn(1, 1, N), torch.randn(4, 1), torch.randn(4)),
    "states of an LSTM": (
        LSTM, torch.randn(20_000, 3, 64), torch.randn(1, 1, 64), torch.randn(256, 64), torch.randn(256),
    ),
    "bias of an LSTM": (LSTM, torch.randn(1, 3, N), torch.randn(1, 1, N), torch.randn(4 * N, N), torch.randn(4)),
    "weights of a GRU": (
        "(torch.gru(self.a, self.b, [self.c, self.c, self.d, self.d], True, 1, 0., False, False, True))[0]",
        torch.randn(1, 100, N), torch.randn(1, 1, N), torch.randn(3, 1), torch.randn(3),
    ),
    "batch sizes that grow again": (
        "(torch._pad_packed_sequence(self.a, self.b, False, 0., 0))[0]",
        torch.randn(3 * 10**5, 1), torch.tensor([2, 1] * 10**5),
    ),
    "norms of weights": ("torch._weight_norm(self.a, self.b, 0)", torch.randn(1 << 20, 3), torch.randn(1, 1)),
    "no heads": (
        "(torch._native_multi_head_attention(self.a, self.a, self.a, 4, 0, self.b, self.c, self.b, self.d))[0]",
        torch.randn(1, 3, 4), torch.randn(12, 4), torch.randn(12), torch.randn(4),
    ),
    "sizes of batch statistics": (
        "(torch._native_batch_norm_legit_no_training(self.a, self.b, self.b, self.b, self.b, 0.1, 1e-5))[0]",
        torch.randn(1, 1 << 22), torch.rand(1),
    ),
    "strides": ("torch.as_strided(self.a, [2], [1099511627776])", torch.randn(4)),
    "strides with overflow": ("torch.as_strided(self.a, [4294967297], [4294967296])", torch.randn(4)),
    "place of strides": ("torch.as_strided(self.a, [2], [1], 1099511627776)", torch.randn(4)),
    "indices": ("torch.index(self.a, annotate(List[Optional[Tensor]], [self.b]))",
                torch.randn(4), torch.tensor([1 << 40])),
    "rows of a table": ("torch.embedding(self.a, self.b)", torch.randn(4, 1), torch.tensor([-(1 << 40)])),
    "places to add to": ("torch.scatter_add(self.a, 0, self.b, self.a)", torch.randn(1), torch.tensor([1 << 40])),
    "places to put in": ("torch.index_put_(self.a, annotate(List[Optional[Tensor]], [self.b]), self.a)",
                         torch.randn(1), torch.tensor([1 << 40])),
    "places to take from": ("torch.take(self.a, self.b)", torch.randn(4), torch.tensor([1 << 40])),
    "numbers of repeats": ("torch.repeat_interleave(self.a, output_size=3)", torch.tensor([1 << 20, 1 << 20])),
}  # fmt: skip

OPEN = """
import sys, torch, warnings
warnings.simplefilter("ignore")
import explain_core as xc
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        loaded = xc.load_model(path)
        xc.explain(loaded, torch.randn(2, 5, 2), baselines="zeros", target=0)
        print("explained", flush=True)
    except xc.errors.ExplainError as error:
        print(type(error).__name__, repr(str(error)), flush=True)
"""


def said_apart(paths):
    """What opening and explaining each file says, in a process of their own."""
    command = [sys.executable, "-c", OPEN, *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, (ran.returncode, lines[-1:], ran.stderr[-400:])
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_scripts_do_not_reach_beyond_their_tensors(main_code, tmp_path):
    paths = {}
    for number, (idea, (call, *tensors)) in enumerate(MEMORY.items()):
        source = script(WithTensors(*tensors), tmp_path / "good.pt")
        text = f"_9 = torch.sum({call})\n    return torch.add({RESULT}, _9)"
        path = in_code(source, main_code, tmp_path / f"{number}.pt", f"return {RESULT}", text)
        paths[str(path)] = idea
    said = said_apart(paths)
    assert len(said) == len(MEMORY)
    assert not {paths[path]: words for path, words in said.items() if not words.startswith("CaptureError")}


def test_scripts_whose_tensors_fit_are_explained(main_code, tmp_path):
    tensors = torch.randn(1, 3, 4), torch.randn(1, 1, 4), torch.randn(16, 4), torch.randn(16)
    source = script(WithTensors(*tensors), tmp_path / "good.pt")
    text = f"_9 = torch.sum({LSTM})\n    return torch.add({RESULT}, _9)"
    path = in_code(source, main_code, tmp_path / "m.pt", f"return {RESULT}", text)
    assert xc.explain(load_model(path), torch.randn(2, 5, 2), target=0).relative_residual.max() <= 1e-5


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.norm = nn.LSTM(2, 3, batch_first=True), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.lstm(x)[0][:, -1])


def shrunk(name):
    """Make one weight of a program smaller than it was."""

    def change(tree):
        meta = tree["config"][name]["tensor_meta"]
        meta["sizes"] = [{"as_int": 1} for _ in meta["sizes"]]

    return change


def test_programs_do_not_reach_beyond_their_tensors(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(Normed().eval(), (torch.randn(2, 5, 2),))
        torch.export.save(exported, tmp_path / "good.pt2")
        torch.export.save(exported.run_decompositions(), tmp_path / "taken apart.pt2")
    weights = [("good", name) for name in ("lstm.weight_hh_l0", "lstm.bias_ih_l0", "norm.weight", "norm.running_mean")]
    weights += [("taken apart", name) for name in ("lstm.weight_hh_l0", "norm.weight", "norm.running_mean")]
    paths = [
        with_json(tmp_path / f"{source}.pt2", tmp_path / f"{source}, {name}.pt2", WEIGHTS, shrunk(name))
        for source, name in weights
    ]
    said = said_apart(paths)
    assert len(said) == len(paths)
    assert not {path: words for path, words in said.items() if not words.startswith(("CaptureError", "ModelFileError"))}


LAYERS = [(16, 3), (16, 4), (16,), (16,), (16, 3), (16, 4), (16,), (16,)]  # both directions of an LSTM of 4 units
AND_PROJECTED = [(16, 3), (16, 2), (16,), (16,), (2, 4)]


@pytest.mark.parametrize(("shapes", "read", "ways"), [(LAYERS, 4, 2), (AND_PROJECTED, 2, 1)])
def test_the_guard_of_an_lstm_looks_at_every_weight(shapes, read, ways):
    x, h, c = torch.zeros(5, 7, 3), torch.zeros(ways, 5, read), torch.zeros(ways, 5, 4)
    weights = [torch.zeros(shape) for shape in shapes]

    def fits(x=x, hx=(h, c), weights=weights, layers=1):
        return guards.lstm_fits(x, list(hx), weights, True, layers, ways == 2, True)

    assert fits()
    for place, weight in enumerate(weights):
        for wrong in (weight[:1], weight[..., :1], weight[None], weight.double(), weight.to("meta")):
            if wrong.shape != weight.shape or wrong.dtype != weight.dtype or wrong.is_meta:
                assert not fits(weights=[*weights[:place], wrong, *weights[place + 1 :]]), (place, wrong.shape)
    assert not fits(weights=weights[:-1])
    assert not fits(x=x[0])
    assert not fits(x=x[:3])
    assert not fits(x=x.double())
    assert not fits(hx=(h,))
    assert not fits(hx=(h, c[..., :1]))
    assert not fits(hx=(h[:, :1], c))
    assert not fits(hx=(h, c[:, :1]))
    assert not fits(layers=0)
    assert not fits(layers=2)


def test_sparse_tensors_with_unchecked_indices_are_refused(tmp_path):
    path = script(Unsafe(), tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="_sparse_coo_tensor_unsafe"):
        load_model(path)


class Unsafe(Model):
    def __init__(self):
        super().__init__()
        self.register_buffer("i", torch.tensor([[1 << 40]]))
        self.register_buffer("v", torch.ones(1))

    def forward(self, x: torch.Tensor):
        sparse = torch.ops.aten._sparse_coo_tensor_unsafe(self.i, self.v, [4], is_coalesced=True)
        return self.fc(self.lstm(x)[0][:, -1]) + torch.zeros(4).add(sparse)[0]


# --- The list ---------------------------------------------------------------------------------------------------------


def aten_names():
    return {schema.name[6:] for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")}


def test_every_operation_of_the_rule_table_is_on_the_list_or_has_a_reason():
    from explain_core.backends.torch.rules import RULES

    keys = {key for key in RULES if key.partition(".")[0] in aten_names()}
    known = {*guards.GUARDS, *guards.UNREACHED, *operators.REFUSED}
    assert not {key for key in keys if key.partition(".")[0] not in operators.NAMES and key not in known}


def test_the_list_has_names_of_operations_and_none_that_is_refused():
    assert not operators.NAMES - aten_names()
    assert not operators.NAMES & {*operators.REFUSED, *operators.SAFE_TWINS}
    assert not operators.NAMES & {key.partition(".")[0] for key in (*guards.GUARDS, *guards.UNREACHED)}
    schemas = {schema.name for schema in torch._C._jit_get_all_schemas()}
    assert {f"prim::{name}" for name in operators.PRIM} <= schemas


SUSPECT = """
    unsafe save from_file print warn data_ptr resize set_ sparse quantize mkldnn cudnn miopen thnn xnnpack nested fbgemm
    backward storage rename seed fork wait grad_ _cuda
"""
SUSPECT_AND_LOOKED_INTO = {
    *("unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes"),  # look at sizes as chunk and split do
    *("slice_backward", "storage_offset", "sym_storage_offset", "requires_grad_"),
    *("_set_item", "is_grad_enabled", "set_grad_enabled"),  # of lists; what torch.no_grad() becomes
}
PRIVATE = {
    *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_assert_async", "_assert_scalar", "_assert_tensor_metadata"),
    *("_batch_norm_impl_index", "_cast_Byte"),
    *("_cast_Double", "_cast_Float", "_cast_Half", "_cast_Int", "_cast_Long", "_convolution", "_convolution_mode"),
    *("_functional_assert_async", "_log_softmax", "_pack_padded_sequence", "_prelu_kernel", "_safe_softmax"),
    *("_set_item", "_shape_as_tensor", "_softmax", "_to_copy", "_unwrap_optional", "_upsample_nearest_exact1d"),
    *("_upsample_nearest_exact2d", "_upsample_nearest_exact3d"),
}


def test_no_name_that_sounds_dangerous_comes_in_unseen():
    suspect = {name for name in operators.NAMES if any(word in name for word in SUSPECT.split())}
    assert suspect == SUSPECT_AND_LOOKED_INTO
    assert {name for name in operators.NAMES if name[0] == "_" != name[1]} == PRIVATE


@pytest.mark.parametrize("key", guards.GUARDS)
def test_a_guard_asks_for_arguments_that_its_operation_has(key):
    schema = guards.schema_of(key)
    assert guards.guarded(key).__name__.startswith("checked_")
    for argument in schema.arguments:
        assert argument.type.annotation_str


# --- What people have -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    return write(tmp_path_factory.mktemp("people"))


@pytest.mark.filterwarnings("ignore:Converting:torch.jit.TracerWarning")
def test_scripts_of_every_kind_open_and_answer_as_the_original(scripts):
    assert len(scripts) > 60
    for name, (path, model, inputs) in scripts.items():
        with torch.no_grad():
            answer, expected = load_model(path).module(*inputs), model(*inputs)
        torch.testing.assert_close(answer, expected, msg=lambda text, name=name: f"{name}: {text}")


class Masked(nn.Module):
    """On its way through nested tensors, which cannot be followed."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder, self.fc = nn.TransformerEncoder(layer, 1), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor):
        padding = (torch.arange(x.size(1)) > 3)[None].expand(x.size(0), -1)
        return self.fc(self.encoder(x, src_key_padding_mask=padding).mean(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_code_that_no_run_may_reach_says_why(tmp_path):
    loaded = load_model(script(Masked(), tmp_path / "m.pt"))
    with pytest.raises(ExplainError, match="enable_nested_tensor=False"):
        xc.explain(loaded, torch.randn(2, 6, 4), target=0)
