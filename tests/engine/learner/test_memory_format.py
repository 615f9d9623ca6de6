"""The layout of convolutions is fast where it can be, and safe on processors without AVX-512."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from clbench.engine.learner.memory_format import has_narrow_layer, memory_format

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).parents[3]
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "TORCHDYNAMO_VERBOSE": "0"}
CHECKED = {"MALLOC_CHECK_": "3", "LD_PRELOAD": "libc_malloc_debug.so.0"}
"""glibc looks through its heap at every call; where it is not glibc, nothing is preloaded."""
LIMIT = 300
"""Seconds: a damaged process may hang."""

SAFE = """
import torch, torch.nn.functional as F
last, cases = torch.channels_last, [(8, 1, 2, 1), (1, 1, 2, 1), (4, 1, 1, 1), (4, 3, 2, 1), (3, 7, 4, 1), (2, 2, 2, 1),
                                    (8, 1, 2, 2), (8, 1, 2, 8), (9, 1, 2, 3)]
for channels, kernel, stride, groups in cases:
    x = torch.randn(16, channels, 32, 32)
    w = torch.randn(2 * channels, channels // groups, kernel, kernel)
    found = []
    for layout, kind in ((last, torch.float32), (torch.contiguous_format, torch.float64)):
        leaf = w.to(kind).contiguous(memory_format=layout).requires_grad_()
        image = x.to(kind).contiguous(memory_format=layout)
        made = F.conv2d(image, leaf, stride=stride, groups=groups, padding=kernel // 2)
        found.append(torch.autograd.grad(made.square().mean(), leaf)[0].double())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
print("right")
"""


def run(*command):
    """Run Python with the instruction set held to AVX2 and the heap checked; return what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **AVX2, **CHECKED},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("layer", "narrow"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), True),
        (nn.Conv2d(2, 8, 1, stride=(1, 3)), True),
        (nn.Conv2d(7, 1, 1, stride=4), True),
        (nn.Conv2d(8, 8, 1, stride=2), False),
        (nn.Conv2d(1, 8, 1, stride=2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, stride=2), False),
        (nn.Conv2d(3, 64, 7, stride=2), False),
        (nn.Conv2d(16, 16, 1, stride=2, groups=4), False),
        (nn.Linear(4, 4), False),
    ],
)
def test_a_strided_convolution_of_few_inputs_is_narrow(layer, narrow):
    assert has_narrow_layer(nn.Sequential(nn.Conv2d(3, 16, 3), layer)) is narrow


def test_a_weight_that_is_no_layers_own_counts_if_it_could_be_one():
    class Own(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, inputs, 1, 1))

    assert has_narrow_layer(Own(4))
    assert not has_narrow_layer(Own(16))


def test_only_narrow_networks_lose_the_fast_layout_and_only_on_a_cpu():
    wide, narrow = nn.Conv2d(16, 16, 1, stride=2), nn.Conv2d(4, 16, 1, stride=2)
    assert memory_format(wide, CPU) is torch.channels_last
    assert memory_format(narrow, CPU) is torch.contiguous_format
    assert memory_format(narrow, CUDA) is torch.channels_last
    assert memory_format(nn.Linear(3, 3), CPU) is None


def test_the_layouts_that_are_used_are_right_without_avx512():
    assert run("-c", SAFE) == ["right"]


def test_a_narrow_network_trains_without_avx512():
    assert run("-m", "tests.engine.narrow_network") == ["finite"]


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile wants a C++ compiler")
def test_a_narrow_network_trains_compiled_without_avx512():
    found = run("-m", "tests.engine.narrow_network", "compile")
    if found[:3] == ["runner.compile:", "not", "compiled:"]:  # a compiler without Python's headers, say
        pytest.skip(" ".join(found))
    assert found == ["finite"]
