"""The languages that Whisper models know, by code and by name."""

from __future__ import annotations

import difflib
import re
from typing import Final

from agent.errors import RequestError

_TABLE: Final = """
en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese,
tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi,
fi finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish,
hu hungarian, ta tamil, no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin,
mi maori, ml malayalam, cy welsh, sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian,
az azerbaijani, sl slovenian, kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic,
hy armenian, ne nepali, mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi,
pa punjabi, si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian,
be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo faroese,
ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb luxembourgish, my myanmar,
bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir,
jw javanese, su sundanese, yue cantonese
"""
NAMES: Final = {code: name for code, _, name in (entry.strip().partition(" ") for entry in _TABLE.split(","))}
"""openai/whisper `tokenizer.py`, LANGUAGES."""

_OTHER_NAMES: Final = {
    "burmese": "my",
    "valencian": "ca",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "pushto": "ps",
    "panjabi": "pa",
    "moldavian": "ro",
    "moldovan": "ro",
    "sinhalese": "si",
    "castilian": "es",
    "mandarin": "zh",
}
_OTHER_CODES: Final = {"iw": "he", "jv": "jw", "nb": "no", "cmn": "zh", "fil": "tl"}
_CODES: Final = {name: code for code, name in NAMES.items()} | _OTHER_NAMES
_TAG = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]{1,8})*")
_SHOWN_CHARACTERS = 40


def code_of(said: str) -> str | None:
    """Whisper's code for a language said as a code ("de", "pt-BR") or a name ("German"); None for "" and "auto".

    A code that Whisper does not have is returned as it is: a model may have been trained on it. Raises `RequestError`.
    """
    plain = said.strip().lower()
    if plain in ("", "auto"):
        return None
    if plain in _CODES:
        return _CODES[plain]
    if tag := _TAG.fullmatch(plain):
        return _OTHER_CODES.get(tag[1], tag[1])
    near = difflib.get_close_matches(plain, _CODES, n=1, cutoff=0.75)
    raise RequestError(
        f"There is no language {said[:_SHOWN_CHARACTERS]!r}.",
        hint=f"Did you mean {near[0]}?" if near else 'Say it as a code like "de", or as a name like "german".',
        param="language",
    )


def name_of(code: str | None) -> str:
    """The English name in lower case, as OpenAI's API answers it; the code itself where it has none."""
    return "unknown" if code is None else NAMES.get(code, code)
