from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Server, chat_request, until

LLM_NAMES = set(
    """
llm_requests_total llm_requests_success_total llm_requests_failed_total llm_request_duration_seconds
llm_time_to_first_token_seconds llm_tokens_generated_total llm_prompt_tokens_total llm_prompt_tokens_cached_total
llm_tokens_per_second llm_queue_size llm_active_requests llm_batch_size llm_gpu_memory_bytes llm_joules_total
""".split()  # noqa: SIM905
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "http.md"
TINY = (("model", "org/tiny"),)


async def scrape(server: Server) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with server.http.get(f"{server.url}/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_name_of_the_contract_is_there_from_the_start(server: Server) -> None:
    await server.get("/health")
    async with server.http.get(f"{server.url}/metrics") as response:
        text = await response.text()
    typed = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert typed >= LLM_NAMES
    series = {name for name, _ in await scrape(server)}
    assert "llm_joules_total" in series
    assert "edge_process_resident_memory_bytes" in series
    assert not any(name.endswith("_created") for name in series)


async def test_requests_are_counted_by_how_they_ended(server: Server) -> None:
    await server.chat()
    await server.chat(stream=True)
    await server.chat("FAIL")
    await server.chat("CRASH", stream=True)
    await server.chat(model="nope")
    server.runtime.capacity = 0
    await server.chat()
    server.runtime.capacity = 9
    _, writer = await server.raw(chat_request("SILENT"))
    await until(lambda: server.runtime.running == 1)
    writer.transport.abort()
    await until(lambda: server.runtime.running == 0)
    found = await scrape(server)
    assert found["llm_requests_total", TINY] == 6
    assert found["llm_requests_success_total", TINY] == 2
    assert found["llm_requests_cancelled_total", TINY] == 1
    for code in ("engine_error", "worker_crashed", "queue_full"):
        assert found["llm_requests_failed_total", (("code", code), *TINY)] == 1
    assert found["llm_tokens_generated_total", TINY] == 11
    assert found["llm_prompt_tokens_total", TINY] == 22
    assert found["llm_prompt_tokens_cached_total", TINY] == 6
    assert found["llm_request_duration_seconds_count", TINY] == 6
    assert found["llm_time_to_first_token_seconds_count", TINY] == 3
    assert found["llm_tokens_per_second_sum", TINY] == 80
    assert not any("nope" in str(labels) for _, labels in found)


async def test_gauges_follow_the_runtime(server: Server) -> None:
    found = await scrape(server)
    assert found["llm_queue_size", (("priority", "normal"),)] == 2
    assert found["edge_memory_budget_bytes", ()] == 10**9
    assert found["edge_worker_restarts_total", TINY] == 2
    assert found["edge_model_state", (*TINY, ("state", "ready"))] == 1
    assert found["edge_model_state", (*TINY, ("state", "failed"))] == 0
    assert found["edge_http_connections", ()] == 1


async def test_every_metric_is_documented(server: Server) -> None:
    page = PAGE.read_text()
    async with server.http.get(f"{server.url}/metrics") as response:
        names = re.findall(r"^# TYPE (\S+) ", await response.text(), re.MULTILINE)
    missing = [name for name in names if not name.startswith("edge_process_") and f"`{name}`" not in page]
    assert missing == []
