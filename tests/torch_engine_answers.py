"""What the PyTorch engine says about recurrent modules; a script with its own process.

TensorFlow and PyTorch are kept apart, so this writes weights, inputs and results to one .npz.

    python torch_engine_answers.py answers.npz
"""

from __future__ import annotations

import sys

import numpy as np

CASES = [
    (kind, layers, bidirectional, steps)
    for kind in ("LSTM", "GRU", "RNN")
    for layers, bidirectional in ((1, False), (2, True))
    for steps in (1, 10, 200)
] + [("GRU reset before", 1, False, steps) for steps in (1, 10, 200)]
FEATURES, UNITS, SAMPLES = 3, 5, 2
PARTS = ("contribution", "carry", "mass", "activation", "state", "cell")


def name_of(kind: str, layers: int, bidirectional: bool, steps: int) -> str:
    return f"{kind}, {layers} {'both ways' if bidirectional else 'one way'}, {steps}"


def main(answers: str) -> None:
    import torch
    from torch import nn

    from explain_core.backends.protocol import Target
    from explain_core.backends.torch import open_runner
    from explain_core.preparation.inputs import read_arguments

    class Net(nn.Module):
        def __init__(self, kind: str, layers: int, bidirectional: bool):
            super().__init__()
            make = getattr(nn, kind)
            self.rnn = make(FEATURES, UNITS, layers, batch_first=True, bidirectional=bidirectional)
            self.head = nn.Linear(UNITS * (2 if bidirectional else 1), 2)

        def forward(self, x):
            return torch.softmax(self.head(self.rnn(x)[0][:, -1]), -1)

    class ResetBefore(nn.Module):
        """The first form of the GRU (Cho et al. 2014), which ``nn.GRU`` is not."""

        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(FEATURES, UNITS)
            self.head = nn.Linear(UNITS, 2)

        def forward(self, x):
            w, u = self.rnn.weight_ih_l0.chunk(3), self.rnn.weight_hh_l0.chunk(3)
            b = self.rnn.bias_ih_l0.chunk(3)
            h = torch.zeros(x.shape[0], UNITS)
            for t in range(x.shape[1]):
                a = [x[:, t] @ w[k].T + b[k] for k in range(3)]
                r, z = torch.sigmoid(a[0] + h @ u[0].T), torch.sigmoid(a[1] + h @ u[1].T)
                h = z * h + (1 - z) * torch.tanh(a[2] + (r * h) @ u[2].T)
            return torch.softmax(self.head(h), -1)

    found = {}
    for number, (kind, layers, bidirectional, steps) in enumerate(CASES):
        torch.manual_seed(number)
        net = ResetBefore() if "before" in kind else Net(kind, layers, bidirectional)
        rng = np.random.default_rng(number)
        test, base = rng.normal(size=(2, SAMPLES, steps, FEATURES)).astype(np.float32)
        runner = open_runner(net.eval(), read_arguments(net, test), sample_axes=(0,), device="cpu")
        targets = [Target(0, (k,), str(k)) for k in range(2)]
        out = runner.attribute([test], [base], targets, gates=True, embeddings=False)
        name = name_of(kind, layers, bidirectional, steps)
        found |= {f"{name}/weights/{key}": value.numpy() for key, value in net.state_dict().items()}
        found |= {f"{name}/test": test, f"{name}/base": base, f"{name}/attributions": out.attributions[0]}
        found |= {f"{name}/prediction": out.prediction, f"{name}/baseline": out.baseline_prediction}
        for place, trace in enumerate(out.gates.values()):
            found |= {
                f"{name}/gates/{place}/{part}": getattr(trace, part)
                for part in PARTS
                if getattr(trace, part) is not None
            }
        found[f"{name}/layers"] = np.array(list(out.gates))
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
