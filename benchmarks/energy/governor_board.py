"""A simulated Raspberry Pi 5 without a fan that generates text: heat, clocks, watts and tokens. Nothing random.

Heat: two thermal resistances and capacities in series. All of the board's power warms the board (slow), the chip's
power warms the chip above the board (fast). Fitted to a bare Pi 5 at 20 °C: 40.0 °C at rest, then `stress -c 4` for
3 minutes: 82.3, 84.5, 86.2 °C after each (qiita.com/j-baba/items/08475f1d066d23e188eb).
`python -m benchmarks.energy.governor_rows` shows how near the fit comes.

Clocks: the firmware's own throttling. From 80 °C it takes the clock back by 50 MHz for each degree: 2256 MHz were seen
at 82.9 °C (github.com/raspberrypi/rpi-eeprom issue 518). At 85 °C it drops to arm_freq_min, 1500 MHz: a bare board at
88.1 °C flipped between 1500 and 2146 to 2311 MHz, with nothing between, and did 7890 MIPS of 7-zip (sbc-bench,
firmware of May 2025, github.com/ryderhutchings/ryderhutchings.github.io, content/articles/Raspberry Pi 5). While it
throttles it does not heed a lower limit of cpufreq (github.com/raspberrypi/linux issue 5875, open).

Volts: a line from 0.72 at 1500 MHz, the idle point of every board (github.com/raspberrypi/firmware issue 1876), to
0.91 at 2400 MHz. The firmware of November 2023 gave 0.82 V at 1500 MHz and 0.915 V at 2400 MHz
(github.com/geerlingguy/sbc-reviews issue 21): `low_volts`.

Watts, as the power chip's rails: 2.08 at rest and 5.80 under `stress -c 4` at 2.4 GHz (3.0 W and 7.2 W at the input,
through the fit of github.com/jfikar/RPi5-power), so 0.47 W per core, GHz and square volt: P ~ f V^2. 6.37 W while four
threads decode (github.com/ggml-org/llama.cpp issue 26484): waiting threads spin, so each costs about what a busy one
does, and the rest is memory traffic, 0.05 W per GB/s (chosen, so that the sum is right). Leakage that grows with heat
is left out: it would cost the hotter board more.

A Pi 5 without a heat sink peaked at 89 °C and was at 81 °C on average over a suite of benchmarks
(phoronix.com/review/raspberry-pi-5-benchmarks); a Pi 500, which has one, ran Ollama at 80 to 85 °C and 2.2 to 2.4 GHz
(github.com/geerlingguy/sbc-reviews issue 60). Both agree with this.

Tokens: bytes of weights read per second, at most what the memory gives to so many threads: 9.26, 13.23 and 11.59 GB/s
for 1, 2 and 4 (STREAM read-only at 2.4 GHz, same issue), and at most what the cores compute: 1.8 GB/s per thread and
GHz, from 15.4 GB/s on four Cortex-A76 at 2.3 GHz with twice the memory bandwidth (Q4_K on RK3588,
github.com/ggml-org/llama.cpp pull 6915). The two are joined by a 4-norm and scaled so that four threads at 2.4 GHz read
the measured 10.25 GB/s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

STEP_S: Final = 0.25
FULL_MHZ: Final = 2400.0
FLOOR_MHZ: Final = 1500.0
MEASURED_GB_PER_S: Final = 10.25


@dataclass(frozen=True, kw_only=True)
class Physics:
    ambient_celsius: float = 25.0
    board_celsius_per_watt: float = 6.0
    board_joules_per_celsius: float = 30.0
    chip_celsius_per_watt: float = 12.0
    chip_joules_per_celsius: float = 1.6
    idle_watts: float = 2.08
    idle_chip_watts: float = 0.6
    core_watts: float = 0.47
    """Per busy core, GHz and square volt."""
    memory_watts: float = 0.05
    """Per GB/s."""
    memory_gb_per_s: tuple[float, ...] = (9.26, 13.23, 12.41, 11.59)
    """By threads, at any clock; three threads lie between."""
    core_gb_per_s: float = 1.8
    """Per thread and GHz."""
    low_volts: float = 0.72
    full_volts: float = 0.91
    floor_mhz: float = FLOOR_MHZ
    throttle: Literal["firmware", "abrupt", "none"] = "firmware"
    """abrupt: at 85 °C down to the floor until it is below 75 °C, as boards do that have only trip points. none: heeds
    cpufreq's limit at any heat, as no board does."""
    model_gb: float = 0.398
    """Qwen2.5-0.5B Q4_K_M."""

    def volts(self, mhz: float) -> float:
        share = (mhz - FLOOR_MHZ) / (FULL_MHZ - FLOOR_MHZ)
        return max(self.low_volts, self.low_volts + share * (self.full_volts - self.low_volts))

    def gb_per_s(self, threads: int, mhz: float) -> float:
        """Of weights, while it computes."""
        return self._joined(threads, mhz) * MEASURED_GB_PER_S / self._joined(4, FULL_MHZ)

    def core_power(self, cores: float, mhz: float) -> float:
        return cores * self.core_watts * mhz / 1000 * self.volts(mhz) ** 2

    def decode_power(self, threads: int, mhz: float) -> float:
        """Watts of the chip that decoding adds."""
        return self.core_power(threads, mhz) + self.memory_watts * self.gb_per_s(threads, mhz)

    def _joined(self, threads: int, mhz: float) -> float:
        compute = self.core_gb_per_s * threads * mhz / 1000
        memory = self.memory_gb_per_s[threads - 1]
        return float((compute**-4 + memory**-4) ** -0.25)


@dataclass
class Board:
    """`cap_mhz` is cpufreq's limit, which a governor may lower. Starts as long at rest as it takes to settle."""

    physics: Physics = field(default_factory=Physics)
    cap_mhz: float = FULL_MHZ
    now_s: float = 0.0
    watts: float = 0.0
    tokens: float = 0.0
    joules: float = 0.0
    board_celsius: float = 0.0
    celsius: float = 0.0
    _tripped: bool = False

    def __post_init__(self) -> None:
        p = self.physics
        self.board_celsius = p.ambient_celsius + p.board_celsius_per_watt * p.idle_watts
        self.celsius = self.board_celsius + p.chip_celsius_per_watt * p.idle_chip_watts
        self.watts = p.idle_watts

    @property
    def mhz(self) -> float:
        """What the firmware leaves of the clock that was asked for."""
        if self.physics.throttle == "firmware" and self.celsius >= 80:
            return self._firmware_mhz()
        return min(self.cap_mhz, self._firmware_mhz())

    @property
    def flags(self) -> tuple[str, ...]:
        """As `get_throttled` says it."""
        if self.physics.throttle != "firmware":
            return ("throttled",) if self._tripped else ()
        soft = ("soft temperature limit",) if self.celsius >= 80 else ()
        return (*soft, "throttled") if self.celsius >= 85 else soft

    def decode(self, threads: int, *, pause_ratio: float = 0.0) -> None:
        """One step of time in which `threads` decode, and rest for `pause_ratio` of the time that they work."""
        duty = 1 / (1 + pause_ratio)
        gb_per_s = self.physics.gb_per_s(threads, self.mhz) * duty
        self.tokens += gb_per_s / self.physics.model_gb * STEP_S
        self._warm(self.physics.core_power(threads, self.mhz) * duty + self.physics.memory_watts * gb_per_s)

    def would_be(self, chip_watts: float) -> float:
        """Celsius of the chip after one more step in which work adds `chip_watts`."""
        p = self.physics
        to_board = (self.celsius - self.board_celsius) / p.chip_celsius_per_watt
        return self.celsius + (p.idle_chip_watts + chip_watts - to_board) / p.chip_joules_per_celsius * STEP_S

    def stress(self, cores: int) -> None:
        self._warm(self.physics.core_power(cores, self.mhz))

    def rest(self) -> None:
        self._warm(0.0)

    def _warm(self, chip_watts: float) -> None:
        p = self.physics
        self.watts = p.idle_watts + chip_watts
        to_board = (self.celsius - self.board_celsius) / p.chip_celsius_per_watt
        to_air = (self.board_celsius - p.ambient_celsius) / p.board_celsius_per_watt
        self.celsius += (p.idle_chip_watts + chip_watts - to_board) / p.chip_joules_per_celsius * STEP_S
        off_chip = p.idle_watts - p.idle_chip_watts
        self.board_celsius += (off_chip + to_board - to_air) / p.board_joules_per_celsius * STEP_S
        self.joules += self.watts * STEP_S
        self.now_s += STEP_S

    def _firmware_mhz(self) -> float:
        p = self.physics
        if p.throttle == "none":
            return FULL_MHZ
        if p.throttle == "abrupt":
            self._tripped = self.celsius >= 85 or (self._tripped and self.celsius >= 75)
            return p.floor_mhz if self._tripped else FULL_MHZ
        if self.celsius >= 85:
            return p.floor_mhz
        return FULL_MHZ - 50 * max(0.0, self.celsius - 80)


def fit(physics: Physics) -> tuple[float, ...]:
    """Celsius at rest, and after 1, 2 and 3 minutes of `stress -c 4`, to be held against 40.0, 82.3, 84.5, 86.2."""
    board = Board(replace(physics, ambient_celsius=20.0))
    seen = [board.celsius]
    for _ in range(3):
        for _ in range(int(60 / STEP_S)):
            board.stress(4)
        seen.append(board.celsius)
    return tuple(seen)
