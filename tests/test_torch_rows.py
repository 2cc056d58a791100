"""Every row of the rule table, over every argument that can be explained, at random shapes: complete by itself.

Rows that are games of their elements are also compared with Shapley values by their definition.
"""

from __future__ import annotations

import itertools
import math
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exactness import Net, draw
from rows import COMPLEX, SAMPLES, Draw, Explained
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

import explain_core as xc
from explain_core.backends.torch import rules
from explain_core.backends.torch.interpreter import PairOps, run_graph
from explain_core.backends.torch.pairs import Pair, is_pair
from explain_core.backends.torch.recorder import Recorder

COMPLETE = 1e-13  # of the values' and the attributions' size
SEEDS = range(3)
# Rows that give nothing of their own to explain, or have tests of their own (test_torch_rules, test_torch_recurrent).
ELSEWHERE = {
    *(name for name, rule in rules.RULES.items() if isinstance(rule, (rules.Same, rules.Recurrent, rules.Refused))),
    *("embedding", "one_hot", "argmax", "argmin", "argsort"),  # of token ids, and positions: test_torch_ids
    *("_transformer_encoder_layer_fwd", "_native_multi_head_attention"),  # test_torch_attention
    # two players at their corners: test_torch_corners; one secant: test_torch_secants; by a matrix: test_torch_solving
    *("copysign", "xlogy", "special_xlogy", "special_xlog1py", "special_entr", "cholesky_solve", "triangular_solve"),
    *("linalg_solve", "linalg_solve_ex", "_linalg_solve_ex", "linalg_solve_triangular", "linalg_lu_solve"),
    *("dropout_", "feature_dropout_", "alpha_dropout_", "feature_alpha_dropout_", "rrelu_"),  # nothing in evaluation
}


def test_every_row_is_drawn():
    assert set(rules.RULES) - ELSEWHERE <= set(SAMPLES) <= set(rules.RULES)


def on_pairs(function, chosen: list[Explained], reached: list | None = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The change of a weighted sum of the function's results, and the contribution of each explained element."""
    graph = make_fx(function, pre_dispatch=True)(*(e.test for e in chosen))
    leaves, pairs = [], []
    for e in chosen:
        floating = e.test.is_floating_point() or e.test.is_complex()
        leaf = (e.test if floating else e.test.double()).clone().requires_grad_()
        leaves.append(leaf)
        on_tape = leaf.view_as(leaf)
        pairs.append(Pair(on_tape, e.base.clone()) if floating else Pair(e.test, e.base, on_tape))
    with torch.enable_grad():
        result = run_graph(graph, pairs, PairOps(Recorder(gates=False, embeddings=False), {}, {}))
        results = [r for r in pytree.tree_leaves(result, is_leaf=is_pair) if isinstance(r, (Pair, torch.Tensor))]
        total, change, size = 0.0, 0.0, 0.0
        for r in results:
            if not isinstance(r, Pair) or not (r.is_float or r.flow is not None):
                continue
            weights = weighed(r.test)
            total = total + real(r.tape * weights).sum()
            difference = r.test.detach() * weights - r.base * weights if r.is_float else r.difference * weights
            change = change + real(difference).sum()
            size = size + (r.tape.detach() * weights).abs().sum() + (r.base * weights).abs().sum()
        if not isinstance(total, torch.Tensor) or not total.requires_grad:
            return change, size, [torch.zeros_like(leaf) for leaf in leaves]
        grads = torch.autograd.grad(total, leaves, allow_unused=True)
    contributions = []
    for e, m in zip(chosen, grads, strict=True):
        difference = e.test - e.base if e.test.dtype.is_floating_point or e.test.is_complex() else None
        difference = e.test.double() - e.base.double() if difference is None else difference
        m = torch.zeros_like(difference) if m is None else m
        contributions.append(real(m.conj() * difference))
    return change, size, contributions


def real(x: torch.Tensor) -> torch.Tensor:
    return x.real if x.is_complex() else x


def weighed(y: torch.Tensor) -> torch.Tensor:
    """Weights of which no two are the same."""
    weights = (1 + torch.arange(y.numel(), dtype=torch.float64)).sqrt().view(y.shape) / max(y.numel(), 1) ** 0.5
    return torch.complex(weights, weights.flip(0) if y.ndim else -weights) if y.is_complex() else weights


def subsets(count: int):
    """Each alone, each two, and all."""
    for size in sorted({1, min(2, count), count}):
        yield from itertools.combinations(range(count), size)


def sample(row: str, seed: int, most: int = 4):
    return SAMPLES[row](Draw(zlib.crc32(row.encode()) + seed, most))


def holding(function, explained: list[Explained], chosen: tuple[int, ...]):
    """The function of the chosen tensors alone; the others are at their test values."""

    def of(*tensors):
        given = dict(zip(chosen, tensors, strict=True))
        return function(*(given.get(i, e.test) for i, e in enumerate(explained)))

    return of


def assert_complete(function, explained: list[Explained], refused: tuple[int, ...] = ()) -> None:
    """Whatever is explained, the contributions add up to the change, and what must not differ is refused."""
    for chosen in subsets(len(explained)):
        held, given = holding(function, explained, chosen), [explained[i] for i in chosen]
        if set(chosen) & set(refused):
            with pytest.raises(xc.errors.UnsupportedOperation):
                on_pairs(held, given)
            continue
        change, size, contributions = on_pairs(held, given)
        assert all(torch.isfinite(c).all() for c in contributions), chosen
        total = sum(float(c.sum()) for c in contributions)
        bound = COMPLETE * (float(size) + sum(float(c.abs().sum()) for c in contributions))
        assert abs(total - float(change)) <= bound, (chosen, float(total - change), float(bound))


# By row: which arguments, and why, must not differ.
REFUSED: dict[str, tuple[int, ...]] = {}


@pytest.mark.parametrize("row", SAMPLES)
def test_row_is_complete_by_itself(row, monkeypatch):
    reached, apply = set(), PairOps._apply

    def spy(ops, rule, op, args, kwargs):
        name = op._schema.name.removeprefix("aten::")
        reached.update(key for key in (f"{name}.{op._schema.overload_name or 'default'}", name) if key in rules.RULES)
        return apply(ops, rule, op, args, kwargs)

    monkeypatch.setattr(PairOps, "_apply", spy)
    for seed in SEEDS:
        assert_complete(*sample(row, seed), refused=REFUSED.get(row, ()))
    assert row in reached or row == "view"  # which runs as reshape where nothing is written to it


def shapley(function, explained: list[Explained]) -> list[torch.Tensor]:
    """Exact Shapley values of the weighted sum, with every element that differs as a player."""
    sizes = [e.test.numel() for e in explained]
    where = torch.cat([(e.test != e.base).reshape(-1) for e in explained]).nonzero().reshape(-1)
    count = len(where)

    def value(members: int) -> float:
        chosen = where[[i for i in range(count) if members >> i & 1]]
        taken = torch.zeros(sum(sizes), dtype=torch.bool).index_fill(0, chosen, True).split(sizes)
        mixed = [torch.where(t.view(e.test.shape), e.test, e.base) for t, e in zip(taken, explained, strict=True)]
        results = [r for r in pytree.tree_leaves(function(*mixed)) if isinstance(r, torch.Tensor)]
        return sum(float(real(r * weighed(r)).sum()) for r in results if r.is_floating_point() or r.is_complex())

    values = [value(members) for members in range(2**count)]
    found = torch.zeros(sum(sizes), dtype=torch.float64)
    for members, before in enumerate(values):
        size = members.bit_count()
        weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count) if size < count else 0
        for i in range(count):
            if not members >> i & 1:
                found[where[i]] += weight * (values[members | 1 << i] - before)
    return [part.view(e.test.shape) for part, e in zip(found.split(sizes), explained, strict=True)]


def thinned(explained: list[Explained], players: int, seed: int) -> list[Explained]:
    """The same tensors, of which only so many elements differ."""
    sizes = [e.test.numel() for e in explained]
    chosen = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))[:players]
    moves = torch.zeros(sum(sizes), dtype=torch.bool).index_fill(0, chosen, True).split(sizes)
    return [
        Explained(e.test, torch.where(m.view(e.test.shape), e.base, e.test))
        for m, e in zip(moves, explained, strict=True)
    ]


GAMES_ALL_THE_SAME = ("cummax", "cummin", "scatter_reduce", "index_reduce", "scatter.reduce", "scatter.value_reduce")


def is_game_of_elements(row: str) -> bool:
    """Composed rows are games of their parts, and a comparison leaves alone what does not move."""
    rule = rules.RULES[row]
    composed = isinstance(rule, rules.Composed) and type(rule) is not rules.Product and row not in GAMES_ALL_THE_SAME
    return not composed and not isinstance(rule, rules.Comparison)


@pytest.mark.parametrize("row", [row for row in SAMPLES if is_game_of_elements(row)])
def test_row_gives_shapley_values(row):
    for seed in SEEDS:
        function, explained = sample(row, seed)
        explained = thinned(explained, 7, seed)
        expected = shapley(function, explained)
        _, size, found = on_pairs(function, explained)
        for e, f in zip(expected, found, strict=True):
            torch.testing.assert_close(f, e, rtol=0, atol=1e-13 * float(size))


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_are_complete(name):
    for seed in SEEDS:
        assert_complete(*COMPLEX[name](Draw(seed)))


# --- In a model ----------------------------------------------------------------------------------------------------

X, BASE = draw(0, 2, 6, 4), draw(1, 2, 6, 4)
SLOTS = torch.tensor([0, 0, 1, 1, 2, 2])


def memory(x):
    slots = x.new_zeros(len(x), 3, 4)
    slots[:, SLOTS] = x
    return slots.tanh()


def filled(x):
    return x.index_fill(1, SLOTS, x.mean())


IN_MODELS = {
    "slots written twice": memory,
    "index_copy": lambda x: x.new_zeros(len(x), 3, 4).index_copy(1, SLOTS, x),
    "scatter": lambda x: x.new_zeros(len(x), 3, 4).scatter(1, SLOTS[None, :, None].expand(len(x), 6, 4), x),
    "index_fill": filled,
    "weights of a bilinear form": lambda x: F.bilinear(x[:, 0], x[:, 1], x[0, 2:].unsqueeze(0)),
    "weights of a group norm": lambda x: F.group_norm(x, 2, x[0, :, 0], x[0, :, 1]),
    "weights of an instance norm": lambda x: F.instance_norm(x, weight=x[0, :, 0], bias=x[0, :, 1]),
    "weights of a batch norm": lambda x: F.batch_norm(x, x[0, :, 0], x[0, :, 1].exp(), x[0, :, 2], x[0, :, 3]),
    "a slope of a prelu": lambda x: F.prelu(x, x[0, :, 0]),
    "rows of a table": lambda x: F.embedding(SLOTS, x[0]),
}


@pytest.mark.parametrize("name", IN_MODELS)
def test_written_twice_and_weights_are_explained(name):
    net = Net(lambda _, x: weighed(IN_MODELS[name](x)).mul(IN_MODELS[name](x)).sum().reshape(1))
    ex = xc.explain(net, X[:1], BASE[:1], precision="float64")
    assert ex.relative_residual.max() <= 1e-14
    for member, prediction in ((X, ex.prediction), (BASE, ex.baseline_prediction)):
        expected = net(torch.from_numpy(member[:1])).numpy()
        np.testing.assert_allclose(prediction.values[0], expected, rtol=1e-13)


def test_bits_as_other_numbers_are_refused():
    net = Net(lambda _, x: x.view(torch.int64).to(x.dtype).sum((1, 2)))
    with pytest.raises(xc.errors.UnsupportedOperation, match=r"view\.dtype reads the bits of float64 numbers as int64"):
        xc.explain(net, X, BASE, precision="float64")


def test_places_in_memory_may_differ():
    """A baseline that is one row for all samples, read by places in memory."""
    net = Net(lambda _, x: x.as_strided((2, 5, 2, 4), (24, 4, 4, 1)).tanh().sum((1, 2, 3)))
    whole = xc.explain(net, X, np.repeat(BASE[:1], 2, 0), precision="float64")
    one = xc.explain(net, X, BASE[:1], precision="float64")
    np.testing.assert_array_equal(one.attributions, whole.attributions)


class Bag(nn.Module):
    def __init__(self, mode: str, padding: int | None = None):
        super().__init__()
        self.table = nn.EmbeddingBag(7, 3, mode=mode, padding_idx=padding)
        self.head = nn.Linear(3, 1)

    def forward(self, ids):
        return self.head(self.table(ids).tanh())


@pytest.mark.parametrize(("mode", "padding"), [("sum", None), ("mean", None), ("max", None), ("sum", 0), ("mean", 0)])
def test_bags_of_tokens_are_explained(mode, padding):
    torch.manual_seed(0)
    ids, base = np.array([[1, 2, 3, 0], [4, 4, 6, 2]]), np.array([[0, 2, 5, 1], [0, 0, 0, 2]])
    ex = xc.explain(Bag(mode, padding).double(), ids, base)
    assert ex.relative_residual.max() <= 1e-14
    assert (ex.attributions.values[ids == base] == 0).all()


def test_a_bag_is_its_parts():
    torch.manual_seed(0)
    bag = Bag("mean").double()
    parts = Net(
        lambda net, ids: net.head(net.table(ids).mean(1).tanh()), table=nn.Embedding(7, 3), head=bag.head
    ).double()
    parts.table.weight = bag.table.weight
    ids, base = np.array([[1, 2, 3, 0], [4, 4, 6, 2]]), np.array([[0, 2, 5, 1], [0, 0, 0, 2]])
    one, other = (xc.explain(net, ids, base).attributions for net in (bag, parts))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv1d(6, 4, 1), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Flatten()
        )
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.parts(x))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_programs_that_were_taken_apart_say_the_same():
    torch.manual_seed(0)
    model = Normalised().double().eval()
    exported = torch.export.export(model, (torch.from_numpy(X),)).run_decompositions()
    names = {str(node.target) for node in exported.graph.nodes}
    assert {"aten.native_layer_norm.default", "aten.native_group_norm.default"} <= names
    one, other = (xc.explain(net, X, BASE).attributions for net in (model, exported))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)
