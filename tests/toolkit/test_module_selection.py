"""Names of modules, matched at dots."""

import pytest
from torch import nn

from clbench.errors import ConfigError, RefusedError
from clbench.toolkit.module_selection import linear_kinds, modules_named, refuse_tied


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"proj": nn.Linear(2, 2), "q_proj": nn.Linear(2, 2)}) for _ in range(12))
        self.attention = nn.MultiheadAttention(4, 2)
        self.conv = nn.Conv2d(1, 1, 1)


@pytest.mark.parametrize(
    ("targets", "count"),
    [(["proj"], 12), (["q_proj"], 12), (["layers.1.proj"], 1), (["1.proj", "11.q_proj"], 2), ("all-linear", 24)],
)
def test_endings_match_whole_parts(targets, count):
    assert len(modules_named(Net(), targets, linear_kinds())) == count


def test_attention_that_reads_its_own_weights_is_not_among_them():
    assert not any("attention" in name for name in modules_named(Net(), "all-linear", linear_kinds()))


@pytest.mark.parametrize("targets", [["oj"], ["proj", "k_proj"], ["attention.out_proj"], ["conv"], []])
def test_what_matches_nothing_is_an_error(targets):
    with pytest.raises(ConfigError, match=r"method\.targets") as found:
        modules_named(Net(), targets, linear_kinds())
    assert "all-linear" in str(found.value)


def test_a_backbone_without_linear_modules():
    with pytest.raises(ConfigError, match="Sequential has no Linear"):
        modules_named(nn.Sequential(nn.Conv2d(1, 1, 1)), "all-linear", linear_kinds())


@pytest.mark.parametrize("what", ["module", "weight"])
def test_tied_weights_are_refused_by_name(what):
    net = Net()
    if what == "module":
        net.layers[3]["proj"] = net.layers[5]["proj"]
    else:
        net.layers[3]["proj"].weight = net.layers[5]["proj"].weight
    model = nn.ModuleDict({"backbone": net})
    with pytest.raises(RefusedError, match=r"backbone\.layers\.3\.proj is also that of backbone\.layers\.5\.proj"):
        refuse_tied(model, modules_named(net, ["3.proj"], linear_kinds()))
    refuse_tied(model, modules_named(net, ["q_proj"], linear_kinds()))


def test_the_transposed_layer_of_transformers_is_one():
    utils = pytest.importorskip("transformers.pytorch_utils")
    net = nn.Sequential(utils.Conv1D(3, 2), nn.Linear(3, 3))
    assert list(modules_named(net, "all-linear", linear_kinds())) == ["0", "1"]
