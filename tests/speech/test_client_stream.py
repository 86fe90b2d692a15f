"""What a client may send, and that it is held up while nobody takes its sound."""

from __future__ import annotations

import asyncio

import pytest

from agent.speech.client_stream import BadMessageError, ClientSound, check_text


@pytest.mark.parametrize("text", ['{"type":"finish"}', ' {"type": "finish"} \n'])
def test_the_one_message_in_words(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "finish",
        "{}",
        "[]",
        '{"type":"stop"}',
        '{"type":"finish","now":true}',
        '{"type":"finish"}{"type":"finish"}',
        "[" * 100_000,
        '"\\ud800"',
        "x" * 100_000,
    ],
)
def test_other_text_is_refused_with_what_to_send(text: str) -> None:
    with pytest.raises(BadMessageError, match=r"is not understood.*finish") as caught:
        check_text(text)
    assert caught.value.close_code == 1003
    assert len(caught.value.message) < 200


async def test_half_a_sample_is_refused() -> None:
    sound = ClientSound()
    with pytest.raises(BadMessageError, match="3 bytes is not 16-bit PCM") as caught:
        await sound.push(b"abc", 0.0)
    assert caught.value.close_code == 1007


async def test_blocks_come_in_order_and_end() -> None:
    sound = ClientSound()

    async def push() -> None:
        for number in range(5):
            await sound.push(bytes([number, 0]), float(number))
        await sound.push(b"", 9.0)
        await sound.end()

    pushing = asyncio.create_task(push())
    async with asyncio.timeout(5):
        blocks = [block async for block in sound]
        await pushing
    assert [(block.pcm[0], block.heard_at) for block in blocks] == [(number, float(number)) for number in range(5)]


async def test_whoever_pushes_waits_for_who_takes() -> None:
    sound, pushed = ClientSound(), 0

    async def push() -> None:
        nonlocal pushed
        while True:
            await sound.push(bytes(2), 0.0)
            pushed += 1

    async def settle() -> int:
        for _ in range(20):
            await asyncio.sleep(0)
        return pushed

    pushing = asyncio.create_task(push())
    try:
        assert await settle() == 1
        await anext(sound)
        assert await settle() == 2
        await anext(sound)
        assert await settle() == 3
    finally:
        pushing.cancel()
