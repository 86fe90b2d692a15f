"""A doctor's report as text for a terminal and as a value for JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from agent.hardware.doctor import Report

MIB = 1024 * 1024
GIB = 1024 * MIB
LABEL = 12
"""Width of the left column."""


def as_text(report: Report, *, width: int = 88) -> str:
    """The report for people, at most `width` columns wide."""
    lines: list[str] = []
    for block in (_found(report, width), _settings(report, width), _models(report, width), _findings(report, width)):
        lines += [*block, ""]
    return "\n".join(lines).rstrip() + "\n"


def as_value(report: Report) -> dict[str, Any]:
    """The report for programs: plain dicts, lists, strings and numbers; bytes and units are in the names."""
    profile = report.profile
    board = dataclasses.asdict(report.board)
    board["cpu_features"] = sorted(report.board.cpu_features)
    installed = report.checks.installed
    checks = dataclasses.asdict(report.checks)
    checks["installed"] = installed and {**dataclasses.asdict(installed), "backends": sorted(installed.backends)}
    llama = dataclasses.asdict(profile.llama)
    del llama["by_memory"]
    return {
        "ok": report.exit_status == 0,
        "board": board,
        "memory": dataclasses.asdict(report.reading),
        "profile": {
            "name": profile.name,
            "reason": report.reason,
            "build": dataclasses.asdict(profile.build),
            "threads": dataclasses.asdict(profile.threads),
            "memory": dataclasses.asdict(profile.memory),
            "llama": llama,
            "recommend": dataclasses.asdict(profile.recommend),
        },
        "suggested": list(report.suggested),
        "budget": {"pool": report.pool, "bytes": report.budget_bytes},
        "models": [{**dataclasses.asdict(entry), "fits": entry.fits} for entry in report.fits],
        "checks": checks,
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }


def size(number: int) -> str:
    """`7.4 GiB`, `512 MiB`."""
    return f"{number / GIB:.1f} GiB" if number >= GIB else f"{number / MIB:.0f} MiB"


def row(label: str, text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, with the label at the left of the first one."""
    return textwrap.wrap(
        text,
        width=width,
        initial_indent=f"{label:<{LABEL}}",
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _found(report: Report, width: int) -> Iterator[str]:
    board, reading = report.board, report.reading
    soc = "" if board.soc in board.model or board.soc == board.cpu_name else f" ({board.soc})"
    yield from row("Board", f"{board.model}{soc}", width)
    kernel = f", kernel {board.kernel}" if board.kernel else ""
    yield from row("System", f"{board.operating_system}, {board.architecture}{kernel}", width)
    kinds = f"{board.cores}"
    if board.efficiency_cores:
        kinds = f"{board.performance_cores} fast and {board.efficiency_cores} efficient"
    cores = f"{kinds} x {board.cpu_name}" if not board.efficiency_cores else f"{kinds}, {board.cpu_name}"
    if board.logical_cpus > board.cores:
        cores += f", {board.logical_cpus} hardware threads"
    if board.usable_cores < board.cores:
        cores += f"; this process may use {board.usable_cores}"
    yield from row("Cores", cores, width)
    limit = "no control group limit"
    if reading.limit_bytes is not None:
        used = reading.used_by_cgroup_bytes or 0
        limit = f"control group limit {size(reading.limit_bytes)}, {size(used)} of it in use"
    yield from row("Memory", f"{size(reading.total_bytes)}, {size(reading.available_bytes)} available; {limit}", width)
    yield from row("GPU", _gpu(report), width)
    yield from row("Disk", _disk(report), width)
    yield from row("llama.cpp", _llama_cpp(report), width)


def _gpu(report: Report) -> str:
    gpu = report.board.gpu
    if gpu is None:
        return "none that llama.cpp can use"
    parts = [f"{gpu.count} x {gpu.name}" if gpu.count > 1 else gpu.name]
    if gpu.unified:
        parts.append("shares the memory")
    elif gpu.memory_total_bytes:
        parts.append(size(gpu.memory_total_bytes))
        if gpu.memory_free_bytes is not None:
            parts[-1] += f" ({size(gpu.memory_free_bytes)} free)"
    if gpu.compute_capability:
        parts.append(f"CUDA capability {gpu.compute_capability}")
    if gpu.driver:
        parts.append(f"driver {gpu.driver}")
    return ", ".join(parts)


def _disk(report: Report) -> str:
    free = report.checks.state_free_bytes
    return f"{'unknown' if free is None else size(free)} free at {report.checks.state_dir}"


def _llama_cpp(report: Report) -> str:
    installed = report.checks.installed
    if installed is None:
        return "llama-cpp-python is not installed"
    return f"llama-cpp-python {installed.version} ({', '.join(sorted(installed.backends)) or 'no backend found'})"


def _settings(report: Report, width: int) -> Iterator[str]:
    profile = report.profile
    llama, threads = profile.llama, profile.threads
    yield from row("Profile", f"{profile.name}: {report.reason}", width)
    yield from row("Threads", f"{threads.generation} to generate, {threads.batch} for prompts", width)
    yield from row(
        "Context",
        f"{llama.context_tokens} tokens shared by {llama.slots} {'slot' if llama.slots == 1 else 'slots'}, "
        f"prompts in steps of {llama.micro_batch_tokens}",
        width,
    )
    cache = f"prefix cache {llama.prefix_cache_mb} MiB" if llama.prefix_cache_mb else "no prefix cache"
    yield from row("KV cache", f"{llama.kv_type}, flash attention {llama.flash_attention}, {cache}", width)
    layers = {0: "none", -1: "all"}.get(llama.gpu_layers, str(llama.gpu_layers))
    yield from row("GPU layers", layers, width)
    yield from row("CMAKE_ARGS", " ".join(profile.build.cmake_args) or "none needed: a native build", width)


def _models(report: Report, width: int) -> Iterator[str]:
    share = f"{report.profile.memory.budget_fraction:.0%}"
    reserve = f"{report.profile.memory.reserve_mb} MiB kept back"
    if report.pool == "gpu":
        yield f"What fits in {size(report.budget_bytes)} ({share} of what is free on the GPU), at Q4_K_M:"
    else:
        yield f"What fits in {size(report.budget_bytes)} ({share} of what is free, {reserve}), at Q4_K_M:"
    yield ""
    yield f"  {'model':<14}{'weights':>9}{'KV':>10}{'compute':>10}{'in all':>10}{'context':>9}"
    for entry in report.fits:
        sizes = "".join(
            f"{size(number):>{column}}"
            for number, column in (
                (entry.weights_bytes, 9),
                (entry.kv_bytes, 10),
                (entry.compute_bytes, 10),
                (entry.total_bytes, 10),
            )
        )
        context = f"{entry.context_tokens}" if entry.fits else "-"
        note = "" if entry.fits else "does not fit"
        if entry.tokens_per_s is not None:
            note = f"~{entry.tokens_per_s:.{1 if entry.tokens_per_s < 10 else 0}f} tokens/s"
        yield f"  {entry.model:<14}{sizes}{context:>9}  {note}".rstrip()
    yield ""
    yield from row("Suggested", ", ".join(report.suggested) or "nothing fits", width)


def _findings(report: Report, width: int) -> Iterator[str]:
    if not report.findings:
        yield "Nothing is missing."
        return
    for finding in report.findings:
        lines = textwrap.wrap(finding.message, width - LABEL, break_on_hyphens=False)
        lines += textwrap.wrap(f"-> {finding.remedy}", width - LABEL, subsequent_indent="   ", break_on_hyphens=False)
        yield f"{finding.severity:<{LABEL}}{lines[0]}"
        yield from (" " * LABEL + line for line in lines[1:])
