from __future__ import annotations

import pytest

from agent.errors import RequestError
from agent.speech.languages import NAMES, code_of, name_of


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("de", "de"),
        ("German", "de"),
        (" EN ", "en"),
        ("pt-BR", "pt"),
        ("zh_Hant_TW", "zh"),
        ("Haitian Creole", "ht"),
        ("Castilian", "es"),
        ("iw", "he"),
        ("yue", "yue"),
        ("xx", "xx"),
        ("", None),
        ("auto", None),
    ],
)
def test_a_language_is_a_code_or_a_name(said: str, code: str | None) -> None:
    assert code_of(said) == code


@pytest.mark.parametrize(
    ("said", "hint"), [("Germn", "Did you mean german?"), ("#!", "as a code like"), ("klingonese", "as a code")]
)
def test_what_is_no_language_is_refused(said: str, hint: str) -> None:
    with pytest.raises(RequestError, match="There is no language") as refused:
        code_of(said)
    assert hint in refused.value.hint
    assert refused.value.param == "language"


def test_every_name_and_code_leads_back_to_itself() -> None:
    assert len(NAMES) == 100
    for code, name in NAMES.items():
        assert (code_of(name), code_of(code), name_of(code)) == (code, code, name)
    assert (name_of("xx"), name_of(None)) == ("xx", "unknown")
