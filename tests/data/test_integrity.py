import gzip
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from clbench.data import integrity
from clbench.data.content_digest import data_sha256
from clbench.data.integrity import find, find_all, folder_digest, search_path, verify, verify_unpacked
from clbench.errors import ConfigError, DataError
from tests.data.files import md5, sha256


def test_needs_neither_torch_nor_numpy():
    code = "import sys, clbench.data.content_digest; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_search_path_is_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLBENCH_DATA", os.pathsep.join(["/a", "", str(tmp_path)]))
    monkeypatch.setenv("HOME", "/home/someone")
    assert search_path(None) == [Path("/a"), tmp_path, Path("/home/someone/.cache/clbench")]
    monkeypatch.delenv("CLBENCH_DATA")
    assert search_path("") == [Path("/home/someone/.cache/clbench")]


def test_data_root_replaces_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("CLBENCH_DATA", "/a")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    assert search_path(os.pathsep.join(["~/d", "e"])) == [Path("/home/someone/d"), tmp_path / "e"]


def test_find_takes_the_first_folder_that_has_it(tmp_path):
    for name in ("b", "c"):
        (tmp_path / name / "x").mkdir(parents=True)
    search = [tmp_path / name for name in "abc"]
    assert find(search, "x", "set", "") == tmp_path / "b" / "x"
    assert find(search, str(tmp_path / "c"), "set", "") == tmp_path / "c"


def test_missing_file_is_named_with_where_and_how(tmp_path):
    with pytest.raises(DataError) as caught:
        find([tmp_path / "a", tmp_path / "b"], "x/y.npz", "toy", "do this")
    assert "toy" in caught.value.what
    assert "x/y.npz" in caught.value.what
    assert str(tmp_path / "a") in caught.value.what
    assert str(tmp_path / "b") in caught.value.what
    assert caught.value.remedy == "do this"


def test_files_must_lie_in_one_folder(tmp_path):
    for place in ("a/one", "a/two", "b/two", "c/one", "c/two", "c/three"):
        (tmp_path / place).mkdir(parents=True)
    assert find_all([tmp_path / n for n in "abc"], ["one", "two", "three"], "set", "") == tmp_path / "c"
    with pytest.raises(DataError, match=r"three is missing in .*a, which holds other files"):
        find_all([tmp_path / "b", tmp_path / "a"], ["one", "two", "three"], "set", "")


def test_an_empty_search_path_says_so():
    with pytest.raises(DataError, match="search path for data is empty"):
        find([], "x", "set", "")


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:5] + bytes([b[5] ^ 1]) + b[6:], lambda b: b"", lambda b: b + b"\0"],
    ids=["cut short", "one bit", "empty", "longer"],
)
def test_verify_notices_every_damage(tmp_path, damage):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1000))
    sums = {"sha256": sha256(path), "md5": md5(path)}
    for algorithm, expected in sums.items():
        verify(path, expected, algorithm)
    path.write_bytes(damage(path.read_bytes()))
    for algorithm, expected in sums.items():
        with pytest.raises(DataError) as caught:
            verify(path, expected, algorithm, "fetch it")
        assert str(path) in caught.value.what
        assert expected in caught.value.what
        assert str(path.stat().st_size) in caught.value.what
        assert "fetch it" in caught.value.remedy


def test_verify_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(DataError, match="gone cannot be read"):
        verify(tmp_path / "gone", "0" * 64)


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    expected = sha256(path)
    verify(path, expected)
    reads = []
    monkeypatch.setattr(integrity.hashlib, "file_digest", lambda *a: reads.append(a) or pytest.fail("read again"))
    verify(path, expected)
    assert not reads


def test_unpacked_file_is_compared_with_its_archive(tmp_path):
    plain, packed, zipped = tmp_path / "x", tmp_path / "x.gz", tmp_path / "all.zip"
    plain.write_bytes(b"content" * 100)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(packed, "folder/x.gz")
    verify_unpacked(plain, packed, "")
    verify_unpacked(plain, zipped, "folder/x.gz")
    plain.write_bytes(b"Content" * 100)
    for archive, member in ((packed, ""), (zipped, "folder/x.gz")):
        with pytest.raises(DataError, match="x is damaged"):
            verify_unpacked(plain, archive, member)


@pytest.mark.parametrize(("name", "member"), [("short.gz", ""), ("none.gz", ""), ("bad.zip", "x"), ("plain.gz", "")])
def test_archive_that_cannot_be_unpacked_is_named(tmp_path, name, member):
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "short.gz").write_bytes(gzip.compress(os.urandom(1000))[:500])
    (tmp_path / "bad.zip").write_bytes(b"PK")
    (tmp_path / "plain.gz").write_bytes(b"not packed")
    with pytest.raises(DataError, match=f"{name} cannot be unpacked"):
        verify_unpacked(tmp_path / "x", tmp_path / name, member)


class TestIdentity:
    def test_content_stands_before_files(self):
        assert data_sha256({"content_sha256": "abc", "files": {"x": "1"}}, []) == "abc"

    def test_declared_sums_need_no_files(self):
        first = data_sha256({"files": {"x": "1", "y": "2"}, "md5": {}}, [])
        assert first == data_sha256({"name": "other", "files": {"y": "2", "x": "1"}}, [])
        assert (
            len(
                {
                    first,
                    data_sha256({"files": {"x": "1", "y": "3"}}, []),
                    data_sha256({"files": {"x": "1", "z": "2"}}, []),
                    data_sha256({"md5": {"x": "1", "y": "2"}}, []),
                }
            )
            == 4
        )

    def test_own_file_counts_by_content_not_by_place(self, tmp_path, monkeypatch):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"{name}.npz").write_bytes(b"same")
        assert data_sha256({"path": "a.npz"}, [tmp_path / "a"]) == data_sha256({"path": str(tmp_path / "b" / "b.npz")}, [])
        monkeypatch.chdir(tmp_path / "b")
        assert data_sha256({"path": "b.npz"}, [tmp_path / "a"]) == sha256(tmp_path / "b" / "b.npz")

    def test_own_folder_counts_by_names_and_content(self, tmp_path):
        path = tmp_path / "data" / "class" / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
        node = {"path": "data"}
        digests = [data_sha256(node, [tmp_path])]
        assert digests[0] == folder_digest(tmp_path / "data")
        (tmp_path / "data" / "class" / ".hidden").write_bytes(b"1")
        (tmp_path / "data" / ".git").mkdir()
        (tmp_path / "data" / ".git" / "x").write_bytes(b"1")
        assert data_sha256(node, [tmp_path]) == digests[0]
        (tmp_path / "data" / "class" / "2.png").write_bytes(b"1")
        digests.append(data_sha256(node, [tmp_path]))
        path.rename(path.with_name("0.png"))
        digests.append(data_sha256(node, [tmp_path]))
        path.with_name("0.png").write_bytes(b"other")
        digests.append(data_sha256(node, [tmp_path]))
        assert len(set(digests)) == 4

    def test_no_path_given(self):
        with pytest.raises(ConfigError) as caught:
            data_sha256({"name": "npz", "path": None}, [])
        assert "scenario.dataset.path=" in caught.value.remedy

    def test_nothing_declared(self):
        with pytest.raises(ConfigError, match="its content is not declared"):
            data_sha256({"name": "mine"}, [])

    def test_path_that_is_not_there(self, tmp_path):
        with pytest.raises(DataError, match=r"mine: no\.npz was not found"):
            data_sha256({"name": "mine", "path": "no.npz"}, [tmp_path])
