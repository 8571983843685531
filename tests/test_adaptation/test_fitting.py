"""Elimination and fits against brute force."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from torch import nn

from fna_mm.adaptation.fitting import (
    absolute_ridge,
    elimination_order,
    folded,
    kept_channels,
    normalised,
    ridge_fit,
    ridge_of,
)
from fna_mm.adaptation.moments import Moments


def features(seed, rows=200, channels=8, outputs=3):
    """Correlated features and a linear map of them."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, channels, generator=generator, dtype=torch.float64) @ torch.randn(
        channels, channels, generator=generator, dtype=torch.float64)
    return (mixed.clamp(-.5, 6), torch.randn(outputs, channels, generator=generator, dtype=torch.float64))


def moments_of(rows, targets):
    moments = Moments(rows.shape[1], targets.shape[1])
    for part, wanted in zip(rows.split(37), targets.split(37)):  # in uneven batches of pixels
        moments.add(part.T[None, ..., None], wanted.T[None, ..., None])
    return moments


def fit_of(moments, kept, prior=None, ridge=1e-4):
    return ridge_fit(moments.mean[kept], moments.covariance[kept][:, kept], moments.mean_target,
                     moments.cross_covariance[kept], moments.target_variance, prior, ridge)


def least_squares_error(rows, targets, kept):
    """Mean squared error of the best affine map from some columns, summed over outputs."""
    design = torch.cat([rows[:, kept], torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
    solution = torch.linalg.lstsq(design, targets).solution
    return float((design @ solution - targets).square().mean(0).sum())


def test_moments_are_those_of_all_pixels():
    rows, weight = features(0)
    targets = rows @ weight.T
    moments = moments_of(rows, targets)
    assert moments.count == len(rows)
    assert torch.allclose(moments.mean, rows.mean(0))
    assert torch.allclose(moments.covariance, torch.cov(rows.T, correction=0))
    assert torch.allclose(moments.mean_target, targets.mean(0))
    assert torch.allclose(moments.target_variance, targets.var(0, correction=0))
    both = torch.cov(torch.cat([rows, targets], 1).T, correction=0)
    assert torch.allclose(moments.cross_covariance, both[:8, 8:])


def test_moments_are_in_double_precision_whatever_the_features():
    # In float32, the variance of features far from zero would be lost.
    rows = torch.randn(4000, 2) * 1e-3 + 30
    moments = Moments(2)
    for part in rows.split(500):
        moments.add(part.T[None, ..., None])
    assert torch.allclose(moments.covariance, torch.cov(rows.double().T, correction=0), rtol=1e-4)


def test_moments_survive_a_file():
    rows, weight = features(1)
    moments = moments_of(rows, rows @ weight.T)
    other = Moments(8, 3)
    other.load(moments.state())
    other.load(moments.state(), add=True)
    assert other.count == 2 * moments.count
    assert torch.allclose(other.covariance, moments.covariance)


@pytest.mark.parametrize('seed', range(6))
def test_elimination_finds_nearly_the_best_subset(seed):
    rows, weight = features(seed)
    targets = rows @ weight.T
    order = elimination_order(torch.cov(rows.T, correction=0), weight, ridge=1e-9)
    errors = {subset: least_squares_error(rows, targets, list(subset))
              for subset in itertools.combinations(range(8), 6)}
    found = errors[tuple(kept_channels(order, 8, 6).tolist())]
    # Backward elimination is greedy: the best subset is not promised, but one of the few best.
    assert found in sorted(errors.values())[:3]
    assert found <= 2 * min(errors.values())


@pytest.mark.parametrize('seed', range(3))
def test_every_step_leaves_out_the_channel_that_costs_least(seed):
    rows, weight = features(seed)
    targets = rows @ weight.T
    order = elimination_order(torch.cov(rows.T, correction=0), weight, ridge=1e-12)
    left = list(range(8))
    for channel in order.tolist():
        errors = {other: least_squares_error(rows, targets, [c for c in left if c != other]) for other in left}
        assert errors[channel] == pytest.approx(min(errors.values()), rel=1e-6)
        left.remove(channel)


def test_a_channel_without_a_use_goes_first_and_a_copy_before_what_has_none():
    rows, weight = features(4)
    rows[:, 5] = rows[:, 2]
    weight[:, 7] = 0
    order = elimination_order(torch.cov(rows.T, correction=0), weight, ridge=1e-9).tolist()
    assert set(order[:2]) < {2, 5, 7}
    assert 7 in order[:2]


def test_elimination_stops_at_the_smallest_width():
    rows, weight = features(0)
    covariance = torch.cov(rows.T, correction=0)
    order = elimination_order(covariance, weight)
    assert sorted({*order.tolist(), int(kept_channels(order, 8, 1))}) == list(range(8))
    assert elimination_order(covariance, weight, keep=5).tolist() == order[:3].tolist()


@given(seed=st.integers(0, 1000), width=st.integers(1, 8))
def test_widths_are_nested(seed, width):
    rows, weight = features(seed, rows=40)
    order = elimination_order(torch.cov(rows.T, correction=0), weight)
    kept = kept_channels(order, 8, width)
    assert len(kept) == width
    assert set(kept.tolist()) <= set(kept_channels(order, 8, min(8, width + 1)).tolist())
    assert kept.tolist() == sorted(kept.tolist())


@given(seed=st.integers(0, 1000), ridge=st.sampled_from([1e-6, 1e-3, .1]), with_prior=st.booleans())
def test_ridge_fit_is_that_of_lstsq(seed, ridge, with_prior):
    rows, weight = features(seed)
    targets = rows @ weight.T + torch.randn(200, 3, dtype=torch.float64)
    kept = [0, 2, 3, 7]
    prior = torch.randn(3, 4, dtype=torch.float64) if with_prior else None
    fit = fit_of(moments_of(rows, targets), kept, prior, ridge)
    centred, wanted = rows[:, kept] - rows[:, kept].mean(0), targets - targets.mean(0)
    strength = absolute_ridge(torch.cov(rows[:, kept].T, correction=0), ridge) * len(rows)
    start = torch.zeros(4, 3, dtype=torch.float64) if prior is None else prior.T
    system = torch.cat([centred, strength**.5 * torch.eye(4, dtype=torch.float64)])
    values = torch.cat([wanted, strength**.5 * start])
    expected = torch.linalg.lstsq(system, values).solution
    assert torch.allclose(fit.weight.T, expected, rtol=1e-6, atol=1e-8)
    predicted = rows[:, kept] @ fit.weight.T + fit.bias
    assert torch.allclose(predicted.mean(0), targets.mean(0))
    assert torch.allclose((predicted - targets).square().mean(0), fit.error, rtol=1e-6)
    assert torch.allclose((rows[:, kept] @ fit.weight.T).mean(0), fit.mean)
    assert torch.allclose((rows[:, kept] @ fit.weight.T).var(0, correction=0), fit.variance)


def test_the_fit_of_all_channels_is_what_was_there():
    rows, weight = features(3)
    fit = fit_of(moments_of(rows, rows @ weight.T + 2), list(range(8)), prior=weight, ridge=10.)
    assert torch.allclose(fit.weight, weight)
    assert torch.allclose(fit.bias, torch.full((3, ), 2, dtype=torch.float64))


@pytest.mark.parametrize('seed', range(3))
def test_a_convolution_with_bn_computes_the_fit_in_both_modes(seed, randomize):
    rows, weight = features(seed, rows=400)
    fit = fit_of(moments_of(rows, rows @ weight.T), list(range(6)))
    layer = randomize(ConvModule(6, 3, 1, norm_cfg=dict(type='BN'), act_cfg=None), seed).double()
    written = normalised(fit, layer.norm.running_var, layer.norm.eps)
    with torch.no_grad():
        layer.conv.weight.copy_(written.weight[..., None, None])
        layer.norm.running_mean.copy_(written.running_mean)
        layer.norm.weight.copy_(written.scale)
        layer.norm.bias.copy_(written.shift)
        running_var = layer.norm.running_var.clone()
        layer.norm.running_var.copy_(written.running_var)
    x = rows[:, :6].T[None, ..., None]
    expected = (rows[:, :6] @ fit.weight.T + fit.bias).T[None, ..., None]
    assert torch.allclose(layer.eval()(x), expected)
    assert torch.allclose(layer.train()(x), expected)
    assert torch.allclose(written.running_var, running_var)


def test_a_dead_output_is_written_without_a_division_by_zero():
    rows, weight = features(0)
    weight[1] = 0
    fit = fit_of(moments_of(rows, rows @ weight.T + 1), list(range(6)))
    written = normalised(fit, torch.ones(3), 1e-5)
    assert all(tensor.isfinite().all() for tensor in written)
    assert float(written.shift[1]) == pytest.approx(1)


def test_folded_is_the_convolution_with_its_bn_in_evaluation_mode(randomize):
    layer = randomize(ConvModule(5, 4, 1, norm_cfg=dict(type='BN'), act_cfg=None)).eval()
    norm = layer.norm
    weight, bias = folded(layer.conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    x = torch.randn(2, 5, 3, 3)
    expected = nn.functional.conv2d(x, weight.float()[..., None, None], bias.float())
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize(('samples', 'ridge'), [(10, .1), (100, .1), (173, .1**2.5), (300, 1e-4), (10**6, 1e-4)])
def test_few_samples_get_a_larger_ridge(samples, ridge):
    assert ridge_of(samples, 100) == pytest.approx(ridge, rel=.01)


def test_with_few_samples_the_larger_ridge_is_better():
    """Of 120 samples of 100 features, on samples that the fit did not see."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2000, 100, generator=generator, dtype=torch.float64)
    target = features @ torch.randn(100, 3, generator=generator, dtype=torch.float64) / 10
    target += .5 * torch.randn(2000, 3, generator=generator, dtype=torch.float64)

    def error(ridge):
        moments = Moments(100, 3)
        moments.add(features[:120].T.reshape(1, 100, 1, -1), target[:120].T.reshape(1, 3, 1, -1))
        fit = ridge_fit(moments.mean, moments.covariance, moments.mean_target, moments.cross_covariance,
                        moments.target_variance, ridge=ridge)
        return float((features[120:] @ fit.weight.T + fit.bias - target[120:]).square().mean())

    assert error(ridge_of(120, 100)) < .8 * error(1e-4)
