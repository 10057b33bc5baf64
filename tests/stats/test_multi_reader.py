"""Multi-reader multi-case intervals against a published example, and their coverage in simulated studies."""

import numpy as np
import pytest

from sightline.stats.multi_reader import degrees_of_freedom, jackknife_covariance, multi_reader_estimate

VAN_DYKE = {
    # AUROC of five readers; MS(R), mean variance and covariance of a reader; mean, its standard error and degrees
    "spin echo": (
        (0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066),
        (0.0030826287, 0.00101410277, 0.00048396180),
        (0.89703704, 0.033173597, 12.744648),
    ),
    "cine": (
        (0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169),
        (0.0013046019, 0.00059047376, 0.00020418785),
        (0.94083736, 0.021566368, 12.710190),
    ),
}
"""Van Dyke et al. 1993, five readers of 114 cases, analyzed for each modality by the R package RJafroc (method OR)."""


@pytest.mark.parametrize("modality", VAN_DYKE)
def test_the_data_of_van_dyke_give_the_published_mean_error_and_degrees_of_freedom(modality: str) -> None:
    areas, (between, variance, shared), (mean, error, degrees) = VAN_DYKE[modality]
    covariance = np.full((5, 5), shared)
    np.fill_diagonal(covariance, variance)
    found = multi_reader_estimate(np.array(areas), covariance, groups=10**9)
    np.testing.assert_allclose(np.var(areas, ddof=1), between, rtol=1e-5)
    np.testing.assert_allclose([found.mean, found.error], [mean, error], rtol=1e-6)
    np.testing.assert_allclose(degrees_of_freedom(np.array(areas), shared), degrees, rtol=1e-6)
    assert found.degrees == 6  # 1.5 times those of five readers, below Hillis'


def test_the_jackknife_of_means_gives_the_covariance_of_means() -> None:
    scores = np.random.default_rng(0).normal(size=(12, 3))
    without = np.stack([np.delete(scores, g, 0).mean(0) for g in range(12)])
    np.testing.assert_allclose(jackknife_covariance(without), np.cov(scores.T) / 12)


def test_the_interval_and_p_are_of_one_distribution() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        means, draws = rng.normal(0.1, 0.1, 4), rng.normal(0, 0.2, (15, 4))
        found = multi_reader_estimate(means, jackknife_covariance(draws / 14), 15)
        low, high = found.interval(1 - found.p)
        assert min(abs(low), abs(high)) < 1e-9
        assert (found.interval()[0] > 0 or found.interval()[1] < 0) == (found.p < 0.05)


def test_what_has_no_interval() -> None:
    constant = multi_reader_estimate(np.array([0.5, 0.5]), np.zeros((2, 2)), 10)
    alone = multi_reader_estimate(np.array([0.5]), np.array([[0.1]]), 10)
    one_patient = multi_reader_estimate(np.array([0.4, 0.6]), np.zeros((2, 2)), 1)
    assert "same value" in constant.reason
    assert "1 of at least 2 readers" in alone.reason
    assert "1 of at least 5 patients" in one_patient.reason
    for found in (constant, alone, one_patient):
        assert found.mean == 0.5
        assert np.isnan([*found.interval(), found.p]).all()


def errors_of_type_1(readers: int, patients: int, spread: float, draws: int = 400) -> float:
    """Share of data sets without a mean difference in which p is below 0.05, with readers and patients drawn anew."""
    rng = np.random.default_rng((readers, patients))
    errors = 0
    for _ in range(draws):
        scores = (
            rng.normal(0, spread, readers)
            + rng.normal(0, 0.15, (patients, 1))
            + rng.normal(0, 0.2, (patients, readers))
        )
        without = (scores.sum(0) - scores) / (patients - 1)
        errors += multi_reader_estimate(scores.mean(0), jackknife_covariance(without), patients).p < 0.05
    return errors / draws


@pytest.mark.parametrize(
    ("readers", "patients", "spread"), [(2, 40, 0.05), (3, 15, 0.05), (5, 100, 0.05), (5, 15, 0.0)]
)
def test_errors_of_type_1_are_rare_enough(readers: int, patients: int, spread: float) -> None:
    assert errors_of_type_1(readers, patients, spread) <= 0.085  # 400 draws: 0.05 plus three standard errors


def test_patients_alone_would_claim_too_much() -> None:
    rng = np.random.default_rng(5)
    errors = 0
    for _ in range(400):
        scores = rng.normal(0, 0.1, 3) + rng.normal(0, 0.2, (40, 3))
        error = scores.mean(1).std(ddof=1) / np.sqrt(40)
        errors += abs(scores.mean()) > 2.02 * error
    assert errors > 400 * 0.25  # an interval over patients does not speak of readers in general
