"""From what is stored, what the board can take and what the user wrote, to how each model is run. Decisions only."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.hardware.profile import Profile
from agent.runtime.spec import ModelSpec, Task
from agent.runtime.wire.options import LlamaOptions, Lora, OnnxOptions, Options
from agent.settings import ModelSettings, SamplingSettings, declarations
from agent.starter.bundle import Choice, bundled, serving
from agent.store.layout import StoredModel
from agent.store.manifest import MemoryNeed

MIB = 1024 * 1024
_SMALLEST_CONTEXT_TOKENS = 2048
_IDLE_CONTEXTS = 4
_WHISPER_SLOTS = 2
"""It works on one request at a time. One more keeps it busy; others wait in the queue, where priorities count."""
_WORKER_BYTES = 80 * MIB
"""A worker process with a large vocabulary in it, beside its buffers (docs/performance.md)."""


def plan_options(
    profile: Profile,
    settings: ModelSettings | None,
    *,
    task: Task,
    train_context_tokens: int | None,
    need: MemoryNeed | None,
    budget_bytes: int,
    cores: int,
    chat_template: str | None = None,
) -> LlamaOptions:
    """Options for one model: the user's word first, then what the profile says, made smaller until it fits.

    Without a user's word the context is the profile's, at most what the model was trained on, halved (down to 2,048
    tokens) while the model would not fit `budget_bytes`; before that the prefix cache is given up, and a KV cache of
    16 bits becomes one of 8. Threads never exceed `cores`, those that this process may use.
    """
    board = profile.llama
    said: dict[str, Any] = {
        name: getattr(settings, name) for name in _FIELDS if getattr(settings, name, None) is not None
    }
    context = said.get("context_tokens") or min(board.context_tokens, train_context_tokens or board.context_tokens)
    kv_type = said.get("kv_type") or board.kv_type
    cache_mb = said.get("prefix_cache_mb", board.prefix_cache_mb)

    def excess() -> int:
        if need is None:
            return 0
        total: int = need.at(context, kv_type) + cache_mb * MIB + _WORKER_BYTES
        return total - budget_bytes

    if need is not None and "prefix_cache_mb" not in said:
        # What a few full contexts of idle conversations take: more would never be filled with anything worth keeping.
        cache_mb = min(cache_mb, -(-_IDLE_CONTEXTS * need.per_1k_context * context // 1024 // MIB))
    if task == "embed":
        cache_mb, kv_type = 0, said.get("kv_type") or "f16"
    elif need is not None:
        if excess() > 0 and "prefix_cache_mb" not in said:
            cache_mb = max(0, cache_mb - -(-excess() // MIB))
        if excess() > 0 and "kv_type" not in said:
            kv_type = "q8_0"
        while excess() > 0 and "context_tokens" not in said and context // 2 >= _SMALLEST_CONTEXT_TOKENS:
            context //= 2
    threads = min(said.get("threads", profile.threads.generation), cores)
    threads_batch = min(said.get("threads_batch", profile.threads.batch), cores)
    batch = said.get("batch_tokens") or min(board.batch_tokens, context)
    return LlamaOptions(
        context_tokens=context,
        slots=said.get("slots") or board.slots,
        batch_tokens=batch,
        micro_batch_tokens=min(said.get("micro_batch_tokens") or board.micro_batch_tokens, batch),
        threads=threads,
        threads_batch=threads_batch,
        gpu_layers=said.get("gpu_layers", board.gpu_layers),
        kv_type=kv_type,
        flash_attention=said.get("flash_attention") or board.flash_attention,
        mmap=said.get("mmap", board.mmap),
        mlock=said.get("mlock", False),
        prefix_cache_bytes=cache_mb * MIB,
        lora=tuple(Lora(str(entry.path), entry.scale) for entry in (settings.lora if settings else ())),
        embedding=task == "embed",
        chat_template=chat_template,
    )


def plan_onnx_options(profile: Profile, settings: ModelSettings | None, *, task: Task, cores: int) -> OnnxOptions:
    """Options for an ONNX model: sessions as the profile says, threads never more than `cores`."""
    said = settings.threads if settings is not None and settings.threads is not None else profile.onnx.threads
    transcribe = task == "transcribe"
    return OnnxOptions(
        slots=_WHISPER_SLOTS if transcribe else OnnxOptions().slots,
        threads=min(said, cores),
        spinning=profile.onnx.spinning,
        arena=profile.onnx.arena,
        providers=tuple(_PROVIDERS[name] for name in profile.onnx.providers),
        transcribe=transcribe,
        window_floor_s=profile.speech.encoder_window_floor_s,
        window_margin_s=profile.speech.encoder_window_margin_s,
    )


def plan_models(
    stored: Sequence[StoredModel],
    profile: Profile,
    settings: Mapping[str, ModelSettings],
    budget_bytes: int,
    *,
    cores: int,
    default_keep_alive_s: float | None,
    chat_templates: Mapping[str, str] | None = None,
) -> list[ModelSpec]:
    """A spec for each active stored model and each bare GGUF file named in the settings, sorted by name.

    A bare file takes the place of a stored model of its name. `chat_templates` holds the text of the templates that
    the settings name. Text is generated from GGUF alone, speech transcribed with ONNX: other models are left out.
    How a model samples is the user's word, else that of the model's makers.
    """
    templates = chat_templates or {}
    specs: dict[str, ModelSpec] = {}
    for model in stored:
        manifest = model.manifest
        if not model.active or (manifest.format, manifest.task) in _NOT_RUN:
            continue
        said = settings.get(model.name)
        if manifest.format == "onnx":
            specs[model.name] = _spec(
                model.name,
                model.version,
                manifest.task,
                str(model.path),
                plan_onnx_options(profile, said, task=manifest.task, cores=cores),
                said,
                default_keep_alive_s,
                model.created,
                shortens=bool(manifest.metadata.get("matryoshka_dimensions")),
                prompts=_names(manifest.metadata.get("prompts")),
            )
            continue
        task: Task = said.task if said is not None and said.task is not None else manifest.task
        options = plan_options(
            profile,
            said,
            task=task,
            train_context_tokens=manifest.context,
            need=manifest.memory_bytes,
            budget_bytes=budget_bytes,
            cores=cores,
            chat_template=templates.get(model.name),
        )
        specs[model.name] = _spec(
            model.name,
            model.version,
            task,
            str(model.main_path),
            options,
            said,
            default_keep_alive_s,
            model.created,
            sampling=_sampling(manifest.metadata.get("sampling")),
        )
    for name, said in settings.items():
        if said.path is None:
            continue
        task = said.task or "generate"
        options = plan_options(
            profile,
            said,
            task=task,
            train_context_tokens=None,
            need=None,
            budget_bytes=budget_bytes,
            cores=cores,
            chat_template=templates.get(name),
        )
        specs[name] = _spec(name, "file", task, str(said.path), options, said, default_keep_alive_s, 0)
    return [specs[name] for name in sorted(specs)]


def starters(stored: Sequence[StoredModel], choice: Choice, settings: Mapping[str, ModelSettings]) -> list[StoredModel]:
    """The models that ship, as far as they are served beside the active ones of `stored` and bare files. Raises
    `ArtifactError`."""
    files = {name: said.task or "generate" for name, said in settings.items() if said.path is not None}
    return serving(
        bundled(),
        choice,
        names={model.name for model in stored if model.active} | files.keys(),
        tasks={model.manifest.task for model in stored if model.active} | set(files.values()),
    )


_NOT_RUN = (("onnx", "generate"), ("gguf", "transcribe"))
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""As ONNX Runtime calls them."""
_FIELDS = (
    "context_tokens",
    "slots",
    "batch_tokens",
    "micro_batch_tokens",
    "threads",
    "threads_batch",
    "gpu_layers",
    "kv_type",
    "flash_attention",
    "mmap",
    "mlock",
    "prefix_cache_mb",
)


def _spec(
    name: str,
    version: str,
    task: Task,
    path: str,
    options: Options,
    said: ModelSettings | None,
    default_keep_alive_s: float | None,
    created: int,
    *,
    shortens: bool = False,
    prompts: tuple[str, ...] = (),
    sampling: Mapping[str, float | int] | None = None,
) -> ModelSpec:
    return ModelSpec(
        name=name,
        version=version,
        task=task,
        path=path,
        options=options,
        aliases=said.aliases if said else (),
        pinned=said.pinned if said else False,
        keep_alive_s=said.keep_alive_s if said else default_keep_alive_s,
        preload=said.preload if said else False,
        created=created,
        shortens=shortens,
        prompts=prompts,
        sampling={**(sampling or {}), **(said.sampling.chosen() if said else {})},
    )


def _sampling(brought: Any) -> dict[str, float | int]:
    """What the settings would accept of a manifest's `sampling`, which anyone may have written."""
    found: dict[str, float | int] = {}
    for name, setting in declarations(SamplingSettings).items():
        value = brought.get(name) if isinstance(brought, dict) else None
        if setting.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        with contextlib.suppress(ConfigError):
            found[name] = setting.check(value, where="the manifest", base=Path())
    return found


def _names(prompts: Any) -> tuple[str, ...]:
    """Those of a manifest's prompts, which anyone may have written."""
    return tuple(sorted(prompts)) if isinstance(prompts, dict) else ()
