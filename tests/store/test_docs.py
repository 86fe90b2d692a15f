from __future__ import annotations

import re
from pathlib import Path

import msgspec

from agent.store.layout import Layout
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed, decode_manifest, encode_manifest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "artifacts.md").read_text()


def test_every_key_of_the_manifest_is_documented() -> None:
    keys = {name for struct in (Manifest, ArtifactFile, MemoryNeed) for name in struct.__struct_fields__}
    assert {key for key in keys if f"`{key}`" not in PAGE} == set()


def test_the_example_is_a_manifest_in_canonical_form() -> None:
    match = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    manifest = decode_manifest(match[1].encode())
    assert encode_manifest(manifest).decode() == match[1]
    assert all(getattr(manifest, field.name) != field.default for field in msgspec.structs.fields(Manifest))


def test_every_place_in_the_store_is_documented() -> None:
    layout = Layout(root=Path("models"))
    for path in (
        layout.lock,
        layout.staging,
        layout.incoming,
        layout.trash,
        layout.current("m"),
        layout.history_folder("m"),
    ):
        assert path.name in PAGE
