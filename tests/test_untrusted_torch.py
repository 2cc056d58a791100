"""TorchScript that was prepared to do something: it does nothing, in the library itself and with no sandbox."""

import sys
import warnings

import pytest
import torch
from corpus.torchscript_models import write
from torch import nn
from untrusted_files import RESULT, Model, edited, in_code, script

import explain_core as xc
from explain_core.errors import ExplainError, ModelFileError
from explain_core.models import load_model
from explain_core.models.archive import read_entries
from explain_core.models.torch_programs import torchscript
from explain_core.models.torch_programs.script_graphs import check_functions

pytestmark = [  # TorchScript files will be around for long; the exporter's own, on nn.LSTM's flattened weights
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return script(Model(), tmp_path_factory.mktemp("scripts") / "good.pt")


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
def test_defaults_of_arguments_run_nothing(idea, good, tmp_path):
    canary = tmp_path / "canary"
    path = in_code(good, tmp_path / "m.pt", DEFAULT, NO_DEFAULTS[idea].format(canary, canary))
    with pytest.raises(ModelFileError):
        load_model(path)
    assert not canary.exists()


def test_the_canary_of_the_defaults_is_real(good, tmp_path):
    canary = tmp_path / "canary"
    text = NO_DEFAULTS["octal"].format(canary)
    torch.jit.load(str(in_code(good, tmp_path / "m.pt", DEFAULT, text)))
    assert canary.exists()


def test_an_existing_file_keeps_its_bytes(good, tmp_path):
    target = tmp_path / "target.py"
    target.write_text("x = 1  # a file of the app's user\n" * 4)
    new = list(b"print('CANARY')#")
    text = (
        f"y: Tensor=torch.copy_(getattr(torch, 'from\\137file')('{target}', True, {len(new)}, dtype=0), "
        f"torch.tensor({new})))"
    )
    with pytest.raises(ModelFileError):
        load_model(in_code(good, tmp_path / "m.pt", DEFAULT, text))
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
def test_classes_run_nothing(idea, good, tmp_path):
    canary = tmp_path / "canary"
    text = CLASS + IN_CLASSES[idea].format(canary)
    with pytest.raises(ModelFileError):
        load_model(in_code(good, tmp_path / "m.pt", CLASS, text))
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
def test_other_entries_run_nothing(idea, good, tmp_path):
    canary = tmp_path / "canary"
    text = OTHER_ENTRIES[idea].replace("{}", str(canary))
    path = in_code(good, tmp_path / "m.pt", DEFAULT, DEFAULT, {"code/__torch__/other.py": text})
    with pytest.raises(ModelFileError):
        load_model(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    "entry",
    ["bytecode.pkl", "code/__torch__/pairlift_guards.py", "code/other.py", "data/../x", "mobile_debug_handles.pkl"],
)
def test_entries_that_models_do_not_have_are_refused_by_name(entry, good, tmp_path):
    with pytest.raises(ModelFileError) as caught:
        load_model(in_code(good, tmp_path / "m.pt", DEFAULT, DEFAULT, {entry: "x = 1"}))
    assert entry in caught.value.what


# --- Code that would run when the model is explained ----------------------------------------------------------------

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
    "counting nothing": ("torch.count('abc', '', 0, 3)", "aten::count"),
    "replacing nothing": ("torch.replace('abc', '', 'x', -1)", "aten::replace"),
}


@pytest.mark.parametrize("idea", BODIES)
def test_what_forward_may_not_call_is_refused_before_it_runs(idea, good, tmp_path):
    canary = tmp_path / "canary"
    call, named = BODIES[idea]
    path = in_code(good, tmp_path / "m.pt", f"return {RESULT}", f"_9 = {call}\n    return {RESULT}")
    edited_path = edited(path, tmp_path / "n.pt", lambda name, data: data.replace(b"{}", str(canary).encode()))
    with pytest.raises(ModelFileError) as caught:
        load_model(edited_path)
    assert named in caught.value.what
    assert not canary.exists()


def test_whole_numbers_and_tensors_may_be_sorted(good, tmp_path):
    source = SORTS.format("a = [2, 1]", "torch.add((torch.sort(x, 0, False))[0], a[0])")
    text = f"return torch.add({RESULT}, torch.sum(__torch__.other.pick(x)))"
    path = in_code(good, tmp_path / "m.pt", f"return {RESULT}", text, {"code/__torch__/other.py": source})
    assert load_model(path).summary.format == "TorchScript"


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
SORTS = "def pick(x: Tensor) -> Tensor:\n  {}\n  torch.sort(a, True)\n  return {}\n"
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
    "sorting floats": (SORTS.format("a = [nan, 1.]", "torch.tensor(a)"), "__torch__.other.pick(x)"),
    "sorting tensors": (SORTS.format("a = [x, x]", "torch.stack(a)"), "__torch__.other.pick(x)"),
    "sorting floats anew": ("", "torch.tensor(torch.sorted([nan, 1.]))"),
    "a memory format that there is not": ("", "torch.contiguous(x, memory_format=99)"),
    "a tensor without values": ("", "torch.zeros([4], device=torch.device('meta'))"),
    "a tensor without values, by a text": ("", "torch.zeros([4], device='meta')"),
    "a class that is there twice": ("class A:\n  a : int\nclass A:\n  a : Tensor\n", "torch.relu(x)"),
    "a class and a function": ("class A:\n  a : int\ndef A(x: Tensor) -> Tensor:\n  return x\n", "torch.relu(x)"),
    "an attribute that is there twice": ("class A:\n  a : int\n  a : Tensor\n", "torch.relu(x)"),
    "an attribute in two forms": ("class A:\n  a : int\n  __annotations__['a'] = Tensor\n", "torch.relu(x)"),
}  # fmt: skip


@pytest.mark.parametrize("idea", ALSO_REFUSED)
def test_values_are_what_they_are_taken_for(idea, good, tmp_path):
    source, call = ALSO_REFUSED[idea]
    more = {"code/__torch__/other.py": source} if source else {}
    text = f"_8 = getattr(x, 'resize\\137')\n    return torch.add({RESULT}, torch.sum({call}))"
    if "_8" not in call:
        text = text.partition("\n")[2].lstrip()
    path = in_code(good, tmp_path / "m.pt", f"return {RESULT}", text, more)
    with pytest.raises(ModelFileError, match="is refused"):
        load_model(path)


def test_a_guarded_operation_is_not_reached_around_its_guard(good, tmp_path):
    call = "torch.lstm(x, [x, x], [x], True, 1, 0., False, False, True)"
    path = in_code(good, tmp_path / "m.pt", f"return {RESULT}", f"_9 = {call}\n    return {RESULT}")
    _, functions = torchscript._load(read_entries(path), path.name)
    with pytest.raises(ModelFileError, match="aten::lstm"):
        check_functions(functions, {}, path.name)


def test_a_server_that_trusts_code_opens_what_is_refused_and_says_so(tmp_path, monkeypatch):
    path = script(Forks(), tmp_path / "m.pt")
    monkeypatch.setattr(sys, "argv", ["app.py", "--trust-code"])
    loaded = load_model(path)
    assert any("opened unchecked" in note for note in loaded.notes)
    assert loaded.module(torch.ones(1, 2)).shape == (1, 1)


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
