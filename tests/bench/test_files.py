import pytest

from bench.errors import StoreError
from bench.files import atomic_path, atomic_write, sha256
from bench.record import RunFolder


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path):
    atomic_write(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write") as caught:
        atomic_write(tmp_path / "file" / "below", b"")
    assert "\n" not in str(caught.value)


def test_a_folder_s_hash_is_that_of_its_files_names_and_contents(tmp_path):
    atomic_write(tmp_path / "a" / "one", b"1")
    atomic_write(tmp_path / "b" / "one", b"1")
    atomic_write(tmp_path / "b" / ".hidden", b"2")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    (tmp_path / "b" / "one").rename(tmp_path / "b" / "two")
    assert sha256(tmp_path / "a") != sha256(tmp_path / "b")


def test_locking_a_folder_removes_temporary_files_of_killed_processes(tmp_path):
    folder = RunFolder(tmp_path / ("a" * 20))
    others = {"record.json", "confusion.png", ".DS_Store", ".nfs000000000a1b2c3d", ".gitignore"}
    with folder.locked(lambda: None), atomic_path(folder.path / "confusion.png") as half:
        leftovers = {f"{half.name[:-8]}0abc_xyz", half.name}
    for name in others | leftovers:
        (folder.path / name).touch()
    (folder.path / ".pull-abcd_123").mkdir()
    (folder.path / ".pull-abcd_123" / "record.json").touch()
    (folder.path / ".link.abcd_123").symlink_to(tmp_path)
    with folder.locked(lambda: None):
        assert {path.name for path in folder.path.iterdir()} == others
    assert tmp_path.is_dir()
