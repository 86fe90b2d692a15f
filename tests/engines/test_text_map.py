"""The maps that llama.cpp's vocabulary is built with: against Python's own, and put where they belong by the build."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

MAPS = Path(__file__).resolve().parents[2] / "agent" / "engines" / "llama" / "maps"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler, as building llama.cpp does")

# In: how many texts to put in, texts of two parts with their lengths before them; then texts to look for until the end.
# Out: of each that was looked for its number in the map of pairs and in that of first parts (-1 for none), then all
# that both maps hold, as they go through it.
DRIVER = r"""
#include "text_map.h"

#include <cstdio>

static bool read_text(std::string & text) {
    uint32_t size;
    if (fread(&size, 4, 1, stdin) != 1) return false;
    text.resize(size);
    return size == 0 || fread(&text[0], 1, size, stdin) == size;
}

static void write(const std::string & text) {
    const uint32_t size = (uint32_t) text.size();
    fwrite(&size, 4, 1, stdout);
    fwrite(text.data(), 1, size, stdout);
}

static void write(int32_t number) { fwrite(&number, 4, 1, stdout); }

int main() {
    edge_agent::TextPairMap pairs;
    edge_agent::TextMap texts;
    std::string first, second;
    uint32_t count;
    if (fread(&count, 4, 1, stdin) != 1) return 1;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_text(first) || !read_text(second)) return 1;
        pairs.emplace(std::make_pair(first, second), (int) i);
        texts[first] = (int32_t) i;
    }
    while (read_text(first) && read_text(second)) {
        const auto pair = pairs.find(std::make_pair(first, second));
        write(pair == pairs.end() ? -1 : pair->second);
        const auto text = texts.find(first);
        write(text == texts.end() ? -1 : (*text).second);
        if ((texts.count(first) == 1) != (text != texts.end())) return 2;
        try {
            if (texts.at(first) != text->second) return 3;
        } catch (const std::out_of_range &) {
            if (text != texts.end()) return 4;
        }
    }
    write((int32_t) pairs.size());
    for (const auto & pair : pairs) {
        write(pair.first.first), write(pair.first.second), write(pair.second);
    }
    write((int32_t) texts.size());
    for (const auto & text : texts) {
        write(text.first), write(text.second);
    }
}
"""

Pair = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_map")
    source, program = folder / "driver.cpp", folder / "driver"
    source.write_text(DRIVER)
    sanitized = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{MAPS}"]
    command = [str(COMPILER), *flags, str(source), "-o", str(program)]
    if subprocess.run([*command, *sanitized], capture_output=True, check=False).returncode:
        subprocess.run(command, check=True)  # a compiler without sanitizers
    return program


def framed(pairs: Sequence[Pair]) -> bytes:
    return b"".join(struct.pack("=I", len(part)) + part for pair in pairs for part in pair)


class Answers:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        (value,) = struct.unpack_from("=i", self._data, self._at)
        self._at += 4
        return int(value)

    def text(self) -> bytes:
        size = self.number()
        self._at += size
        return self._data[self._at - size : self._at]


def check(driver: Path, stored: Sequence[Pair], wanted: Sequence[Pair]) -> None:
    given = struct.pack("=I", len(stored)) + framed(stored) + framed(wanted)
    done = subprocess.run([driver], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    pairs: dict[Pair, int] = {}
    texts: dict[bytes, int] = {}
    for number, pair in enumerate(stored):
        pairs.setdefault(pair, number)  # the first stays
        texts[pair[0]] = number  # the last stays
    answers = Answers(done.stdout)
    for pair in wanted:
        assert (answers.number(), answers.number()) == (pairs.get(pair, -1), texts.get(pair[0], -1)), pair
    in_pairs = [((answers.text(), answers.text()), answers.number()) for _ in range(answers.number())]
    assert in_pairs == list(reversed(pairs.items()))
    in_texts = [(answers.text(), answers.number()) for _ in range(answers.number())]
    assert in_texts == list(reversed(texts.items()))


@pytest.mark.parametrize(
    "stored",
    [
        [],
        [(b"", b"")],
        [(b"ab", b"c"), (b"a", b"bc"), (b"abc", b""), (b"", b"abc")],
        [(b"a", b"b"), (b"a", b"b"), (b"a", b"c"), (b"b", b"a")],
        [(b"\x00", b""), (b"", b"\x00"), (b"\x00\x00", b""), (b"\xff" * 70_000, b"\x00" * 3)],
    ],
    ids=["nothing", "an empty text", "where parts meet", "twice the same", "zeros and a long one"],
)
def test_what_was_put_in_is_found_and_nothing_else(driver: Path, stored: list[Pair]) -> None:
    strangers = [(b"", b""), (b"a", b""), (b"a", b"bcd"), (b"ab", b""), (b"c", b"ab"), (b"\x00", b"\x00")]
    check(driver, stored, [*stored, *strangers])


def test_a_vocabulary_of_many_texts_is_found_whole(driver: Path) -> None:
    random.seed(7)
    parts = [bytes(random.choices(b"abcde\x00\xc3\xa9", k=random.randint(0, 6))) for _ in range(400)]
    stored = [(random.choice(parts), random.choice(parts)) for _ in range(30_000)]
    wanted = [*stored[::3], *((random.choice(parts), random.choice(parts)) for _ in range(10_000))]
    check(driver, stored, wanted)


SOURCE = """\
#include <cstdio>
#include <string>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>
typedef int llama_token;
struct token_data {};
struct impl {
    std::unordered_map<std::string, llama_token> token_to_id;
    std::vector<token_data>                      id_to_token;
    struct pair_hash { size_t operator()(const std::pair<std::string, std::string> &) const { return 0; } };
    std::unordered_map<std::pair<std::string, std::string>, int, pair_hash> bpe_ranks;
};
int main() { impl all; printf("%s %s", typeid(all.token_to_id).name(), typeid(all.bpe_ranks).name()); }
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize("known", [True, False], ids=["declared as now", "declared in another way"])
def test_the_build_exchanges_the_maps_it_knows_and_leaves_others_alone(tmp_path: Path, known: bool) -> None:
    (tmp_path / "llama-vocab.cpp").write_text(
        SOURCE if known else SOURCE.replace("int, pair_hash>", "long, pair_hash>")
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(llama_cpp LANGUAGES CXX)\n"
        "add_executable(llama llama-vocab.cpp)\ntarget_compile_features(llama PRIVATE cxx_std_17)\n"
    )
    build = tmp_path / "build"
    include = f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={MAPS / 'text_map.cmake'}"
    configured = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", build, include], capture_output=True, text=True, check=True
    )
    assert ("are left alone" in configured.stderr) is not known
    subprocess.run(["cmake", "--build", build], capture_output=True, check=True)
    types = subprocess.run([build / "llama"], capture_output=True, text=True, check=True).stdout
    assert [name in types for name in ("7TextMap", "11TextPairMap", "unordered_map")] == [known, known, not known]
