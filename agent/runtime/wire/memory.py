"""What a model takes."""

from __future__ import annotations

import msgspec


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes, in bytes. `resident_bytes` is what the operating system measured (0 in a prediction)."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int
    prefix_cache_bytes: int = 0
    gpu_bytes: int = 0
    resident_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Everything the model will need at its fullest, host and device memory together."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.overhead_bytes + self.prefix_cache_bytes
