"""Stacked products: both ways against einsum."""

from __future__ import annotations

import pytest
import torch

from wavemem.kernels.products import (
    DenseProduct,
    GroupedProduct,
    RoundedProduct,
    as_image,
    grouped_available,
    grouped_pays,
    rounded,
    sum_of_outer_products,
    tanh_backward_,
    tanh_steps,
)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("K", [1, 3])
def test_dense_product_equals_einsum(K: int) -> None:
    weights, sequence = _random(K, 5, 7), _random(K, 4, 6, 7, seed=1)
    expected = torch.einsum("kmn,ktbn->ktbm", weights, sequence)
    product, out = DenseProduct(weights), torch.ones(K, 4, 6, 5)
    for step, target in zip(product.view(sequence), product.view(out), strict=True):
        product.accumulate(target, step)
    torch.testing.assert_close(out, expected + 1.0)
    torch.testing.assert_close(product.apply(product.view(sequence)[2]).view(K, 6, 5), expected[:, 2])


@pytest.mark.parametrize("K", [2, 3])
def test_grouped_product_equals_einsum(K: int) -> None:
    assert grouped_available() or not torch.backends.mkldnn.is_available()
    if grouped_available():
        weights, sequence = _random(K, 5, 7), _random(4, 6, K, 7, seed=1)
        expected = torch.einsum("kmn,tbkn->tbkm", weights, sequence)
        product, out = GroupedProduct(weights, batch=6), torch.ones(4, 6, K, 5)
        for step, target in zip(product.view(sequence), product.view(out), strict=True):
            product.accumulate(target, step)
        torch.testing.assert_close(out, expected + 1.0, rtol=1e-4, atol=1e-5)
        whole = torch.zeros(4, 6, K, 5)
        product.accumulate(as_image(whole), as_image(sequence))
        torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-5)


def test_grouped_product_is_chosen_for_large_float32_only() -> None:
    assert not grouped_pays(torch.zeros(4, 16, 16))
    assert not grouped_pays(torch.zeros(4, 128, 128, dtype=torch.float64))
    assert not grouped_pays(torch.zeros(1, 128, 128))
    assert grouped_pays(torch.zeros(4, 128, 128)) == grouped_available()


@pytest.mark.parametrize("n", [8, 128])
def test_sum_of_outer_products_adds(n: int) -> None:
    left, right = _random(2, 50, n), _random(2, 50, n, seed=1)
    total = torch.ones(2, n, n)
    sum_of_outer_products(total, left, right)
    torch.testing.assert_close(total, torch.einsum("krm,krn->kmn", left, right) + 1.0, rtol=1e-4, atol=1e-4)


def test_sum_of_outer_products_takes_strided_rows() -> None:
    left, right = _random(50, 2, 128), _random(50, 2, 128, seed=1)
    total = torch.zeros(2, 128, 128)
    sum_of_outer_products(total, left.transpose(0, 1), right.transpose(0, 1))
    torch.testing.assert_close(total, torch.einsum("rkm,rkn->kmn", left, right), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-7), (torch.float64, 2e-16)])
def test_tanh_is_as_accurate_as_its_type(dtype: torch.dtype, tolerance: float) -> None:
    x = torch.linspace(-12, 12, 4001, dtype=dtype)
    out = torch.empty_like(x)
    tanh_steps(out[None])(x, 0)
    assert float((out.double() - torch.tanh(x.double())).abs().max()) <= tolerance
    gradient = torch.ones_like(x)
    tanh_backward_(gradient, out)
    torch.testing.assert_close(gradient, 1.0 - out * out)


def test_rounding_keeps_ten_bits_of_mantissa() -> None:
    x = torch.tensor([1.0, 1.0 + 2.0**-10, 1.0 + 2.0**-11, 1.0 + 2.0**-12, -3.0 - 2.0**-10, float("inf"), 0.0])
    expected = torch.tensor([1.0, 1.0 + 2.0**-10, 1.0 + 2.0**-10, 1.0, -3.0 - 2.0**-9, float("inf"), 0.0])
    assert torch.equal(rounded(x), expected)
    drawn = _random(1000)
    assert float(((rounded(drawn) - drawn) / drawn).abs().max()) <= 2.0**-11


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize(("terms", "least", "most"), [(1, 1e-5, 1e-3), (3, 0.0, 1e-6)])
def test_rounded_product_is_as_wrong_as_it_should_be(K: int, terms: int, least: float, most: float) -> None:
    weights, x = _random(K, 30, 40), _random(K, 1, 6, 40, seed=1)
    exact = x[:, 0].double() @ weights.double().mT
    product, out = RoundedProduct(weights, terms), torch.ones(K, 1, 6, 30)
    product.accumulate(product.view(out)[0], product.view(x)[0])
    error = float((out[:, 0] - 1.0 - exact).norm() / exact.norm())
    assert least <= error <= most
    if terms == 1:
        bare = rounded(x[:, 0]).double() @ rounded(weights).double().mT
        torch.testing.assert_close(
            product.apply(product.view(x)[0]).view(K, 6, 30).double(), bare, atol=1e-4, rtol=1e-5
        )
