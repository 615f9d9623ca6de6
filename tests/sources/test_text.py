"""What of a source file counts."""

from __future__ import annotations

import pytest

from clbench.errors import ConfigError
from clbench.sources.text import digest, normalised, parsed

CODE = 'def f(x):\n    y = """a  \n\n# no comment\n"""\n    return x + 1, y\n'


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\n" + CODE,
        CODE.replace("x + 1, y", "x + 1, y  # why"),
        CODE.replace("    return", "\n   \n    # a remark\n    return"),
        CODE.replace("x + 1, y\n", "x + 1, y   \n\n\n"),
    ],
)
def test_comments_blank_lines_and_spaces_at_the_ends_of_lines_do_not_count(same: str) -> None:
    assert normalised(same) == normalised(CODE)


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("x + 1", "x + 2"),
        CODE.replace("a  \n", "a \n"),
        CODE.replace("# no comment\n", ""),
        CODE.replace('"""a  \n\n', '"""a  \n'),
        CODE.replace("    y", "  y").replace("    return", "  return"),
    ],
)
def test_code_and_texts_in_quotes_count(other: str) -> None:
    assert normalised(other) != normalised(CODE)


def test_the_digest_is_the_same_on_every_machine_and_under_every_version_of_python() -> None:
    formatted = 'def g(x):\n    return f"""{x}  # no comment\n\n  {x!r:>{4}}"""  # a comment\n'
    assert normalised(formatted) == 'def g(x):\n    return f"""{x}  # no comment\n\n  {x!r:>{4}}"""'
    assert digest(normalised(formatted)) == "e968cf8b93dcdafa"
    windows = formatted.replace("\n", "\r\n").encode()
    assert parsed(windows, "g.py").digest == parsed(b"\xef\xbb\xbf" + formatted.encode(), "g.py").digest == "e968cf8b93dcdafa"
    latin = "# -*- coding: latin-1 -*-\nx = 'é'\n"
    assert parsed(latin.encode("latin-1"), "x.py").digest == parsed("x = 'é'\n".encode(), "x.py").digest


@pytest.mark.parametrize("content", [b"def f(:\n", b"x = '\xff'\n", b"x = 0\0\n", b"  x = 1\n"])
def test_a_file_that_is_not_python_is_named(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"helper.py.* cannot be read as Python"):
        parsed(content, "helper.py")
