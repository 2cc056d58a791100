"""Explanations in several threads are those of one thread, with the model the same or another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from exactness import Net, draw
from torch import nn

import explain_core as xc

THREADS = 4
EACH = 4
INPUTS = [draw(seed, 5, 4, 3) for seed in range(EACH)]


def net(seed):
    torch.manual_seed(seed)
    last = lambda net, x: net.head(net.rnn(x)[0][:, -1])  # noqa: E731
    return Net(last, rnn=nn.GRU(3, 4, batch_first=True), head=nn.Linear(4, 2)).double().eval()


def in_threads(models):
    """What `EACH` explanations give in each thread, all threads at once."""
    start = threading.Barrier(len(models))

    def explained(model):
        start.wait()
        return [xc.explain(model, x, target=0).attributions.values for x in INPUTS]

    with ThreadPoolExecutor(len(models)) as pool:
        return list(pool.map(explained, models))


def serially(model):
    return [xc.explain(model, x, target=0).attributions.values for x in INPUTS]


def test_several_models():
    models = [net(seed) for seed in range(THREADS)]
    np.testing.assert_array_equal(in_threads(models), [serially(model) for model in models])


def test_one_model():
    model = net(0)
    np.testing.assert_array_equal(in_threads([model] * THREADS), [serially(model)] * THREADS)
