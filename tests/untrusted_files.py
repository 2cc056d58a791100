"""Archives of PyTorch with something in them that is changed by hand, and a process of its own to open them in."""

import json
import subprocess
import sys
import warnings
import zipfile

import torch
from torch import nn

RESULT = "torch.mul(_1, y)"  # what the forward of `Model` returns, as TorchScript prints it
PROGRAM, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


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


def in_code(source, target, old, new, more=None):
    """An archive with a piece of its code replaced, which must be in one of its entries, and with more entries."""
    found = []

    def change(name, data):
        if not name.startswith("code/") or old.encode() not in data:
            return data
        found.append(name)
        return data.replace(old.encode(), new if isinstance(new, bytes) else new.encode())

    edited(source, target, change)
    assert found, old
    with zipfile.ZipFile(target, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        for name, text in (more or {}).items():
            archive.writestr(f"{root}/{name}", text)
    return target


def export(model, *args, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), args), path)
    return path


def with_json(source, target, entry, change):
    def of_entry(name, data):
        if name != entry:
            return data
        tree = json.loads(data)
        return json.dumps(change(tree) or tree)

    return edited(source, target, of_entry)


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
