"""Token ids on their way to a table: looked up in other words than an embedding's, changed, and written in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exactness import Net, arrays, draw, unchanged
from torch import nn

import explain_core as xc

WORDS, WIDTH, STEPS = 7, 4, 6
IDS = np.random.default_rng(0).integers(0, WORDS, (3, STEPS))
BASE_IDS = np.random.default_rng(5).integers(0, WORDS, (3, STEPS))


def net(ids_of, vectors_of=lambda net, ids: net.table(ids)) -> nn.Module:
    """An LSTM on the vectors of what ``ids_of`` makes of the ids."""

    def forward(net, ids):
        return net.head(net.lstm(vectors_of(net, ids_of(ids)))[0][:, -1])

    torch.manual_seed(3)
    modules = {
        "table": nn.Embedding(WORDS, WIDTH),
        "lstm": nn.LSTM(WIDTH, 5, batch_first=True),
        "head": nn.Linear(5, 2),
    }
    return Net(forward, **modules).double()


def same(ids):
    return ids


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    with unchanged(found):
        one = xc.explain(found, IDS, baselines=BASE_IDS)
    other = xc.explain(expected, IDS, baselines=BASE_IDS)
    assert one.relative_residual.max() <= 1e-12
    assert one.attributions.dims == other.attributions.dims
    np.testing.assert_allclose(one.prediction, other.prediction, atol=1e-14)
    np.testing.assert_allclose(one.attributions, other.attributions, atol=1e-13)


# --- Tables ----------------------------------------------------------------------------------------------------

TABLES = {
    "row by index": lambda net, ids: net.table.weight[ids],
    "index_select": lambda net, ids: net.table.weight.index_select(0, ids.flatten()).view(*ids.shape, WIDTH),
    "one-hot product": lambda net, ids: F.one_hot(ids, WORDS).to(net.table.weight.dtype) @ net.table.weight,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_a_table_however_it_is_looked_up_in(name):
    assert_same(net(same, TABLES[name]), net(same))


def test_ids_beside_numbers_are_explained_when_a_weight_is_indexed_with_them():
    def forward(net, ids, x):
        return net.head(net.table.weight[ids] + x).sum(1)

    model = Net(forward, table=nn.Embedding(WORDS, WIDTH), head=nn.Linear(WIDTH, 2)).double()
    ex = xc.explain(model, (IDS, draw(0, 3, STEPS, WIDTH)), baselines=(BASE_IDS, draw(1, 3, STEPS, WIDTH)))
    of_ids, of_numbers = arrays(ex.attributions)
    assert of_ids.shape == (2, *IDS.shape)
    weight = model.head.weight @ (model.table.weight[torch.from_numpy(IDS)] - model.table.weight[BASE_IDS])[..., None]
    np.testing.assert_allclose(of_ids, weight[..., 0].movedim(-1, 0).detach(), atol=1e-14)
    assert np.abs(of_numbers).min() > 0


def test_lengths_that_index_a_sequence_are_no_ids_and_a_note_says_so():
    def forward(net, x, lengths):
        return net.head(net.lstm(x)[0][torch.arange(len(x)), lengths - 1])

    model = Net(forward, lstm=nn.LSTM(WIDTH, 5, batch_first=True), head=nn.Linear(5, 2)).double()
    ex = xc.explain(model, (draw(0, 3, STEPS, WIDTH), np.array([2, 6, 4])))
    assert len(arrays(ex.attributions)) == 1
    assert any("index no table" in note for note in ex.notes)


def test_the_ids_of_a_bag_of_embeddings_are_not_passed_over():
    model = Net(
        lambda net, ids, x: net.bag(ids) + x.mean(1), bag=nn.EmbeddingBag(WORDS, WIDTH), head=nn.Linear(1, 1)
    ).double()
    ex = xc.explain(model, (IDS, draw(0, 3, STEPS, WIDTH)), baselines=(BASE_IDS, draw(1, 3, STEPS, WIDTH)))
    assert ex.relative_residual.max() <= 1e-12
    assert all(np.abs(part).max() > 0.01 for part in arrays(ex.attributions))


# --- Changed on the way ----------------------------------------------------------------------------------------


def shifted_in_place(ids):
    """The inputs of a decoder: a start token, and then what came before."""
    shifted = torch.zeros_like(ids)
    shifted[:, 1:] = ids[:, :-1]
    shifted[:, 0] = 1
    return shifted


def shifted(ids):
    return torch.cat([torch.ones_like(ids[:, :1]), ids[:, :-1]], 1)


def moved_in_place(ids):
    moved = ids.clone()
    moved[:, 0] = ids[:, 3]
    return moved


def masked_in_place(ids):
    masked = ids.clone()
    masked[ids == 3] = 0
    return masked


def split_and_written(ids):
    ids = ids.clone()
    first, second = ids.split(3, 1)
    first.copy_(second)
    return ids


def written_as_another_type(ids):
    """The copy must not reach back to what it was made from."""
    short = ids.to(torch.int32)
    short[:, 0] = 2
    return torch.stack([short.long(), ids], 2).flatten(1)


CHANGED = {
    "shifted": (shifted_in_place, shifted),
    "moved": (moved_in_place, lambda ids: torch.cat([ids[:, 3:4], ids[:, 1:]], 1)),
    "masked": (masked_in_place, lambda ids: torch.where(ids == 3, 0, ids)),
    "masked_fill_": (lambda ids: ids.clone().masked_fill_(ids == 3, 0), lambda ids: torch.where(ids == 3, 0, ids)),
    "split": (split_and_written, lambda ids: torch.cat([ids[:, 3:], ids[:, 3:]], 1)),
    "another type": (
        written_as_another_type,
        lambda ids: torch.stack([torch.cat([torch.full_like(ids[:, :1], 2), ids[:, 1:]], 1), ids], 2).flatten(1),
    ),
    "clamp": (lambda ids: ids.clamp(min=2), lambda ids: torch.where(ids < 2, 2, ids)),
    "abs": (lambda ids: (-ids).abs(), same),
    "cut floats": (lambda ids: torch.zeros_like(ids).copy_(ids.double() + 0.5), same),
}


@pytest.mark.parametrize("name", CHANGED)
def test_ids_are_followed_through_what_changes_them(name):
    changed, plainly = CHANGED[name]
    assert_same(net(changed), net(plainly))


@pytest.mark.parametrize("name", CHANGED)
def test_each_id_has_what_it_changes_alone(name):
    """One id differs, so all of the change is its own."""
    base = IDS.copy()
    base[:, 3] = (base[:, 3] + 1) % WORDS
    ex = xc.explain(net(CHANGED[name][0]), IDS, baselines=base)
    change = (ex.prediction - ex.baseline_prediction).values
    np.testing.assert_allclose(ex.attributions.values[..., 3], change.T, atol=1e-14)
    assert not np.delete(ex.attributions.values, 3, -1).any()


def test_what_is_written_from_ids_and_is_the_same_in_both_members_may_choose():
    def in_order(net, ids):
        order = torch.arange(STEPS).repeat(len(ids), 1)
        order[:, 0] = ids[:, 0] * 0 + 2
        return net.table(ids)[torch.arange(len(ids))[:, None], order]

    assert_same(net(same, in_order), net(same, lambda net, ids: net.table(ids)[:, [2, *range(1, STEPS)]]))


def test_a_position_that_differs_and_is_written_among_ids_is_refused():
    def largest(ids):
        ids = ids.clone()
        ids[:, 0] = ids.argmax(1)
        return ids

    with pytest.raises(xc.errors.UnsupportedOperation, match="differs between the input and the baseline"):
        xc.explain(net(largest), IDS, baselines=BASE_IDS)
