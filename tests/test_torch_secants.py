"""The formulas of secants through PyTorch's arrays, against many digits; and what the table of operations has."""

from __future__ import annotations

from functools import partial

import array_edges
import numpy as np
import pytest
import secant_definitions as table
import torch

from explain_core.backends.torch import arrays
from explain_core.backends.torch.formulas import secants, two_players
from explain_core.backends.torch.kinds import Rescale, TwoPlayers
from explain_core.backends.torch.rules import RULES


def through(secant):
    return lambda a, b: secant(torch.from_numpy(a.copy()), torch.from_numpy(b.copy())).numpy()


@pytest.mark.parametrize("dtype", table.DTYPES)
@pytest.mark.parametrize(("name", "number"), table.CASES)
def test_quotient_is_exact_to_roundings(name, number, dtype):
    table.check(name, number, secants, arrays, through, table.DTYPES[dtype], denormals=True)


@pytest.mark.parametrize("dtype", table.DTYPES)
@pytest.mark.parametrize("name", table.TWO)
def test_quotient_in_one_of_two_arguments_is_exact_to_roundings(name, dtype):
    table.check_two(name, two_players, through, table.DTYPES[dtype], denormals=True)


@pytest.mark.parametrize("dtype", table.DTYPES)
@pytest.mark.parametrize("name", array_edges.EDGES)
def test_array_function_at_its_edges(name, dtype):
    array_edges.check_edges(arrays, name, torch.from_numpy, table.DTYPES[dtype])


@pytest.mark.parametrize("dtype", table.DTYPES)
def test_array_functions_of_types_and_places(dtype):
    array_edges.check_names(arrays)
    array_edges.check_forms(arrays, torch.from_numpy, table.DTYPES[dtype])
    array_edges.check_scan(arrays.scan, torch.arange(6.0, dtype=getattr(torch, dtype)).view(3, 2))


WITH_DEFAULTS = {
    # row: (further arguments, the formula with all that it needs)
    "softplus": ((), partial(secants.softplus, threshold=20.0)),
    "hardtanh": ((), partial(secants.clamp, low=-1.0, high=1.0)),
    "clamp_min": ((0.5,), secants.clamp),
    "clamp_max": ((0.5,), partial(secants.clamp, low=None, high=0.5)),
    "prelu": ((torch.tensor([0.25, 2.0]),), None),
    "_prelu_kernel": ((torch.tensor([0.25]),), partial(secants.leaky_relu, slope=0.25)),
}


def test_every_row_is_a_formula_that_is_checked():
    rows = {name: rule for name, rule in RULES.items() if isinstance(rule, Rescale)}
    plain = {name: rule.secant.func.__name__ for name, rule in rows.items() if isinstance(rule.secant, partial)}
    assert set(plain.values()) <= set(table.DEFINITIONS)
    assert set(rows) - set(plain) == set(WITH_DEFAULTS)
    assert all(RULES[name].secant is getattr(secants, formula) for name, formula in plain.items())
    of_two = {rule for rule in RULES.values() if isinstance(rule, TwoPlayers)}
    checked = {name for given in table.TWO.values() for name in given.names}
    assert {secant.func.__name__ for rule in of_two for secant in (rule.first, rule.second)} <= checked


@pytest.mark.parametrize("row", WITH_DEFAULTS)
def test_row_with_defaults_is_the_formula_with_them(row):
    given, formula = WITH_DEFAULTS[row]
    a, b = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, 2, 50)) * 15)
    found = RULES[row].secant(a, b, *given)
    if row == "prelu":  # a slope for each channel
        for channel, slope in enumerate(given[0]):
            assert torch.equal(found[:, channel], secants.leaky_relu(a[:, channel], b[:, channel], slope))
    else:
        assert torch.equal(found, formula(a, b, *(given if row == "clamp_min" else ())))
