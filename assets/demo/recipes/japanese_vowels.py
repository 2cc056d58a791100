"""Which of nine men is speaking, from one utterance of two vowels: a PyTorch GRU, variable lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recipes import data, folder, torch_models

STEPS = 29
COEFFICIENTS = 12
HIDDEN = 64
NOISE = 0.5  # standard deviation added to the standardised inputs while training
DROPOUT = 0.3
SMOOTHING = 0.05
# Chosen with hidden size, noise and dropout out of four settings, trained on 20 of each speaker's
# training utterances and judged on the other 10.
TRAINING = {"epochs": 60, "batch": 16, "rate": 3e-3, "decay": 1e-2}
SPEAKERS = [f"Speaker {number}" for number in range(1, 10)]
MEMBERS = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
DIGESTS = {
    "TRAIN": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    "TEST": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
}
TEXT = {
    "position": 2,
    "title": "Japanese vowels: who is speaking?",
    "description": (
        "Nine men said the vowels /a/ and /e/ one after the other, many times each. Every 6.4 milliseconds "
        "the sound was summed up in 12 numbers that describe its spectrum (LPC cepstrum coefficients). An "
        "utterance lasts 7 to 29 such frames. The model names the speaker; the explanation shows which "
        "frames and which coefficients speak for him."
    ),
    "task": "classification",
    "framework": "torch",
    "model": "model.pt2",
    "inputs": {
        "name": "x",
        "features": [
            {"name": f"lpc_{k:02d}", "label": f"LPC coefficient {k}", "unit": ""} for k in range(1, COEFFICIENTS + 1)
        ],
        "steps": STEPS,
        "time": {"label": "Frame", "unit": "6.4 ms"},
        "lengths": "lengths",
    },
    "outputs": {"label": "Speaker", "names": SPEAKERS, "unit": "logit"},
    "default_target": 0,
    "default_baseline": "mean",
    "source": (
        "Japanese Vowels, UCI Machine Learning Repository, in the files JapaneseVowels_TRAIN.ts and "
        "JapaneseVowels_TEST.ts of the PyPI package aeon 1.6.0"
    ),
    "url": "https://doi.org/10.24432/C5NS47",
    "licence": "Creative Commons Attribution 4.0 International (CC BY 4.0)",
    "citation": (
        "Kudo, M., Toyama, J. and Shimbo, M. (1999). Japanese Vowels. UCI Machine Learning Repository, "
        "doi:10.24432/C5NS47. Described in: Multidimensional curve classification using passing-through "
        "regions. Pattern Recognition Letters 20 (11-13), 1103-1111."
    ),
}


class SpeakerGRU(torch.nn.Module):
    """GRU over the frames, and a linear layer on its output at the last valid frame.

    Takes x (batch, 29, 12), padded with anything after the last valid frame, and lengths (batch,) int64, and
    returns logits (batch, 9). The GRU runs forward only, so nothing in the padding reaches the answer.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.gru = torch.nn.GRU(COEFFICIENTS, HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, len(SPEAKERS))

    def last_state(self, standardised: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The GRU's output at the last valid frame, (batch, hidden)."""
        states, _ = self.gru(standardised)
        last = (lengths - 1)[:, None, None].expand(-1, 1, HIDDEN)
        return states.gather(1, last).squeeze(1)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.head(self.last_state((x - self.mean) / self.std, lengths))


def make(wheels: Path, out: Path) -> None:
    """Trains on 270 utterances, measures on the 370 test utterances, and writes the demo into `out`."""
    utterances, speakers = _utterances(wheels, "TRAIN")
    test_utterances, truth = _utterances(wheels, "TEST")
    frames = np.concatenate(utterances)

    torch_models.reproducible(seed=0)
    model = SpeakerGRU(frames.mean(0), frames.std(0))
    train_x, train_lengths = _padded(utterances)
    train_x, train_y = (train_x - model.mean) / model.std, torch.tensor(speakers)

    def batch_loss(indices: torch.Tensor) -> torch.Tensor:
        noisy = train_x[indices] + NOISE * torch.randn_like(train_x[indices])
        state = torch.nn.functional.dropout(model.last_state(noisy, train_lengths[indices]), DROPOUT)
        return torch.nn.functional.cross_entropy(model.head(state), train_y[indices], label_smoothing=SMOOTHING)

    torch_models.fit(list(model.parameters()), batch_loss, len(train_x), **TRAINING)
    model.eval()
    test = _padded(test_utterances)
    torch_models.export(model, tuple(tensor[:3] for tensor in test), out / "model.pt2")
    torch_models.check_export(model, test, out / "model.pt2")
    with torch.no_grad():
        logits = model(*test).numpy()

    right = logits.argmax(1) == truth
    most_frequent = float(np.bincount(truth).max() / len(truth))
    references = [
        folder.Reference(
            "most frequent speaker",
            "always the speaker with the most held-out utterances (88 of 370)",
            most_frequent,
            True,
        ),
        folder.Reference(
            "nearest mean",
            "the speaker whose training utterances have the nearest mean over time, in standardised units",
            _nearest_mean_accuracy(utterances, speakers, test_utterances, truth),
            False,
        ),
    ]
    chosen = _chosen(truth, test[1].numpy(), right)
    sequences = [
        folder.Sequence(
            name=f"utterance {i + 1}",
            times=[str(frame) for frame in range(1, len(test_utterances[i]) + 1)],
            values=test_utterances[i],
            observed=SPEAKERS[truth[i]],
            predicted=logits[i],
            note=note,
        )
        for i, note in chosen.items()
    ]
    metrics = {
        "name": "accuracy",
        "unit": "",
        "lower_is_better": False,
        "split": "the data set's own test utterances, from other occasions; trained on its 270 training ones",
        "n": len(truth),
        "model": float(right.mean()),
        "shipped_n": len(chosen),
        "shipped_model": float(right[list(chosen)].mean()),
    }
    text = {**TEXT, "default_sequence": sequences[0].name}
    folder.write(out, text, metrics, references, sequences, _background(utterances), frames.mean(0))


def _utterances(wheels: Path, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """The utterances of a split, each (frames, 12) float32, and who speaks, int64 from 0.

    A line of the file holds one utterance: its 12 coefficients over time, and the number of its speaker, with
    colons between them.
    """
    lines = data.read(wheels, "aeon", MEMBERS.format(split), DIGESTS[split]).decode("utf-8").splitlines()
    utterances, speakers = [], []
    for line in lines[lines.index("@data") + 1 :]:
        *series, speaker = line.split(":")
        utterances.append(np.array([one.split(",") for one in series], dtype=np.float32).T)
        speakers.append(int(speaker) - 1)
    return utterances, np.array(speakers)


def _padded(utterances: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """The utterances padded with zeros to (n, 29, 12), and their lengths (n,)."""
    x = torch.zeros(len(utterances), STEPS, COEFFICIENTS)
    for row, utterance in enumerate(utterances):
        x[row, : len(utterance)] = torch.tensor(utterance)
    return x, torch.tensor([len(utterance) for utterance in utterances])


def _background(utterances: list[np.ndarray]) -> np.ndarray:
    """Four training utterances of each speaker, (36, 29, 12), the last frame held to the end.

    A sample is compared frame by frame with utterances that may be longer, and zeros would not be speech.
    """
    chosen = [utterances[30 * speaker + k] for speaker in range(len(SPEAKERS)) for k in (0, 10, 20, 29)]
    return np.stack([np.pad(one, ((0, STEPS - len(one)), (0, 0)), mode="edge") for one in chosen])


def _nearest_mean_accuracy(
    utterances: list[np.ndarray], speakers: np.ndarray, test_utterances: list[np.ndarray], truth: np.ndarray
) -> float:
    """How often the nearest class mean of the utterances' means over time is the right speaker's."""
    std = np.concatenate(utterances).std(0)
    means = np.stack([utterance.mean(0) / std for utterance in utterances])
    centres = np.stack([means[speakers == k].mean(0) for k in range(len(SPEAKERS))])
    points = np.stack([utterance.mean(0) / std for utterance in test_utterances])
    nearest = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
    return float((nearest == truth).mean())


def _chosen(truth: np.ndarray, lengths: np.ndarray, right: np.ndarray) -> dict[int, str]:
    """Which test utterances to ship, by position, and why: two a speaker, the extremes, every mistake."""
    chosen = {}
    for speaker in range(len(SPEAKERS)):
        own = np.flatnonzero(truth == speaker)
        chosen |= {int(i): "" for i in own[[0, len(own) // 2]]}
    remarkable = [
        (lengths.argmin(), "the shortest utterance"),
        (lengths.argmax(), "the longest utterance"),
        *((i, "the model is wrong") for i in np.flatnonzero(~right)),
    ]
    for i, note in remarkable:
        chosen[int(i)] = "; ".join(part for part in (chosen.get(int(i)), note) if part)
    return dict(sorted(chosen.items()))
