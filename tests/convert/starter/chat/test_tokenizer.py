"""llama.cpp splits text exactly as training does, and the chat template writes what training saw."""

from __future__ import annotations

import itertools
from pathlib import Path

import gguf
import pytest
from tokenizers import Tokenizer

from agent.engines.llama.library import llama, start_backend
from agent.engines.llama.template import ChatTemplate
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ArtifactError, RequestError
from convert.starter.chat import tokenizer as bpe
from convert.starter.chat.dialogue import Message, dialogues
from convert.starter.chat.gguf_tokenizer import add_tokenizer

STRANGE = (
    "",
    " ",
    "  two  spaces ",
    "tab\tand\nnew\n\nlines\r\n",
    "I'LL we've you're 12,345.67",
    "größe naïve 東京 привет",
    "🙂👍🏽 e\u0301",
    '{"action":"set","value":21.5}',
    "a\x00b\x7f",
    "x" * 300,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return bpe.train(1, vocabulary=700, conversations=2_000)


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """llama.cpp's, out of a GGUF file with nothing else in it."""
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_block_count, 1),
        (writer.add_feed_forward_length, 32),
        (writer.add_head_count, 1),
    ):
        add(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(tokenizer.get_vocab_size())
    add_tokenizer(writer, tokenizer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    start_backend()
    parameters = llama.llama_model_default_params()
    parameters.vocab_only = True
    model = llama.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    return Vocabulary(model)


def texts() -> list[str]:
    found = itertools.islice(itertools.chain.from_iterable(dialogues(77)), 1_200)
    return [*STRANGE, *(f" {message.text}" if message.role == "user" else message.text for message in found)]


def test_llama_cpp_tokenizes_as_training_does(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    for text in texts():
        if "\x00" not in text:  # llama.cpp's vocabulary has no other way to spell it than its byte
            expected = tokenizer.encode(text).ids
            assert list(vocabulary.tokenize(text, add_special=False, parse_special=False)) == expected, text


def test_special_tokens_are_where_both_expect_them(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    assert [vocabulary.name(token) for token in range(len(bpe.SPECIAL))] == list(bpe.SPECIAL)
    assert (vocabulary.bos, vocabulary.eos) == (bpe.SPECIAL.index(bpe.BEGIN), bpe.SPECIAL.index(bpe.END))
    assert vocabulary.adds_bos
    assert vocabulary.ends_generation(vocabulary.eos)
    assert all(vocabulary.piece(token) == b"" for token in range(len(bpe.SPECIAL)))


def test_whole_conversations_are_the_tokens_that_were_trained_on(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    for talked in itertools.islice(dialogues(5), 300):
        expected = bpe.encode(tokenizer, talked, prompt_weight=0.1).tokens
        assert list(vocabulary.tokenize(bpe.render(talked), add_special=False, parse_special=True)) == expected


def test_the_template_writes_what_training_saw() -> None:
    template = ChatTemplate(bpe.TEMPLATE, bos=bpe.BEGIN, eos=bpe.END)
    for talked in itertools.islice(dialogues(6), 300):
        messages = [{"role": one.role, "content": one.text} for one in talked]
        assert template.render(messages[:-1]) == bpe.render(talked[:-1]) + bpe.ASSISTANT


def test_the_template_lowers_what_users_write_and_keeps_the_newest_turns() -> None:
    template = ChatTemplate(bpe.TEMPLATE, bos=bpe.BEGIN, eos=bpe.END)
    long = [{"role": "system", "content": "Be brief."}]
    for number in range(20):
        long += [{"role": "user", "content": f" Turn ON {number} "}, {"role": "assistant", "content": "Okay."}]
    text = template.render([*long, {"role": "user", "content": "END"}])
    assert text.startswith("<|begin|><|system|>Be brief.<|end|><|user|> turn on 15<|end|><|assistant|>Okay.<|end|>")
    assert text.endswith("<|user|> end<|end|><|assistant|>")


def test_the_template_refuses_tools() -> None:
    template = ChatTemplate(bpe.TEMPLATE, bos=bpe.BEGIN, eos=bpe.END)
    with pytest.raises(RequestError, match="knows no tools"):
        template.render([{"role": "user", "content": "hi"}], tools=[{"type": "function"}])


def test_only_answers_count_fully_and_a_forced_brace_hardly(tokenizer: Tokenizer) -> None:
    talked = [Message("user", "hello"), Message("assistant", '{"action":"none"}', forced=True)]
    example = bpe.encode(tokenizer, talked, prompt_weight=0.1)
    pieces = [tokenizer.id_to_token(token) for token in example.tokens]
    answer = pieces.index(bpe.ASSISTANT) + 1
    assert pieces[answer].startswith("{")
    assert example.weights[answer] == bpe.FORCED_WEIGHT
    assert set(example.weights[answer + 1 :]) == {1.0}
    assert max(example.weights[:answer]) == 0.1
    assert len(example.weights) == len(example.tokens)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no tokenizer"):
        bpe.load(tmp_path / "tokenizer.json")
