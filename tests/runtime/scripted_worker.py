"""A worker process without a model: it speaks the wire format and does what the path and the prompts tell it to.

    python scripted_worker.py FD

Path of the model (`key=value` separated by spaces): `memory` (bytes predicted and measured), `resident` (bytes said to
be resident after loading), `load_s`, `fail` (a code for LoadFailed), `die` (exit status while loading), `die_late` (the
same, once there is room), `die_while` (a file: exit while loading as long as it exists), `deaf` (ignore Shutdown and
SIGTERM), `mute` (never predict), `holder` (leave a grandchild that keeps the pipes open).

Prompt: `tokens`, `delay_s` (per token), `at` (the token before which the following happens), `signal` (to itself),
`exit` (status), `hang` (answer nothing), `stuck` (answer, but stay in one step), `fail` (a code), `garbage` (a frame
that is none), `close` (the socket), `deaf` (ignore Cancel), `flood` (all tokens in one frame).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from agent.runtime.wire.control import Cancel, Ping, Pong, SetPace, SetThreads, Shutdown
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.errors import Failed, WireError
from agent.runtime.wire.frames import FrameReader, decode_to_worker, encode
from agent.runtime.wire.generation import Delta, Finished, Generate
from agent.runtime.wire.loading import Loaded, LoadFailed, LoadModel, Predicted, Proceed
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import FromWorker

FOREVER_S = 3600.0


def parse(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


class Running:
    def __init__(self, request: Generate) -> None:
        prompt = request.prompt
        assert isinstance(prompt, str)
        self.id = request.id
        self.n = request.n
        self.script = parse(prompt)
        self.tokens = int(self.script.get("tokens", "3"))
        self.delay_s = float(self.script.get("delay_s", "0"))
        self.at = int(self.script.get("at", "0"))
        self.done = 0
        self.next_at = time.monotonic() + self.delay_s


class ScriptedWorker:
    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.frames = FrameReader()
        self.running: dict[int, Running] = {}
        self.load: LoadModel | None = None
        self.script: dict[str, str] = {}
        self.stuck_since: float | None = None
        self.threads = 1
        self.batch_tokens = 1

    def run(self) -> None:
        while True:
            due = min((r.next_at for r in self.running.values()), default=time.monotonic() + FOREVER_S)
            readable, _, _ = select.select([self.socket], [], [], max(0.0, due - time.monotonic()))
            if readable:
                data = self.socket.recv(1 << 20)
                if not data:
                    return
                for body in self.frames.feed(data):
                    for message in decode_to_worker(body):
                        self.handle(message)
            self.step()

    def send(self, *messages: FromWorker) -> None:
        self.socket.sendall(encode(messages))

    def handle(self, message: object) -> None:
        match message:
            case LoadModel():
                self.start_loading(message)
            case Proceed():
                self.finish_loading()
            case Generate():
                self.running[message.id] = Running(message)
            case Embed():
                self.send(Embedded(id=message.id, dim=2, vectors=b"\0" * 8 * len(message.inputs), prompt_tokens=1))
            case Cancel():
                request = self.running.get(message.id)
                if request is not None and "deaf" not in request.script:
                    self.finish(request, "cancelled")
            case SetThreads():
                self.threads = message.threads
            case SetPace():
                self.batch_tokens = message.batch_tokens
            case Ping():
                self.pong(message.seq)
            case Shutdown():
                if "deaf" not in self.script:
                    sys.exit(0)

    def start_loading(self, message: LoadModel) -> None:
        self.load = message
        self.script = script = parse(message.path)
        if "deaf" in script:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "holder" in script:
            import subprocess  # not needed by the others, which start quicker without it

            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        if "die" in script or ("die_while" in script and Path(script["die_while"]).exists()):
            print("something is wrong with this model", file=sys.stderr, flush=True)
            sys.exit(int(script.get("die", "9")))
        if "fail" in script:
            self.send(LoadFailed(WireError(code=script["fail"], message="scripted to fail", hint="do not")))
        elif "mute" not in script:
            self.send(Predicted(self.memory()))

    def memory(self, resident_bytes: int = 0) -> Memory:
        total = int(self.script.get("memory", "1000"))
        return Memory(
            weights_bytes=total // 2,
            kv_bytes=total - total // 2,
            compute_bytes=0,
            overhead_bytes=0,
            resident_bytes=resident_bytes,
        )

    def finish_loading(self) -> None:
        assert self.load is not None
        if "die_late" in self.script:
            sys.exit(int(self.script["die_late"]))
        time.sleep(float(self.script.get("load_s", "0")))
        self.send(
            Loaded(
                memory=self.memory(int(self.script.get("resident", "0"))),
                context_tokens=4096,
                train_context_tokens=4096,
                slots=self.load.options.slots,
                vocab_tokens=1,
                embedding_dim=2 if self.load.options.embedding else 0,
                has_chat_template=False,
                description="scripted",
                load_s=0.0,
            )
        )

    def pong(self, seq: int) -> None:
        age_s = 0.0 if self.stuck_since is None else time.monotonic() - self.stuck_since
        self.send(
            Pong(
                seq=seq,
                step_age_s=age_s,
                resident_bytes=int(self.script.get("resident", "0")),
                prefix_cache_bytes=0,
                kv_used_tokens=7,
                active_sequences=len(self.running),
                waiting_sequences=0,
                batch_tokens=self.batch_tokens,
                threads=self.threads,
            )
        )

    def step(self) -> None:
        now = time.monotonic()
        frame: list[FromWorker] = []
        for request in list(self.running.values()):
            if request.next_at > now:
                continue
            if request.done == request.at:
                self.misbehave(request)
                if request.id not in self.running or request.next_at > now:
                    continue
            count = request.tokens - request.done if "flood" in request.script else 1
            if request.done < request.tokens:
                for index in range(count):
                    text = f"{request.done + index} "
                    frame += [Delta(id=request.id, choice=c, text=text, tokens=1) for c in range(request.n)]
                request.done += count
                request.next_at = now + request.delay_s
            if request.done >= request.tokens:
                if frame:
                    self.send(*frame)
                    frame = []
                self.finish(request, "stop")
        if frame:
            self.send(*frame)

    def misbehave(self, request: Running) -> None:
        script = request.script
        if "signal" in script:
            os.kill(os.getpid(), signal.Signals[script["signal"]])
        if "exit" in script:
            os._exit(int(script["exit"]))
        if "garbage" in script:
            self.socket.sendall(b"\x02\0\0\0\xff\xff")
        if "hang" in script:
            time.sleep(FOREVER_S)
        if "close" in script:
            self.socket.close()
            time.sleep(FOREVER_S)
        if "stuck" in script:
            self.stuck_since = time.monotonic()
            request.next_at += FOREVER_S
        if "fail" in script:
            del self.running[request.id]
            self.send(Failed(id=request.id, error=WireError(code=script["fail"], message="scripted", param="prompt")))

    def finish(self, request: Running, reason: str) -> None:
        del self.running[request.id]
        for choice in range(request.n):
            self.send(
                Finished(
                    id=request.id,
                    choice=choice,
                    reason="cancelled" if reason == "cancelled" else "stop",
                    prompt_tokens=4,
                    cached_tokens=1,
                    completion_tokens=request.done,
                )
            )


if __name__ == "__main__":
    ScriptedWorker(int(sys.argv[1])).run()
