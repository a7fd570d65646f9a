"""Logistic regression against scikit-learn."""

from collections.abc import Callable

import pytest
import torch

from tests.train.test_knn import clusters
from vitrail.errors import ConfigError, DataError
from vitrail.methods.logistic import (
    PENALTIES,
    RIDGE_PENALTIES,
    fit_logistic,
    fit_ridge,
    logistic_regression,
)
from vitrail.train.knn import knn


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


def test_several_labels_are_as_many_logistic_regressions() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    torch.manual_seed(0)
    bank = torch.randn(60, 8)
    labels = (bank[:, :3] + torch.randn(60, 3) > 0).float()
    bank = (bank - bank.mean(0)) / bank.std(0, correction=0)
    logits = fit_logistic(bank, labels, 3, 0.1)(bank)
    for number in range(3):
        peer = linear_model.LogisticRegression(C=1 / (0.1 * 60), tol=1e-8)
        peer.fit(bank.numpy(), labels[:, number].numpy())
        expected = torch.from_numpy(peer.decision_function(bank.numpy())).float()
        torch.testing.assert_close(logits[:, number], expected, atol=2e-3, rtol=0)
    assert fit_logistic(bank, labels, 3).penalty in PENALTIES


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    """The layer, and the error of each image by the layer that is fitted to all others."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    torch.manual_seed(0)
    bank, values = torch.randn(30, 50) * 3 + 2, torch.randn(30, 2)
    fit = fit_ridge(bank, values, 0.5)
    std, mean = torch.std_mean(bank, 0, correction=0)
    peer = linear_model.Ridge(alpha=0.5 * 30).fit(((bank - mean) / std).numpy(), values.numpy())
    expected = torch.from_numpy(peer.predict(((bank - mean) / std).numpy())).float()
    torch.testing.assert_close(bank @ fit.weight.T + fit.bias, expected, atol=1e-4, rtol=0)
    features = ((bank - mean) / std).numpy()
    rest = [number for number in range(30) if number != 4]
    peer.set_params(alpha=0.5 * 30).fit(features[rest], values[rest].numpy())
    left_out = values[4] - torch.from_numpy(peer.predict(features[4:5]))[0].float()
    torch.testing.assert_close(fit.errors[4], left_out, atol=1e-4, rtol=0)


def test_the_penalty_of_numbers_is_weak_where_they_follow_and_strong_where_they_do_not() -> None:
    torch.manual_seed(0)
    bank = torch.randn(40, 5)
    assert fit_ridge(bank, bank[:, :1]).penalty == RIDGE_PENALTIES[-1]
    assert fit_ridge(bank, torch.randn(40, 1)).penalty > 0.1


FEATURES, LABELS = torch.randn(9, 4), torch.arange(9) % 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_logistic(FEATURES, LABELS, 2), "label 2 is not within 0 to 1"),
        (lambda: fit_logistic(FEATURES, LABELS.float(), 3), "torch.float32 are no class indices"),
        (
            lambda: fit_logistic(FEATURES, LABELS, 3, -1.0),
            "penalty=-1.0 is not a number of above 0",
        ),
        (lambda: fit_logistic(FEATURES / 0, LABELS, 3), "features hold -?inf"),
        (lambda: fit_ridge(FEATURES, FEATURES[:5]), "9 features have labels of shape"),
        (lambda: fit_ridge(FEATURES, FEATURES * float("nan")), "values hold nan"),
        (lambda: knn(FEATURES, LABELS + 1, FEATURES, 3), "label 3 is not within 0 to 2"),
        (lambda: knn(FEATURES, LABELS, FEATURES, 3, k=2.5), "k=2.5 is not a whole number"),
        (lambda: knn(FEATURES, torch.rand(9, 3), FEATURES, 3), r"of shape \(9, 3\) are no class"),
        (lambda: knn(FEATURES.numpy(), LABELS, FEATURES, 3), "bank=.* is not a Tensor"),
    ],
)
def test_a_bank_that_cannot_classify_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        call()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.float64])
def test_features_of_any_type_classify_those_of_another(dtype: torch.dtype) -> None:
    bank = (4 * FEATURES).round().to(dtype)
    expected = knn(bank.float(), LABELS, FEATURES, 3)
    torch.testing.assert_close(knn(bank, LABELS, FEATURES, 3).float(), expected)
    assert fit_logistic(bank, LABELS.to(torch.uint8), 3).weight.isfinite().all()
    assert fit_ridge(bank, LABELS.float()).weight.shape == (1, 4)
