"""Opening model files: what opens answers as the original did; what is refused runs nothing."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from explain_core.errors import ModelFileError
from explain_core.models import load_model

AUTO = torch.export.Dim.AUTO


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.encoder = kind(4, 8, batch_first=True, **options)
        width = (options.get("proj_size") or 8) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.encoder(x)[0][:, -1])


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 4)
        self.one = nn.GRU(4, 6, batch_first=True)
        self.two = nn.RNN(6, 5, batch_first=True)
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 2, bias=False)

    def forward(self, ids):
        return self.fc2(torch.relu(self.fc1(self.two(self.one(self.words(ids))[0])[0].mean(1))))


class Decorated(nn.Module):
    """What ordinary exports also hold: buffers, constants, several inputs and outputs, strings, a scope."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True)
        self.heads = nn.ModuleDict({"first-head": nn.Linear(12, 3)})
        self.register_buffer("mean", torch.ones(4))
        self.scale = torch.arange(4.0)

    def forward(self, x, lengths):
        with torch.no_grad():
            mask = torch.arange(x.shape[1])[None] < lengths[:, None]
        states = self.lstm((x - self.mean) * self.scale * torch.tensor([1.0, 2.0, 3.0, 4.0]))[0]
        pooled = torch.where(mask[..., None], states, torch.zeros(())).sum(1) / lengths[:, None]
        return {
            "logits": self.heads["first-head"](pooled),
            "gram": torch.einsum("bti,btj->bij", states, states),
        }


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def export(model, args, path):
    with warnings.catch_warnings():  # the exporter's own, on nn.LSTM's flattened weights
        warnings.simplefilter("ignore")
        program = torch.export.export(model.eval(), args, dynamic_shapes=tuple({0: AUTO} for _ in args))
    torch.export.save(program, path)
    return path


def save_script(made, path):
    with warnings.catch_warnings():  # TorchScript is deprecated; the files will be around for long
        warnings.simplefilter("ignore")
        torch.jit.save(made(), path)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A valid .pt2 with a dynamic batch, a guard and a constant."""
    args = (torch.randn(2, 7, 4), torch.tensor([7, 3]))
    return export(Decorated(), args, tmp_path_factory.mktemp("pt2") / "good.pt2")


def tamper(path, into, **changes):
    """Copy an archive with entries changed (`name__ends=function or bytes`) or added."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(entries)).partition("/")[0]
    for end, change in changes.items():
        found = [name for name in entries if name.endswith(end)]
        name = found[0] if found else f"{root}/{end}"
        entries[name] = change(entries[name]) if callable(change) else change
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return into


class TestExported:
    def test_answers_as_the_original_for_other_batch_sizes(self, tmp_path):
        model = Decorated().eval()
        path = export(model, (torch.randn(2, 7, 4), torch.tensor([7, 3])), tmp_path / "model.bin")
        loaded = load_model(path)
        args = (torch.randn(5, 7, 4), torch.tensor([7, 3, 1, 2, 5]))
        torch.testing.assert_close(loaded.module(*args), model(*args))

    def test_summary(self, exported):
        summary = load_model(exported).summary
        assert [(spec.name, spec.shape, spec.dtype) for spec in summary.inputs] == [
            ("x", (None, 7, 4), "float32"),
            ("lengths", (None,), "int64"),
        ]
        assert [(layer.name, layer.kind, layer.detail) for layer in summary.layers] == [
            ("lstm", "LSTM", "4 inputs, 6 units, 2 layers, both directions"),
            ("heads.first-head", "Linear", "12 inputs, 3 outputs"),
        ]
        assert summary.parameters == sum(p.numel() for p in Decorated().parameters())
        assert [layer.name for layer in summary.recurrent_layers] == ["lstm"]
        assert summary.notes == ("The file was exported for sequences of exactly 7 timesteps.",)
        assert pickle.loads(pickle.dumps(summary)) == summary

    def test_another_length_is_an_error_and_not_a_wrong_answer(self, exported):
        with pytest.raises((RuntimeError, AssertionError), match="7"):
            load_model(exported).module(torch.randn(2, 9, 4), torch.tensor([9, 3]))

    def test_exported_on_a_gpu_opens_on_the_cpu(self, exported, tmp_path):
        def moved(text):
            return text.replace(b'{"type": "cpu", "index": null}', b'{"type": "cuda", "index": 0}')

        path = tamper(exported, tmp_path / "gpu.pt2", **{"models/model.json": moved, "weights_config.json": moved})
        assert b'"cuda"' in path.read_bytes()
        args = (torch.randn(2, 7, 4), torch.tensor([7, 3]))
        torch.testing.assert_close(load_model(path).module(*args), load_model(exported).module(*args))

    @pytest.mark.parametrize(
        ("model", "args"),
        [
            (nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten()), (3, 5, 4)),
            (
                nn.Sequential(nn.Conv1d(4, 8, 3, padding_mode="circular", padding=1), nn.GELU("tanh")),
                (3, 4, 5),
            ),
            (nn.Sequential(nn.BatchNorm1d(4), nn.MaxPool1d(2), nn.LayerNorm(3), nn.Softmax(-1)), (3, 4, 6)),
        ],
        ids=["transformer", "convolution", "normalisation"],
    )
    def test_ordinary_models_pass_the_checks(self, model, args, tmp_path):
        x = torch.randn(*args)
        loaded = load_model(export(model, (x,), tmp_path / "model.pt2"))
        torch.testing.assert_close(loaded.module(x), model(x))

    @pytest.mark.parametrize(
        "layer", [nn.Dropout(0.5), nn.BatchNorm1d(7), nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True)]
    )
    def test_a_model_exported_in_training_mode_is_refused(self, layer, tmp_path):
        with warnings.catch_warnings():  # the exporter's own
            warnings.simplefilter("ignore")
            program = torch.export.export(layer.train(), (torch.randn(2, 7, 4),))
        torch.export.save(program, tmp_path / "m.pt2")
        with pytest.raises(ModelFileError, match="exported in training mode"):
            load_model(tmp_path / "m.pt2")

    def test_the_module_is_in_evaluation_mode(self, exported):
        assert not any(part.training for part in load_model(exported).module.modules())

    def test_architecture_is_refused(self, exported):
        with pytest.raises(ModelFileError, match="whole architecture"):
            load_model(exported, architecture={"read": "mean over time"})


class Canary:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pickled_canary(path):
    buffer = io.BytesIO()
    torch.save(Canary(path), buffer)
    return buffer.getvalue()


def in_json(change):
    """Make a change of parsed JSON into a change of an entry."""

    def apply(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content).encode()

    return apply


def pickled_tensor(listing):
    next(iter(listing["config"].values()))["use_pickle"] = True


def attacks(canary):
    """Name -> changed entries, and the words of the error."""
    call = f"__import__('os').mkdir({str(canary)!r})"

    def rename(kind, path_name):
        def change(listing):
            payload = next(iter(listing["config"].values()))
            payload.update(use_pickle=True, tensor_meta=None, path_name=path_name)

        return {
            "constants/model_constants_config.json": in_json(change),
            f"data/constants/{path_name}": kind,
        }

    def in_nodes(change):
        return {"models/model.json": in_json(lambda program: change(program["graph_module"]["graph"]))}

    def expression(graph):
        value = next(iter(graph["sym_int_values"].values()))
        value["as_expr"]["expr_str"] = call

    def operator(graph):
        argument = {"name": "", "arg": {"as_string": str(canary)}, "kind": 1}
        graph["nodes"][0].update(target="torch.os.mkdir", inputs=[argument])

    def name(graph):
        old = graph["nodes"][-1]["outputs"][0]["as_tensor"]["name"]
        text = json.dumps(graph).replace(f'"{old}"', json.dumps(f"({call})"))
        graph.update(json.loads(text))

    def tree(program):
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        context = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
        spec = {"type": "collections.defaultdict", "context": context, "children_spec": []}
        signature["out_spec"] = json.dumps([1, spec])

    return {
        "pickled weight": (
            {"weights_config.json": in_json(pickled_tensor), "weights/weight_0": pickled_canary(canary)},
            "pickled entry 'weight_0'",
        ),
        "pickled constant": (
            {"constants_config.json": in_json(pickled_tensor), "constants/tensor_0": pickled_canary(canary)},
            "pickled entry 'tensor_0'",
        ),
        "opaque object": (
            rename(pickle.dumps(Canary(canary)), "opaque_obj_0"),
            "'data/constants/opaque_obj_0'",
        ),
        "custom object": (rename(b"", "custom_obj_0"), "'data/constants/custom_obj_0'"),
        "native library": ({"data/aotinductor/model/model.so": b"\x7fELF"}, "aotinductor/model/model.so"),
        "symbolic size": (in_nodes(expression), "expr_str"),
        "guard": ({"models/model.json": in_json(lambda p: p.update(guards_code=[call]))}, "guards_code"),
        "operator": (in_nodes(operator), "torch.os.mkdir"),
        "node name": (in_nodes(name), "name"),
        "tree of outputs": ({"models/model.json": in_json(tree)}, "out_spec"),
    }


@pytest.mark.parametrize("attack", attacks(Path("nowhere")))
def test_a_prepared_export_is_refused_by_name_and_runs_nothing(attack, exported, tmp_path):
    canary = tmp_path / "canary"
    changes, said = attacks(canary)[attack]
    path = tamper(exported, tmp_path / "evil.pt2", **changes)
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    assert "could run code" in caught.value.what
    assert said in caught.value.what
    assert not canary.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("attack", ["pickled weight", "pickled constant", "opaque object", "symbolic size", "guard"])
def test_the_attacks_are_real(attack, exported, tmp_path):
    """PyTorch's own loader runs them: where this fails, PyTorch has closed the hole."""
    canary = tmp_path / "canary"
    path = tamper(exported, tmp_path / "evil.pt2", **attacks(canary)[attack][0])
    call = "(torch.zeros(2, 7, 4), torch.tensor([7, 3]))"
    code = f"import sys, torch; sys.path[:0] = {sys.path!r}; torch.export.load({str(path)!r}).module(){call}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, timeout=120)
    assert canary.exists()


def test_example_inputs_are_never_unpickled(exported, tmp_path):
    canary = tmp_path / "canary"
    path = tamper(exported, tmp_path / "e.pt2", **{"sample_inputs/model.pt": pickled_canary(canary)})
    assert load_model(path).summary.parameters
    assert not canary.exists()


def test_entries_given_twice_are_refused(exported, tmp_path):
    path = tmp_path / "twice.pt2"
    path.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/Models/model.json", "{}")
    with pytest.raises(ModelFileError, match="several entries of one name"):
        load_model(path)


class TestTorchScript:
    @pytest.mark.parametrize("how", ["script", "trace"])
    def test_answers_as_the_original(self, how, tmp_path):
        model, x = Recurrent(nn.GRU, num_layers=2).eval(), torch.randn(3, 7, 4)
        made = (lambda: torch.jit.script(model)) if how == "script" else (lambda: torch.jit.trace(model, x))
        loaded = load_model(save_script(made, tmp_path / "model.pt"))
        torch.testing.assert_close(loaded.module(x), model(x))
        assert loaded.summary.recurrent_layers[0].detail == "4 inputs, 8 units, 2 layers"
        assert loaded.summary.inputs[0].features == 4

    def test_writing_a_file_is_refused(self, tmp_path):
        class Writes(nn.Module):
            def forward(self, x):
                torch.save(x, "canary")
                return x

        save_script(lambda: torch.jit.script(Writes()), tmp_path / "model.pt")
        with pytest.raises(ModelFileError, match="the operation 'aten::save' is not on the list"):
            load_model(tmp_path / "model.pt")

    def test_code_that_runs_on_opening_is_refused(self, tmp_path):
        class Wakes(nn.Module):
            def forward(self, x):
                return x

            @torch.jit.export
            def __getstate__(self):
                return torch.zeros(1), self.training

            @torch.jit.export
            def __setstate__(self, state: tuple[torch.Tensor, bool]):
                self.training = state[1]

        save_script(lambda: torch.jit.script(Wakes()), tmp_path / "model.pt")
        with pytest.raises(ModelFileError, match="__setstate__"):
            load_model(tmp_path / "model.pt")


class TestStateDict:
    @pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            (nn.LSTM, {}),
            (nn.LSTM, {"num_layers": 3, "bidirectional": True}),
            (nn.LSTM, {"proj_size": 5, "num_layers": 2}),
            (nn.GRU, {"bias": False, "bidirectional": True}),
            (nn.RNN, {"num_layers": 2}),
        ],
    )
    def test_stacks_are_inferred(self, kind, options, tmp_path):
        model, x = Recurrent(kind, **options).eval(), torch.randn(3, 7, 4)
        torch.save(model.state_dict(), tmp_path / "w.pth")
        loaded = load_model(tmp_path / "w.pth")
        torch.testing.assert_close(loaded.module(x), model(x))
        assert loaded.summary.recurrent_layers[0].name == "encoder"
        assert any("The head reads: last step." in note for note in loaded.notes)

    def test_embedding_several_layers_and_what_is_assumed(self, tmp_path):
        model, ids = Tokens().eval(), torch.randint(0, 20, (3, 7))
        torch.save(model.state_dict(), tmp_path / "w.pth")
        loaded = load_model(tmp_path / "w.pth", architecture={"read": "mean over time"})
        assert any("between the Linear layers: relu" in note for note in loaded.notes)
        options = {"read", "nonlinearity", "read_activation", "head_activation", "output_activation"}
        assert set(loaded.summary.options) == options
        torch.testing.assert_close(loaded.module(ids), model(ids))
        assert loaded.summary.inputs[0].takes_token_ids

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ({"read": "every step"}, lambda m, x: m.head(m.encoder(x)[0])),
            ({"read": "max over time"}, lambda m, x: m.head(m.encoder(x)[0].amax(1))),
            ({"read": "final state"}, lambda m, x: m.head(torch.cat(tuple(m.encoder(x)[1][0][-2:]), -1))),
            ({"output_activation": "softmax"}, lambda m, x: m(x).softmax(-1)),
        ],
        ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
    )
    def test_choices(self, choice, expected, tmp_path):
        model, x = Recurrent(bidirectional=True).eval(), torch.randn(3, 7, 4)
        torch.save(model.state_dict(), tmp_path / "w.pth")
        loaded = load_model(tmp_path / "w.pth", architecture=choice)
        torch.testing.assert_close(loaded.module(x), expected(model, x))

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
    def test_checkpoints_and_wrappers(self, zipped, tmp_path):
        model, x = Recurrent().eval(), torch.randn(3, 7, 4)
        weights = {f"module.{name}": value for name, value in model.state_dict().items()}
        checkpoint = {"epoch": 3, "model_state_dict": weights}
        torch.save(checkpoint, tmp_path / "c.ckpt", _use_new_zipfile_serialization=zipped)
        torch.testing.assert_close(load_model(tmp_path / "c.ckpt").module(x), model(x))

    def test_float64_stays_float64(self, tmp_path):
        torch.save(Recurrent().double().state_dict(), tmp_path / "w.pth")
        loaded = load_model(tmp_path / "w.pth")
        assert loaded.summary.inputs[0].dtype == "float64"
        assert loaded.module(torch.randn(1, 2, 4, dtype=torch.float64)).dtype == torch.float64

    @pytest.mark.parametrize(
        ("weights", "said"),
        [
            (
                {"norm.weight": torch.ones(3), **Recurrent().state_dict()},
                "'norm.weight' (3) belongs to no layer",
            ),
            (nn.Sequential(nn.BatchNorm1d(3)).state_dict(), "no recurrent and no Linear layer"),
            ({**nn.Sequential(nn.LSTM(4, 8), nn.Linear(9, 2)).state_dict()}, "takes 9 values, but 8"),
            (
                {"forward.weight_ih_l0": torch.ones(4, 1), "forward.weight_hh_l0": torch.ones(4, 1)},
                "'forward'",
            ),
            ({"epoch": 3}, "not a state dict: it holds 'epoch'"),
            ([torch.ones(3)], "not a state dict: it holds a list"),
        ],
    )
    def test_what_cannot_be_inferred_is_said(self, weights, said, tmp_path):
        torch.save(weights, tmp_path / "w.pth")
        with pytest.raises(ModelFileError) as caught:
            load_model(tmp_path / "w.pth")
        assert said in str(caught.value)
        assert "torch.export.save(" in caught.value.hint

    def test_a_pickled_module_is_refused_and_runs_nothing(self, tmp_path):
        torch.save(Canary(tmp_path / "canary"), tmp_path / "m.pt")
        with pytest.raises(ModelFileError, match=r"pickled Python object.*'posix\.mkdir'"):
            load_model(tmp_path / "m.pt")
        assert not (tmp_path / "canary").exists()

    def test_wrong_options(self, tmp_path):
        torch.save(Recurrent().state_dict(), tmp_path / "w.pth")
        with pytest.raises(ModelFileError, match="no option 'reed'"):
            load_model(tmp_path / "w.pth", architecture={"reed": "mean"})
        with pytest.raises(ModelFileError, match="not one of its choices"):
            load_model(tmp_path / "w.pth", architecture={"read": "median"})


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (LFS, "git-LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (pickle.dumps({"a": 1}), "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged"),
        ((16).to_bytes(8, "little") + b'{"a":{"dtype":1}}', "safetensors"),
        (gzip.compress(b"x", mtime=0), "compressed with gzip"),
        (b"PK\x03\x04" + bytes(60), "damaged or cut-off archive"),
    ],
)
def test_other_files_get_their_real_cause(content, said, tmp_path):
    (tmp_path / "model.pt2").write_bytes(content)
    with pytest.raises(ModelFileError, match=said) as caught:
        load_model(tmp_path / "model.pt2")
    assert caught.value.where == "model.pt2"
    assert caught.value.hint


def test_other_archives_get_their_real_cause(tmp_path):
    for names, said in (
        (["config.json", "metadata.json"], "lacks 'model.weights.h5'"),
        (["readme.txt"], "no model that PairLift"),
    ):
        with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "{}")
        with pytest.raises(ModelFileError, match=said):
            load_model(tmp_path / "model.zip")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_cut_off_files_are_typed_errors(fraction, exported, tmp_path):
    torch.save(Recurrent().state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    for source in (exported, tmp_path / "w.pth"):
        data = source.read_bytes()
        (tmp_path / "cut").write_bytes(data[: int(len(data) * fraction)])
        with pytest.raises(ModelFileError):
            load_model(tmp_path / "cut")


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load_model(tmp_path / "model.pt2")


def test_importing_imports_no_framework():
    code = "import explain_core.models, sys; assert not {'torch', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
