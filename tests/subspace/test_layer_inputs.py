"""Rows: multiplied with the weight they give the layer's own forward."""

import pytest
import torch
from torch import nn

from clbench import subspace

D = torch.float64


def rows_of(layer, *inputs, which=0, **named):
    return subspace.weights(layer)[which].rows(layer, (inputs, named))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 1},
        {"padding": (1, 2), "stride": (2, 1)},
        {"dilation": 2},
        {"groups": 2},
        {"groups": 4, "padding": 2, "stride": 2},
        {"padding": 1, "padding_mode": "reflect"},
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_convolution_rows_give_the_layers_own_forward(options, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3, bias=bias, dtype=D, **options)
    x = torch.randn(2, 4, 9, 8, dtype=D)
    out = layer(x)
    rows = rows_of(layer, x)
    if bias:
        rows = subspace.with_one(rows)
    weight = layer.weight.flatten(1)
    if bias:
        weight = torch.cat([weight, layer.bias.unsqueeze(1)], dim=1)
    groups = layer.groups
    positions = out.shape[2] * out.shape[3]
    by_group = rows.reshape(2, groups, positions, -1)
    mine = torch.stack([by_group[:, g] @ weight.chunk(groups)[g].mT for g in range(groups)], dim=1)
    torch.testing.assert_close(mine.permute(0, 1, 3, 2).reshape(out.shape), out)


def test_linear_rows_flatten_leading_axes_and_append_the_constant():
    layer = nn.Linear(5, 3, dtype=D)
    x = torch.randn(2, 4, 5, dtype=D)
    rows = subspace.with_one(rows_of(layer, x))
    torch.testing.assert_close(rows @ torch.cat([layer.weight, layer.bias[:, None]], 1).mT, layer(x).reshape(-1, 3))


def test_embedding_rows_are_one_hot_and_count_the_tokens():
    layer = nn.Embedding(7, 3, dtype=D)
    tokens = torch.tensor([[1, 4, 1], [4, 4, 6]])
    rows = rows_of(layer, tokens)
    hot = nn.functional.one_hot(tokens.flatten(), 7).to(D)
    torch.testing.assert_close(rows.mT @ rows, hot.mT @ hot)
    assert subspace.weights(layer)[0].transposed
    torch.testing.assert_close(hot @ layer.weight, layer(tokens).reshape(-1, 3))


@pytest.mark.parametrize("bias", [False, True])
def test_attention_rows_are_what_its_two_matrices_multiply(bias):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, bias=bias, batch_first=True, dtype=D)
    query, memory = torch.randn(3, 5, 8, dtype=D), torch.randn(3, 4, 8, dtype=D)
    first, second = subspace.weights(layer)
    assert (first.bias, second.bias) == (("in_proj_bias", "out_proj.bias") if bias else (None, None))
    assert rows_of(layer, query, query, query).shape == (15, 8)  # self-attention: one input
    entering = rows_of(layer, query, memory, memory)
    torch.testing.assert_close(entering, torch.cat([query.reshape(-1, 8), memory.reshape(-1, 8)]))
    torch.testing.assert_close(rows_of(layer, query=query, key=memory, value=memory), entering)
    out = layer(query, memory, memory)[0].reshape(-1, 8)
    context = rows_of(layer, query, memory, memory, which=1)
    torch.testing.assert_close(nn.functional.linear(context, layer.out_proj.weight, layer.out_proj.bias), out)
    away = torch.randn(24, 8, dtype=D)
    away -= away @ torch.linalg.pinv(entering[:4]) @ entering[:4]  # off four of the rows only
    with torch.no_grad():
        layer.in_proj_weight += away
    assert not torch.allclose(layer(query, memory, memory)[0].reshape(-1, 8), out)


def test_attention_that_cannot_be_read_is_refused():
    with pytest.raises(TypeError, match="kdim"):
        subspace.weights(nn.MultiheadAttention(8, 2, kdim=4))
    with pytest.raises(TypeError, match="add_bias_kv"):
        subspace.weights(nn.MultiheadAttention(8, 2, add_bias_kv=True))


def test_other_layers_have_none():
    assert subspace.weights(nn.LSTM(2, 2)) == ()
    with pytest.raises(TypeError, match="by name"):
        rows_of(nn.Conv2d(1, 1, 3, padding="same"), torch.zeros(1, 1, 4, 4))
