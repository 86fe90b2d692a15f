"""The schema of actions is the table's, and the engine can enforce it."""

from __future__ import annotations

import json
from pathlib import Path

import agent
from agent.engines.llama.json_grammar import grammar_from_schema
from convert.starter.chat import vocabulary
from convert.starter.chat.dialogue import as_json

SCHEMA = Path(agent.__file__).parent / "starter" / "action.schema.json"
DOCS = Path(__file__).resolve().parents[4] / "docs" / "starter-models.md"


def test_the_schema_that_ships_is_the_table_s() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == vocabulary.schema()


def test_the_engine_makes_a_grammar_of_it() -> None:
    assert "root" in grammar_from_schema(vocabulary.schema())


def test_keys_come_in_the_order_in_which_the_grammar_demands_them() -> None:
    assert list(vocabulary.schema()["properties"]) == list(vocabulary.KEYS)
    made = vocabulary.action(time="7:00", value="feed the cat", action="remind")
    assert as_json(made) == '{"action":"remind","value":"feed the cat","time":"7:00"}'


def test_no_name_means_two_things() -> None:
    for table in (vocabulary.ROOMS, {**vocabulary.SWITCHES, **vocabulary.DOORS, **vocabulary.COVERS}):
        names = [name for said in table.values() for name in set(said)]
        assert len(names) == len(set(names))


def test_every_action_and_target_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    missing = [name for name in (*vocabulary.ACTIONS, *vocabulary.TARGETS, *vocabulary.ROOMS) if name not in text]
    assert not missing
