"""The digest of a folder's source."""

from clbench.utils.own_code import source_sha256


def made(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return source_sha256(folder)


def test_the_digest_follows_names_and_contents_of_python_files(tmp_path):
    usual = made(tmp_path / "a", one_py="x = 1", two_py="y = 2", text_md="words")
    assert made(tmp_path / "b", one_py="x = 1", two_py="y = 2", text_md="other words") == usual
    others = [
        made(tmp_path / "c", one_py="x = 2", two_py="y = 2"),
        made(tmp_path / "d", one_py="x = 1", three_py="y = 2"),
        made(tmp_path / "e", one_py="x = 1"),
    ]
    assert len({usual, *others}) == 4


def test_the_package_has_a_digest():
    assert len(source_sha256()) == 64
