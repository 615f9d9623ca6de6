"""The layout of JSON files: the same values, in lines that people can read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clbench.utils.json_layout import dumps

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_values_are_read_back(value):
    assert json.loads(dumps(value)) == json.loads(json.dumps(value))


def test_a_matrix_has_a_line_per_row_and_an_event_one_line():
    text = dumps({"events": [{"kind": "task", "task": 0}], "matrix": [[[1, 2], None], [[3, 4], [5, 6]]], "n": [1, 2.5]})
    lines = [
        "{",
        ' "events": [',
        '  {"kind": "task", "task": 0}',
        " ],",
        ' "matrix": [',
        "  [[1,2],null],",
        "  [[3,4],[5,6]]",
        " ],",
    ]
    assert text.splitlines() == [*lines, ' "n": [1,2.5]', "}"]


def test_a_matrix_of_many_tasks_takes_few_bytes_an_entry():
    matrix = [[[321, 355]] * 200 for _ in range(200)]
    assert len(dumps({"matrix": matrix})) < 11 * 200 * 200


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [[float("-inf")]]}])
def test_infinities_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(value)


@pytest.mark.parametrize("value", [object(), [object()], {"a": {1, 2}}, {(1, 2): 3}])
def test_other_objects_are_refused(value):
    with pytest.raises(TypeError):
        dumps(value)


@pytest.mark.parametrize("value", [{1: "a", None: [1], 2.5: {}}, {True: [[1]]}, (1, (2, 3)), {}, [], [[]], [{}], "x"])
def test_keys_and_tuples_as_json_writes_them(value):
    assert json.loads(dumps(value)) == json.loads(json.dumps(value))
