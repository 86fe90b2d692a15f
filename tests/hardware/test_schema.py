from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from agent.errors import ConfigError
from agent.hardware.schema import DERIVED, Range, read


@dataclass(frozen=True, kw_only=True)
class Row:
    count: Annotated[int, Range(1, 8)]


@dataclass(frozen=True, kw_only=True)
class Table:
    share: Annotated[float, Range(0, 1)]
    kind: Literal["a", "b"] = "a"
    on: bool = True
    words: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    derived: int = field(default=0, metadata=DERIVED)


def test_a_good_table_is_read() -> None:
    table = read(Table, {"share": 1, "kind": "b", "words": ["x"], "rows": [{"count": 3}]}, source="f")
    assert table == Table(share=1.0, kind="b", words=("x",), rows=(Row(count=3),))
    assert isinstance(table.share, float)


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({}, "share", "f: t.share is missing; expected a number from 0 to 1."),
        ({"share": 2.0}, "share", "f: t.share is 2.0; expected a number from 0 to 1."),
        ({"share": True}, "share", "f: t.share is True; expected a number from 0 to 1."),
        ({"share": float("nan")}, "share", "f: t.share is nan; expected a number from 0 to 1."),
        ({"share": "1"}, "share", "f: t.share is '1'; expected a number from 0 to 1."),
        ({"share": 1.0, "kind": "c"}, "kind", "f: t.kind is 'c'; expected one of 'a', 'b'."),
        ({"share": 1.0, "on": 1}, "on", "f: t.on is 1; expected true or false."),
        ({"share": 1.0, "words": "x"}, "words", "f: t.words is 'x'; expected an array of strings."),
        ({"share": 1.0, "words": ["x", 2]}, "words[1]", "f: t.words[1] is 2; expected a string."),
        ({"share": 1.0, "rows": [{"count": 9}]}, "rows[0].count", "expected a whole number from 1 to 8."),
        ({"share": 1.0, "rows": [{"count": 1.0}]}, "rows[0].count", "is 1.0; expected a whole number from 1 to 8."),
        ({"share": 1.0, "rows": {"count": 1}}, "rows", "expected an array of tables."),
        ({"share": 1.0, "kin": "a"}, "kin", "f: unknown key t.kin; expected one of share, kind, on, words, rows. Did"),
        ({"share": 1.0, "derived": 1}, "derived", "f: unknown key t.derived"),
    ],
)
def test_a_bad_table_names_key_value_and_expectation(table: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Table, table, source="f", prefix="t.")
    assert caught.value.param == f"t.{key}"
    assert message in str(caught.value)
