"""Random models in PyTorch against the slow reference: some in every run, many by the marker ``fuzz``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from random_graphs.compare import check
from random_graphs.in_torch import Machine
from random_graphs.recipe import ONLY_TORCH, OPS, Recipe, recipes

RECIPES = recipes({**OPS, **ONLY_TORCH})


def agrees(recipe: Recipe) -> None:
    model = Machine(recipe).eval()
    check(recipe, model if recipe.double else model.float(), "torch")


@settings(max_examples=120, derandomize=True, database=None, deadline=None)
@given(RECIPES)
def test_random_graphs(recipe):
    agrees(recipe)


@pytest.mark.fuzz
@settings(max_examples=15_000, database=None, deadline=None)
@given(RECIPES)
def test_many_random_graphs(recipe):
    agrees(recipe)
