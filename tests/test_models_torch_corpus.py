"""PyTorch files of every kind: what opens answers as the original did; what is refused says why and runs nothing."""

import numpy as np
import pytest
import torch
from corpus.torch_files import refused_files, valid_cases

import explain_core as xc
from explain_core.errors import ModelFileError
from explain_core.models import load_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:Sparse:UserWarning"),
]


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return valid_cases(tmp_path_factory.mktemp("valid"))


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    return refused_files(tmp_path_factory.mktemp("refused"))


def open_case(case):
    return load_model(case.path, architecture=case.architecture, code=case.code)


def test_what_opens_answers_as_the_original_and_says_what_was_done(valid):
    for name, case in valid.items():
        loaded = open_case(case)
        with torch.no_grad():
            answer = loaded.module(*case.inputs)
        answer = answer[0] if isinstance(answer, tuple) else answer
        torch.testing.assert_close(answer, case.expected, msg=lambda text, name=name: f"{name}: {text}")
        said = " ".join((*loaded.notes, *loaded.summary.notes, *loaded.summary.assumptions))
        assert not [words for words in case.says if words not in said], name
        assert loaded.summary.layers, name


def test_what_opens_is_explained(valid):
    for name, case in valid.items():
        loaded = open_case(case)
        inputs = case.inputs[0].numpy()
        first = ("0",) if isinstance(open_case(case).module(*case.inputs), tuple) else ()
        target = (*first, *(0 for _ in case.expected.shape[1:])) or None
        ex = xc.explain(loaded, inputs, target=target, keep_gates=False)
        column = case.expected.reshape(len(inputs), -1)[:, :1].numpy()
        np.testing.assert_allclose(ex.prediction.values, column, rtol=1e-4, atol=1e-5, err_msg=name)
        assert ex.relative_residual.max() <= 1e-5, name


def test_what_is_refused_says_why_and_runs_nothing(refused):
    wrong = {}
    for name, (path, said) in refused.items():
        with pytest.raises(ModelFileError) as caught:
            load_model(path)
        if said not in str(caught.value) or not caught.value.hint:
            wrong[name] = caught.value.what
        assert not (path.parent / "canary").exists(), name
    assert not wrong
