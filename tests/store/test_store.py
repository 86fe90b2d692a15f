from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent.errors import EdgeAgentError, HashMismatchError, ModelNotFoundError, RequestError, StoreError
from agent.store.durable import Filesystem
from agent.store.store import Store
from tests.store.material import gguf, random_bytes, report, small_store, tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Model m with the versions 1 (active), 2 and 3."""
    store = small_store(tmp_path / "models")
    for seed in (1, 2, 3):
        store.import_gguf(gguf(tmp_path / "m.gguf", seed=seed), "m", None, report())
    return store


# What is active, and what rollback would go to, after each move of a walk; "!" marks a move that is refused.
WALKS = [
    ["1 None", "a2 2 1", "a3 3 2", "b 2 1", "b 1 None", "b! 1 None"],
    ["1 None", "a1 1 None", "b! 1 None"],
    ["1 None", "a2 2 1", "a2 2 1", "a1 1 2", "b 2 None"],
    ["1 None", "a2 2 1", "b 1 None", "a3 3 1", "b 1 None"],
    ["1 None", "a2 2 1", "a3 3 2", "a2 2 3", "b 3 1", "b 1 None"],
    ["1 None", "a2 2 1", "a3 3 2", "r2 3 1", "b 1 None"],
    ["1 None", "a2 2 1", "r2! 2 1", "f2 None None", "b! None None", "a3 3 None"],
]


@pytest.mark.parametrize("walk", WALKS, ids=[" ".join(walk) for walk in WALKS])
def test_activate_rollback_and_remove(store: Store, walk: list[str]) -> None:
    for move in walk:
        *action, active, previous = move.split()
        code = "".join(action)
        refused = code.endswith("!")
        try:
            match code[:1]:
                case "a":
                    assert store.activate("m", code[1]).active
                case "b":
                    assert store.rollback("m").active
                case "r" | "f":
                    store.remove("m", code[1], force=code[0] == "f")
        except RequestError:
            assert refused, move
        else:
            assert not refused, move
        found = next((model.version for model in store.models() if model.active), None)
        assert (str(found), str(store.previous_version("m"))) == (active, previous), move
        reopened = Store(store.layout.root)
        assert reopened.scan() == store.scan()
        assert reopened.previous_version("m") == store.previous_version("m")


def test_history_is_bounded_and_skips_nothing(store: Store) -> None:
    for version in ["2", "3", "1"] * 20:
        store.activate("m", version)
    assert [store.rollback("m").version for _ in range(2)] == ["3", "2"]
    with pytest.raises(RequestError):
        store.rollback("m")


def test_the_listing_has_sizes_and_the_active_flag(store: Store, tmp_path: Path) -> None:
    store.import_gguf(gguf(tmp_path / "a.gguf", count=77), "a", "v1", report())
    listed = [(model.name, model.version, model.active, model.total_bytes) for model in store.models()]
    assert listed == [("a", "v1", True, 77), ("m", "1", True, 5000), ("m", "2", False, 5000), ("m", "3", False, 5000)]
    assert store.scan().broken == ()


def test_versions_are_listed_by_number(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    for seed, version in enumerate(["10", "v2", "9", "2"]):
        store.import_gguf(gguf(tmp_path / "m.gguf", seed=seed), "m", version, report())
    assert [model.version for model in store.models()] == ["2", "9", "10", "v2"]


def file_missing(version: Path) -> None:
    (version / "model.gguf").unlink()


def file_short(version: Path) -> None:
    os.truncate(version / "model.gguf", 10)


def file_is_a_link(version: Path) -> None:
    (version / "model.gguf").unlink()
    (version / "model.gguf").symlink_to("/etc/passwd")


def manifest_missing(version: Path) -> None:
    (version / "manifest.json").unlink()


def manifest_empty(version: Path) -> None:
    (version / "manifest.json").write_text("")


def manifest_of_another(version: Path) -> None:
    shutil.copy(version.parent / "2" / "manifest.json", version / "manifest.json")


def manifest_pipe(version: Path) -> None:
    (version / "manifest.json").unlink()
    os.mkfifo(version / "manifest.json")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (file_missing, "model.gguf: No such file"),
        (file_short, "model.gguf has 10 bytes; the manifest says 5000"),
        (file_is_a_link, "model.gguf is not a regular file"),
        (manifest_missing, "manifest.json: No such file"),
        (manifest_empty, "manifest.json: not valid JSON"),
        (manifest_of_another, "manifest.json is that of m 2"),
        (manifest_pipe, "manifest.json: not a regular file"),
    ],
)
def test_a_broken_version_is_listed_with_its_reason_and_can_be_removed(
    store: Store, damage: object, reason: str
) -> None:
    assert callable(damage)
    damage(store.layout.version("m", "1"))
    listing = Store(store.layout.root).scan()
    assert [model.version for model in listing.models] == ["2", "3"]
    (broken,) = listing.broken
    assert (broken.name, broken.version, broken.active) == ("m", "1", True)
    assert reason in broken.reason
    for use in (store.active, lambda name: store.verify(name, "1"), lambda name: store.get(name, "1")):
        with pytest.raises(StoreError, match="broken on disk"):
            use("m")
    store.activate("m", "2")
    assert store.previous_version("m") == "1"
    with pytest.raises(StoreError, match="broken on disk"):
        store.rollback("m")
    store.remove("m", "1")
    assert store.scan().broken == ()
    assert store.previous_version("m") is None


def test_verify_names_the_file_whose_bytes_changed(store: Store) -> None:
    seen: list[tuple[int, int]] = []
    store.verify("m", "2", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5000, 5000)
    path = store.get("m", "2").main_path
    data = bytearray(path.read_bytes())
    data[2500] ^= 1
    path.write_bytes(data)
    with pytest.raises(HashMismatchError, match=r"model\.gguf of m 2") as caught:
        store.verify("m", "2")
    assert caught.value.param == "model.gguf"
    store.verify("m", "1")


@pytest.mark.parametrize("name", ["nobody", "..", "", ".staging", "a/b", "m/1", "\0"])
def test_a_model_that_is_not_there(store: Store, name: str) -> None:
    before = tree(store.layout.root)
    for act in (
        store.active,
        store.rollback,
        store.remove,
        lambda name: store.get(name, "1"),
        lambda name: store.activate(name, "1"),
        lambda name: store.verify(name, "1"),
        lambda name: store.remove(name, "1", force=True),
    ):
        with pytest.raises(ModelNotFoundError):
            act(name)
    assert store.previous_version(name) is None
    assert tree(store.layout.root) == before


@pytest.mark.parametrize("version", ["4", "current", "..", ".history", "", "../m/1"])
def test_a_version_that_is_not_there(store: Store, version: str) -> None:
    before = tree(store.layout.root)
    for act in (store.get, store.activate, store.verify, store.remove):
        with pytest.raises(ModelNotFoundError, match="there are 1, 2, 3"):
            act("m", version)
    assert tree(store.layout.root) == before


def test_removing_the_only_version_or_the_whole_model_leaves_nothing(store: Store, tmp_path: Path) -> None:
    store.import_gguf(gguf(tmp_path / "a.gguf"), "a", "1", report())
    store.remove("a", "1")
    store.remove("m")
    assert tree(store.layout.root) == {".staging": "folder", ".trash": "folder"}


def test_a_hostile_current_link_is_no_active_version(store: Store) -> None:
    current = store.layout.current("m")
    for target in ("../../../etc", "/etc", "9", "current", ".history"):
        current.unlink(missing_ok=True)
        current.symlink_to(target)
        with pytest.raises(ModelNotFoundError, match="No version of m is active"):
            store.active("m")
        assert not any(model.active for model in store.models())
    assert Store(store.layout.root).models() == store.models()
    assert not current.is_symlink()
    assert store.activate("m", "2").active


@pytest.mark.parametrize("junk", [b"", b"{", b'{"a":1}', b"[1]", b'["../../x"]', b'["9"]', b"[" * 100_000, b"\xff"])
def test_a_damaged_history_is_no_history(store: Store, junk: bytes) -> None:
    store.activate("m", "2")
    (store.layout.history_folder("m") / "2").write_bytes(junk)
    assert store.previous_version("m") is None
    assert store.active("m").version == "2"
    store.activate("m", "3")
    assert store.previous_version("m") == "2"


def test_what_is_not_ours_is_left_alone(store: Store) -> None:
    root = store.layout.root
    (root / "notes.txt").write_text("mine")
    (root / "own folder").mkdir()
    (root / "odd").mkdir()
    (root / "odd" / "file").write_text("mine")
    (root / "elsewhere").symlink_to("/etc")
    before = tree(root)
    reopened = Store(root)
    assert tree(root) == before
    assert {model.name for model in reopened.models()} == {"m"}


def test_something_in_the_way_of_a_model_is_an_error(store: Store, tmp_path: Path) -> None:
    root = store.layout.root
    (root / "file").write_text("mine")
    (root / "link").symlink_to("m")
    (root / "m" / "7").write_text("mine")
    for name, version in (("file", None), ("link", None), ("m", "7")):
        with pytest.raises(StoreError, match="is not a folder"):
            store.import_gguf(gguf(tmp_path / "x.gguf", seed=9), name, version, report())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_user_who_may_only_read_can_list(store: Store, tmp_path: Path) -> None:
    for parent in [tmp_path, *tmp_path.parents][:4]:
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setuid(65534)
            other = Store(store.layout.root)
            assert len(other.models()) == 3
            assert other.active("m").version == "1"
            try:
                other.activate("m", "2")
            except StoreError:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path / "file" / "models")


def test_a_disk_error_becomes_a_store_error(store: Store, tmp_path: Path) -> None:
    def fail(step: str) -> None:
        if step.startswith("rename"):
            raise OSError(5, "Input/output error", "x")

    failing = small_store(store.layout.root, filesystem=Filesystem(fail))
    before = tree(store.layout.root)
    source = gguf(tmp_path / "x.gguf", seed=9)
    for act in (
        lambda: failing.import_gguf(source, "m", None, report()),
        lambda: failing.import_gguf(source, "new", None, report()),
        lambda: failing.activate("m", "2"),
        lambda: failing.remove("m", "2"),
    ):
        with pytest.raises(EdgeAgentError, match="Input/output error") as caught:
            act()
        assert type(caught.value) is StoreError
    after = tree(store.layout.root)
    assert {key: after[key] for key in after if ".history" not in key} == {
        key: before[key] for key in before if ".history" not in key
    }
    assert store.active("m").main_path.read_bytes() == random_bytes(5000, 1)


def test_a_model_that_is_not_there_is_named_whole_and_so_are_those_that_are(tmp_path: Path) -> None:
    store = small_store(tmp_path / "models")
    with pytest.raises(ModelNotFoundError, match="There is no model 'starter-chat' in the store") as none:
        store.rollback("starter-chat")
    assert none.value.hint == "edge-agent models import FILE adds one."
    store.import_gguf(gguf(tmp_path / "a.gguf"), "a", "1", report())
    with pytest.raises(ModelNotFoundError) as one:
        store.rollback("b")
    assert one.value.hint == "There is a."


def test_a_model_that_ships_has_one_version_which_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "models", shipped={"starter-chat"}, margin_bytes=0)
    with pytest.raises(RequestError, match="starter-chat ships with edge-agent: it has no earlier version"):
        store.rollback("starter-chat")
    for act in (lambda: store.remove("starter-chat"), lambda: store.activate("starter-chat", "1")):
        with pytest.raises(ModelNotFoundError, match="starter-chat ships with edge-agent") as caught:
            act()
        assert "starter_models" in caught.value.hint
    store.import_gguf(gguf(tmp_path / "a.gguf"), "starter-chat", "2", report())
    with pytest.raises(RequestError, match="starter-chat has no earlier version") as last:
        store.rollback("starter-chat")
    assert "edge-agent models rm starter-chat" in last.value.hint
    store.remove("starter-chat")
    assert store.models() == []
