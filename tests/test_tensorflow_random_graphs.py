"""Random models in TensorFlow against the slow reference: some in every run, many by the marker ``fuzz``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from random_graphs.compare import check
from random_graphs.in_tensorflow import Machine
from random_graphs.recipe import OPS, Recipe, recipes

RECIPES = recipes(OPS)


def agrees(recipe: Recipe) -> None:
    check(recipe, Machine(recipe), "tensorflow")


@settings(max_examples=80, derandomize=True, database=None, deadline=None)
@given(RECIPES)
def test_random_graphs(recipe):
    agrees(recipe)


@pytest.mark.fuzz
@settings(max_examples=5_000, database=None, deadline=None)
@given(RECIPES)
def test_many_random_graphs(recipe):
    agrees(recipe)
