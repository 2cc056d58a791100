"""Ids that no table has a row for, ids as floats, and ids with a fraction: said by name, never looked up."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.errors import InputError

WORDS, WIDTH, N, T = 7, 4, 3, 5
IDS = np.random.default_rng(0).integers(0, WORDS, (N, T))
BASE = np.random.default_rng(1).integers(0, WORDS, (N, T))


def reading(vectors_of) -> nn.Module:
    """A GRU on the vectors of an input; all such models have the same weights."""
    torch.manual_seed(0)
    modules = {"table": nn.Embedding(WORDS, WIDTH, padding_idx=0), "rnn": nn.GRU(WIDTH, 3, batch_first=True)}
    modules |= {"head": nn.Linear(3, 1)}
    return Net(lambda net, *x: net.head(net.rnn(vectors_of(net, *x))[0][:, -1]), **modules).double()


WAYS = {
    "embedding": lambda net, x: net.table(x),
    "row by index": lambda net, x: net.table.weight[x],
    "index_select": lambda net, x: net.table.weight.index_select(0, x.flatten()).view(*x.shape, WIDTH),
    "one-hot": lambda net, x: nn.functional.one_hot(x, WORDS).to(net.table.weight.dtype) @ net.table.weight,
}
CUTS = {
    "long": lambda x: x.long(),
    "int": lambda x: x.int(),
    "to": lambda x: x.to(torch.int64),
    "round": lambda x: x.round().long(),
    "type": lambda x: x.type(torch.long),
    "after a view": lambda x: x.reshape(-1).long().view(x.shape),
}


# --- Outside the table -----------------------------------------------------------------------------------------


# An index of -1 is the last row, as Python counts.
OUTSIDE = [(way, bad) for way in WAYS for bad in (WORDS, 99, -1) if (way, bad) != ("row by index", -1)]


@pytest.mark.parametrize(("way", "bad"), OUTSIDE)
def test_ids_of_no_row_are_refused_in_the_input(way, bad):
    ids = IDS.copy()
    ids[2, 3] = bad
    with pytest.raises(InputError, match=rf"the input has the id {bad} at position \(2, 3\), and the table .* 7 rows"):
        xc.explain(reading(WAYS[way]), ids)


@pytest.mark.parametrize(("way", "bad"), OUTSIDE)
def test_ids_of_no_row_are_refused_in_a_baseline(way, bad):
    base = BASE.copy()
    base[2, 3] = bad
    with pytest.raises(
        InputError, match=rf"the baseline has the id {bad} at position \(2, 3\), and the table"
    ) as error:
        xc.explain(reading(WAYS[way]), IDS, base)
    assert error.value.where == "input"
    with pytest.raises(InputError, match=rf"the baseline has the id {bad} at position \(0, 0\)"):
        xc.explain(reading(WAYS[way]), IDS, bad)


def test_the_place_is_that_among_all_samples(monkeypatch):
    monkeypatch.setattr("explain_core.preparation.rows.MOST_ROWS", 2)
    ids = np.random.default_rng(0).integers(0, WORDS, (5, T))
    ids[4, 1] = WORDS
    with pytest.raises(InputError, match=r"position \(4, 1\)"):
        xc.explain(reading(WAYS["embedding"]), ids)
    background = np.random.default_rng(0).integers(0, WORDS, (7, T))
    background[6, 2] = -3
    with pytest.raises(InputError, match=r"the baseline has the id -3 at position \(6, 2\)"):
        xc.explain(reading(WAYS["embedding"]), IDS, background, background=True)


def test_the_input_of_ids_is_named_though_another_has_the_same_number():
    model = reading(lambda net, n, x, ids: net.table(ids) * x * n.view(-1, 1, 1))
    numbers = np.array([1, 9, 2]), np.full((N, T, 1), 9.0)
    ids = IDS.copy()
    ids[1, 4] = 9
    for given, base, member in ((ids, BASE, "input"), (IDS, ids, "baseline")):
        with pytest.raises(InputError, match=rf"the {member} has the id 9 at position \(1, 4\)") as error:
            xc.explain(model, (*numbers, given), (numbers[1], base))
        assert error.value.where == "input_2"


def test_an_id_that_the_model_makes_is_said_to_be_one():
    with pytest.raises(InputError, match="the model makes the id 7 of its input"):
        xc.explain(reading(lambda net, x: net.table(x + 1)), np.where(IDS == WORDS - 1, 6, IDS))


def test_a_script_says_the_same():
    class Script(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(WORDS, 1)

        def forward(self, ids):
            return self.table(ids).sum(1)

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        script = torch.jit.script(Script().eval())
    with pytest.raises(InputError, match="the input has the id 99 at position"):
        xc.explain(script, np.where(IDS == 5, 99, IDS))


# --- Floats that are ids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_whole_floats_are_ids(cut):
    floats, whole = reading(lambda net, x: net.table(CUTS[cut](x))), reading(WAYS["embedding"])
    found = xc.explain(floats, IDS.astype(float), BASE.astype(float))
    expected = xc.explain(whole, IDS, BASE)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    np.testing.assert_allclose(found.baseline_prediction, expected.baseline_prediction, atol=1e-14)
    assert np.abs(expected.attributions.values[IDS != BASE]).min() > 0


@pytest.mark.parametrize("cut", CUTS)
def test_floats_with_a_fraction_are_no_ids(cut):
    model = reading(lambda net, x: net.table(CUTS[cut](x)))
    with pytest.raises(InputError, match=r"the input has \d\.25 where the model looks up ids: it cuts the floats"):
        xc.explain(model, np.where(IDS == 2, 2.25, IDS), BASE.astype(float))
    for given in (0.25, np.full((1, T), 0.25)):  # cut to the same row as the id 0
        with pytest.raises(InputError, match=r"the baseline has 0\.25 where the model looks up ids"):
            xc.explain(model, np.zeros((N, T)), given)
    for word in ("mean", "median", "padded-mean"):
        with pytest.raises(InputError, match="token ids have no mean"):
            xc.explain(model, IDS.astype(float), word)
    with pytest.raises(InputError, match=r"the baseline has the id 9 at position"):
        xc.explain(model, IDS.astype(float), 9.0)


def test_codes_in_a_column_beside_numbers():
    def vectors(net, x):
        return net.table(x[..., 1].long()) * x[..., :1]

    model, x = reading(vectors), np.stack([draw(0, N, T), IDS], -1)
    base = np.stack([draw(1, N, T), BASE], -1)
    ex = xc.explain(model, x, base)
    assert ex.relative_residual.max() < 1e-12
    assert np.abs(ex.attributions.values[..., 1][IDS != BASE]).min() > 0
    with pytest.raises(InputError, match=r"the baseline has -?\d\.\d+ where the model looks up ids"):
        xc.explain(model, x, draw(2, N, T, 2))
    with pytest.raises(InputError, match="token ids have no mean"):
        xc.explain(model, x, "mean")


def test_numbers_that_a_model_sorts_into_bins_are_no_ids():
    model = reading(lambda net, x: net.table((x * 3).long()))
    ex = xc.explain(model, draw(0, N, T) % 2, np.zeros((1, T)))
    assert ex.relative_residual.max() < 1e-12
    assert not xc.explain(model, draw(0, N, T) % 2, "mean").residual.isnull().any()


@pytest.mark.parametrize(
    "codes",
    [
        lambda x: (x > 0).long(),
        lambda x: torch.bucketize(x, torch.tensor([-0.5, 0.0, 0.5])),
        lambda x: (x.abs() > 0.3).to(torch.int32),
    ],
)
def test_whole_numbers_by_a_comparison_are_no_ids_cut_from_floats(codes):
    table = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    model = Net(lambda net, x: nn.functional.embedding(codes(x), table).sum((1, 2))).double().eval()
    x, base = draw(0, 3, 5), draw(1, 3, 5)
    found = xc.explain(model, x, base)
    assert found.relative_residual.max() < 1e-12
    # Each number alone chooses its row, so what the row moves is its share.
    moved = table[codes(torch.from_numpy(x)).long()].sum(-1) - table[codes(torch.from_numpy(base)).long()].sum(-1)
    np.testing.assert_allclose(found.attributions, moved, atol=1e-12)
