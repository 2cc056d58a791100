"""Systems of linear equations whose matrix is constant: linear in the right-hand side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, draw

import explain_core as xc

X, BASE = torch.tensor(draw(0, 3, 4)), torch.tensor(draw(1, 3, 4))
A = torch.tensor(draw(2, 4, 4)) + 4 * torch.eye(4, dtype=torch.float64)
COVARIANCE = A @ A.T
MEAN = torch.zeros(4, dtype=torch.float64)

SOLVING = {
    "solve": (lambda x: torch.linalg.solve(A, x.T).T, torch.linalg.inv(A).T),
    "solve from the right": (lambda x: torch.linalg.solve(A, x, left=False), torch.linalg.inv(A)),
    "solve in batches": (lambda x: torch.linalg.solve(A.expand(3, 4, 4), x[..., None])[..., 0], torch.linalg.inv(A).T),
    "lu": (lambda x: torch.linalg.lu_solve(*torch.linalg.lu_factor(A), x.T).T, torch.linalg.inv(A).T),
    "cholesky": (
        lambda x: torch.cholesky_solve(x.T, torch.linalg.cholesky(COVARIANCE)).T,
        torch.linalg.inv(COVARIANCE),
    ),
    "triangular": (
        lambda x: torch.linalg.solve_triangular(A.triu(), x.T, upper=True).T,
        torch.linalg.inv(A.triu()).T,
    ),
    "inverse": (lambda x: x @ torch.linalg.inv(A), torch.linalg.inv(A)),
}


@pytest.mark.parametrize("name", SOLVING)
def test_solving_by_a_constant_matrix_is_linear(name):
    f, matrix = SOLVING[name]
    found = xc.explain(Net(lambda net, x: f(x)).eval(), X, baselines=BASE).attributions.transpose(
        "sample", "feature", ...
    )
    np.testing.assert_allclose(found, (X - BASE)[:, :, None] * matrix, atol=1e-12)


@pytest.mark.parametrize("explained", ["value", "mean"])
def test_the_density_of_a_normal_distribution(explained):
    def density(net, x):
        mean, value = (x, MEAN) if explained == "mean" else (MEAN, x)
        return torch.distributions.MultivariateNormal(mean, COVARIANCE).log_prob(value)[:, None]

    found = xc.explain(Net(density).eval(), X, baselines=BASE)
    expected = -(X - BASE) * ((X + BASE) / 2 @ torch.linalg.inv(COVARIANCE))
    assert found.relative_residual.max() <= 1e-12
    np.testing.assert_allclose(found.attributions.values.sum(-1).ravel(), expected.sum(-1), atol=1e-12)


REFUSED = {
    "explained matrix": (lambda x: torch.linalg.solve(A + x[:, :1, None], x[..., None])[..., 0], "linalg_solve"),
    "matrix_exp": (
        lambda x: torch.linalg.matrix_exp(x[:, :, None] * x[:, None, :]).sum(-1),
        "exponential of an explained",
    ),
    "fake_quantize": (
        lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, -128, 127),
        r"a simulated quantization \(fake_quantize\) rounds",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_rule_is_refused_by_name(name):
    f, said = REFUSED[name]
    with pytest.raises(xc.errors.UnsupportedOperation, match=said):
        xc.explain(Net(lambda net, x: f(x)).eval(), X, baselines=BASE)
