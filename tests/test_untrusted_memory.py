"""Programs from files do not reach beyond their tensors, and call only what is on a list.

They are opened in a process of their own, so that a crash is a failure and not the end of the tests.
"""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from untrusted_files import RESULT, WEIGHTS, Model, export, in_code, said_apart, script, with_json

import explain_core as xc
from explain_core.errors import ModelFileError
from explain_core.models import load_model
from explain_core.models.torch_programs import guards, operators

pytestmark = [  # TorchScript files will be around for long; the exporter's own, on nn.LSTM's flattened weights
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]


# --- Memory -----------------------------------------------------------------------------------------------------------


def by_trace(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, torch.randn(1, 5, 2)), str(path))
    return path


def by_export(model, path):
    return export(model, torch.randn(1, 5, 2), path=path)


def by_parts(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model, (torch.randn(1, 5, 2),)).run_decompositions(), path)
    return path


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
    "repeats that wrap around": ("torch.repeat_interleave(self.a)", torch.tensor([1 << 62] * 3 + [(1 << 62) + 4])),
    "repeats of rows that wrap around": (
        "torch.repeat_interleave(self.a, self.b, 0)", torch.randn(4), torch.tensor([1 << 62] * 3 + [(1 << 62) + 4]),
    ),
    "repeats that say they are few": (
        "torch.repeat_interleave(self.a, output_size=4)", torch.tensor([1 << 62] * 3 + [(1 << 62) + 4]),
    ),
    "a pool wider than numbers go": (
        "torch.max_pool1d(self.a, [9223372036854775807], [9223372036854775807], [4611686018427387903], [1], True)",
        torch.randn(1, 2, 8),
    ),
    "a pool that never ends": ("torch.max_pool2d(self.a, [2147483648, 1], [1, 1], [1073741824, 0], [1, 1], False)",
                               torch.randn(1, 2, 8, 8)),
    "steps of a pool": ("torch.max_pool1d(self.a, [2], [1], [1], [4611686018427387904], False)", torch.randn(1, 1, 8)),
    "an image around nothing": (
        "torch.col2im(self.a, [4, 4], [2, 2], [1, 1], [2147483648, 2147483648], [1, 1])", torch.randn(1, 8, 9),
    ),
    "numbers of repeats": ("torch.repeat_interleave(self.a, output_size=3)", torch.tensor([1 << 20, 1 << 20])),
}  # fmt: skip


def test_scripts_do_not_reach_beyond_their_tensors(tmp_path):
    paths = {}
    for number, (idea, (call, *tensors)) in enumerate(MEMORY.items()):
        source = script(WithTensors(*tensors), tmp_path / "good.pt")
        text = f"_9 = torch.sum({call})\n    return torch.add({RESULT}, _9)"
        path = in_code(source, tmp_path / f"{number}.pt", f"return {RESULT}", text)
        paths[str(path)] = idea
    said = said_apart(paths)
    assert len(said) == len(MEMORY)
    assert not {paths[path]: words for path, words in said.items() if not words.startswith("CaptureError")}


def test_scripts_whose_tensors_fit_are_explained(tmp_path):
    tensors = torch.randn(1, 3, 4), torch.randn(1, 1, 4), torch.randn(16, 4), torch.randn(16)
    source = script(WithTensors(*tensors), tmp_path / "good.pt")
    text = f"_9 = torch.sum({LSTM})\n    return torch.add({RESULT}, _9)"
    path = in_code(source, tmp_path / "m.pt", f"return {RESULT}", text)
    assert xc.explain(load_model(path), torch.randn(2, 5, 2), target=0).relative_residual.max() <= 1e-5


class Arranged(nn.Module):
    """Calls what runs behind a check on sizes."""

    def __init__(self):
        super().__init__()
        self.lstm, self.twice = nn.LSTM(2, 4, batch_first=True), 2
        self.register_buffer("repeats", torch.tensor([1, 2, 0, 1]))

    def forward(self, x):
        y = self.lstm(x)[0]
        rows = y.repeat_interleave(self.twice, 1).sum(1)
        units = torch.repeat_interleave(y, self.repeats, dim=2, output_size=4).mean(1)
        picked = y[:, :, torch.repeat_interleave(self.repeats, output_size=4)].mean(1)
        pooled = F.max_pool1d(y.transpose(1, 2), 2).sum(2) + F.max_pool2d(y[:, None], 2, return_indices=True)[0].sum()
        columns = F.unfold(y[:, None], (2, 2), padding=1)
        return rows + units + picked + pooled + F.fold(columns, (5, 4), (2, 2), padding=1).sum(2)[:, 0]


@pytest.mark.parametrize("how", [script, by_trace, by_export, by_parts])
def test_files_whose_sizes_fit_are_explained_as_the_model_is(how, tmp_path):
    torch.manual_seed(0)
    model, x = Arranged().eval(), torch.randn(1, 5, 2)
    path = how(model, tmp_path / ("m.pt2" if how in (by_export, by_parts) else "m.pt"))
    by_file, live = (xc.explain(one, x, target=0) for one in (load_model(path), model))
    assert by_file.relative_residual.max() <= 1e-5
    np.testing.assert_allclose(by_file.attributions, live.attributions, rtol=1e-5, atol=1e-7)


def test_numbers_of_repeats_are_made_safe_where_they_are_read():
    large = torch.tensor([1 << 62, 3])
    assert guards.within_memory(large).tolist() == [1 << 44, 3]
    assert not guards.repeats_fit(torch.ones((1 << 18) + 1))
    assert (1 << 44) * (1 << 18) < 1 << 63
    for kind in (torch.int32, torch.float64):
        assert guards.within_memory(torch.ones(2, dtype=kind)).dtype == kind
    with pytest.raises(RuntimeError, match="do not fit together"):
        guards.guarded("repeat_interleave.self_int")(torch.ones(2), -1)


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
        repeats = torch.export.export(Arranged().eval(), (torch.randn(1, 5, 2),))
        repeats.constants["repeats"] = torch.tensor([1 << 62] * 3 + [(1 << 62) + 4])
        repeats.state_dict["repeats"] = repeats.constants["repeats"]
        torch.export.save(repeats, tmp_path / "repeats.pt2")
    weights = [("good", name) for name in ("lstm.weight_hh_l0", "lstm.bias_ih_l0", "norm.weight", "norm.running_mean")]
    weights += [("taken apart", name) for name in ("lstm.weight_hh_l0", "norm.weight", "norm.running_mean")]
    paths = [
        with_json(tmp_path / f"{source}.pt2", tmp_path / f"{source}, {name}.pt2", WEIGHTS, shrunk(name))
        for source, name in weights
    ] + [tmp_path / "repeats.pt2"]
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
    known = {*guards.GUARDS, *guards.UNREACHED, *operators.REFUSED, *(key.partition(".")[0] for key in guards.GUARDS)}
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
