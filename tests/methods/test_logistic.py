"""Logistic regression against scikit-learn."""

import pytest
import torch

from tests.train.test_knn import clusters
from vitrail.errors import ConfigError
from vitrail.methods.logistic import PENALTIES, fit_logistic, logistic_regression


def test_it_equals_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    bank, labels = clusters(120)
    queries, _ = clusters(30, seed=1)
    for penalty in (1.0, 1e-2, 1e-4):
        scaler = StandardScaler().fit(bank.numpy())
        theirs = LogisticRegression(C=1 / (penalty * 120), tol=1e-10, max_iter=10_000)
        theirs.fit(scaler.transform(bank.numpy()), labels.numpy())
        expected = theirs.predict_proba(scaler.transform(queries.numpy()))
        ours = logistic_regression(bank, labels, queries, 3, penalty).softmax(1)
        torch.testing.assert_close(ours, torch.from_numpy(expected), atol=2e-5, rtol=0)


def test_the_penalty_is_selected_on_validation_images() -> None:
    """With far more noise than images a weak penalty only overfits."""
    labels = torch.arange(400) % 2
    noise = torch.randn(400, 60)
    noise[:, 0] += 2.5 * labels
    fitted = fit_logistic(noise[:60], labels[:60], 2)
    assert fitted.penalty >= 1e-1
    rates = {
        s: (fit_logistic(noise[:60], labels[:60], 2, s)(noise[60:]).argmax(1) == labels[60:])
        .double()
        .mean()
        for s in (fitted.penalty, 1e-5)
    }
    assert rates[fitted.penalty] > rates[1e-5]
    clean = torch.eye(3).repeat(20, 1)
    assert (
        logistic_regression(clean, torch.arange(60) % 3, clean, 3)
        .argmax(1)
        .equal(torch.arange(60) % 3)
    )


def test_odd_banks() -> None:
    bank = torch.eye(4)
    assert fit_logistic(bank, torch.arange(4), 4).penalty == PENALTIES[3]  # one per class
    constant = torch.cat([bank.repeat(5, 1), torch.full((20, 1), 7.0)], dim=1)
    labels = torch.arange(4).repeat(5)
    # Two of the six classes have no image.
    assert logistic_regression(constant, labels, constant, 6).argmax(1).equal(labels)
    half = logistic_regression(constant.bfloat16(), labels, constant.bfloat16(), 4)
    assert half.dtype == torch.float32
    with torch.inference_mode():
        logistic_regression(constant, labels, constant, 4)
    with pytest.raises(ConfigError, match="give one each"):
        logistic_regression(constant, labels[:4], constant, 4)
