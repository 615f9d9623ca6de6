"""Stand-ins call their function and do not lead to it."""

import gc
import weakref

import pytest

from clbench.testing.reach import reachable, reachable_by_collector
from clbench.utils.detached import detached


class Owner:
    def __init__(self):
        self.calls = []

    def take(self, *values):
        self.calls.append(values)


@pytest.mark.parametrize("walk", [reachable, reachable_by_collector])
def test_a_call_arrives_and_no_way_leads_to_the_function(walk):
    owner = Owner()
    with detached(owner.take) as stand_in:
        stand_in(1, 2)
        assert not any(value is owner for _, value in walk({"stand-in": stand_in}))
        assert any(value is owner for _, value in walk({"method": owner.take}))
    assert owner.calls == [(1, 2)]


def test_after_the_block_a_call_does_nothing_and_the_function_is_free():
    owner = Owner()
    with detached(owner.take) as first, detached(owner.take) as second:
        second()
    first()
    second()
    assert owner.calls == [()]
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_an_error_ends_the_block_too():
    owner = Owner()
    with pytest.raises(ValueError, match="stop"), detached(owner.take) as stand_in:
        raise ValueError("stop")
    stand_in()
    assert owner.calls == []
