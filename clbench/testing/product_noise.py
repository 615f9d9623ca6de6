"""Noise in every matrix product and convolution on a CPU: another processor's rounding, made on this one.

    with product_noise(1e-6):
        result = run(method="er", scenario="split_digits")

Processors, thread counts and libraries add the terms of a product in different orders. Results then differ in the last bits of
single precision, and training may amplify the difference. The noise here is some ten times as large as such a difference. What
stays the same under the noise is thus the same on other processors. `tools/stability.py` measures runs in this way, and
`CLBENCH_TEST_NOISE` adds the noise to the tests.

Each number y of a result becomes y · (1 + amount · z). z has mean 0 and standard deviation 1, and it depends only on the bits of
y and on a seed. The same product therefore gives the same bits again. Two ways to compute one product get different noise if
they are rounded differently.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, get_kernel

PRODUCTS = (
    *("aten::mm", "aten::mm.out", "aten::addmm", "aten::addmm_", "aten::addmm.out", "aten::_addmm_activation"),
    *("aten::bmm", "aten::bmm.out", "aten::baddbmm", "aten::baddbmm_", "aten::baddbmm.out", "aten::addbmm"),
    *("aten::addmv", "aten::addmv_", "aten::addmv.out", "aten::dot"),
    *("aten::convolution", "aten::convolution_backward", "mkldnn::_linear_pointwise"),
    *("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_flash_attention_for_cpu_backward"),
)
"""Operators of torch that multiply matrices on a CPU. All others (`linear`, `matmul`, `mv`, `einsum`) call one of these."""


@contextmanager
def product_noise(amount: float, seed: int = 0) -> Iterator[None]:
    """Add noise to the products of this process while the context is open.

    Products in double precision are left alone. In half precision a small noise rarely changes how a number is rounded. There a
    share `amount` / eps of the numbers moves by one unit in the last place.

    Args:
        amount: standard deviation of the relative noise; 0 adds none.
        seed: chooses the noise.

    Raises:
        ValueError: `amount` is negative or not below 0.001.
    """
    if not 0 <= amount < 1e-3:
        raise ValueError(f"amount={amount}: give a relative noise of at least 0 and below 0.001, such as 1e-6")
    if not amount:
        yield
        return
    libraries: dict[str, Any] = {name: Library(name, "IMPL") for name in ("aten", "mkldnn")}  # type: ignore[no-untyped-call]
    try:
        for operator in PRODUCTS:
            if torch._C._dispatch_has_computed_kernel_for_dispatch_key(operator, "CPU"):
                libraries[operator.partition("::")[0]].impl(operator, _noisy(operator, amount, seed), "CPU", with_keyset=True)
        yield
    finally:
        for library in libraries.values():
            library._destroy()  # torch has no public way to take a kernel back


def _noisy(operator: str, amount: float, seed: int) -> Callable[..., Any]:
    usual = get_kernel(operator, "CPU")
    multiplier = multiplier_of(seed)

    def kernel(keys: Any, *args: Any, **options: Any) -> Any:
        found = usual.call_boxed(keys, *args, **options)
        for result in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(result, Tensor):
                disturb(result, amount, multiplier)
        return found

    return kernel


def multiplier_of(seed: int) -> int:
    """Return an odd number of 32 bits that chooses the noise of `seed`."""
    return random.Random(seed).getrandbits(31) | 1


def disturb(values: Tensor, amount: float, multiplier: int) -> None:
    """Multiply single or half precision `values` of any shape in place by 1 + `amount` · noise.

    The noise is multiplicative hashing of the bits (Knuth, TAOCP 3, section 6.4): a product with an odd number, modulo 2^32.
    """
    if values.dtype not in (torch.float32, torch.bfloat16, torch.float16) or not values.numel():
        return
    uniform = values.detach().float().view(torch.int32).mul(multiplier).float()  # from -2^31 to 2^31
    unit = torch.finfo(values.dtype).eps
    if amount >= unit:
        values.mul_(uniform.mul_(math.sqrt(3) * amount / 2**31).add_(1))
    else:  # smaller than a unit in the last place: a few numbers move by a whole unit
        moves = (uniform.abs() < 2**31 * amount / unit).float() * uniform.sign()
        values.mul_(moves.mul_(unit).add_(1).to(values.dtype))
