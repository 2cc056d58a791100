"""TorchScript that is longer than PyTorch bears, or takes it long, is refused before a run; long models are not."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from untrusted_files import RESULT, Model, in_code, script

from explain_core.errors import ModelFileError
from explain_core.models import load_model

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def in_a_row(count):
    return "\n    ".join(["_9 = y", *["_9 = torch.add(_9, 1)"] * count, f"return torch.mul({RESULT}, _9)"])


def doubling(levels):
    """Functions that each call the one before twice."""
    first = "def f0(x: Tensor) -> Tensor:\n  return torch.relu(x)\n"
    return first + "".join(
        f"def f{i}(x: Tensor) -> Tensor:\n"
        f"  return torch.add(__torch__.other.f{i - 1}(x), __torch__.other.f{i - 1}(x))\n"
        for i in range(1, levels + 1)
    )


def nested(levels):
    """Functions that each call the one before."""
    first = "def f0(x: Tensor) -> Tensor:\n  return torch.relu(x)\n"
    return first + "".join(
        f"def f{i}(x: Tensor) -> Tensor:\n  return __torch__.other.f{i - 1}(x)\n" for i in range(1, levels + 1)
    )


def calling(name):
    return f"return torch.add({RESULT}, torch.sum(__torch__.other.{name}(x)))"


TOO_LONG = {
    "operations in a row": (in_a_row(20_000), "", "in a row"),
    "functions that double": (calling("f30"), doubling(30), "longer than can be run"),
    "functions in functions": (calling("f150"), nested(150), "longer than can be run"),
    "a list of numbers": (f"_9 = [{', '.join(['1'] * 200_000)}]\n    return {RESULT}", "", "longer than can be opened"),
}


@pytest.mark.parametrize("idea", TOO_LONG)
def test_what_is_too_long_is_refused(idea, tmp_path):
    text, more, said = TOO_LONG[idea]
    entries = {"code/__torch__/other.py": more} if more else {}
    path = in_code(script(Model(), tmp_path / "good.pt"), tmp_path / "m.pt", f"return {RESULT}", text, entries)
    with pytest.raises(ModelFileError, match=said):
        load_model(path)


RUN = """
import sys, torch
from explain_core.backends.torch.capture import run
from explain_core.models import load_model
module = load_model(sys.argv[1]).module
print(run(module, [torch.zeros(1, 5, 2)], module, ["x"])[0].shape)
"""


def test_what_is_just_short_enough_is_run(tmp_path):
    good = script(Model(), tmp_path / "good.pt")
    path = in_code(good, tmp_path / "m.pt", f"return {RESULT}", in_a_row(14_900))
    ran = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "torch.Size([1, 1])"), ran.stderr[-400:]


class Stepped(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(2, 3), nn.Linear(3, 1)

    def forward(self, x):
        h = c = torch.zeros(x.size(0), 3)
        for step in range(x.size(1)):
            h, c = self.cell(x[:, step], (h, c))
        return self.head(h)


def test_a_thousand_steps_that_were_traced_open(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Stepped().eval(), torch.randn(1, 1000, 2), check_trace=False)
        torch.jit.save(traced, str(tmp_path / "m.pt"))
    assert load_model(tmp_path / "m.pt").summary.format == "TorchScript"
