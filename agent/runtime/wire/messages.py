"""The messages between the daemon and a worker.

Life of a worker, seen from the daemon (-> to the worker, <- from it):

    -> LoadModel   <- Predicted   -> Proceed   <- Loaded            (or <- LoadFailed at any point)
    -> Generate    <- Delta* then one of Finished, Failed           (per choice; Failed ends the whole request)
    -> Embed       <- one of Embedded, Failed
    -> Transcribe  <- Started, then one of Transcribed, Failed      (Failed at once for what cannot be prepared)
    -> Cancel      <- Finished(reason="cancelled") per choice still open
    -> Ping        <- Pong
    -> Shutdown    the worker exits with status 0
"""

from __future__ import annotations

from agent.runtime.wire.control import Cancel, Ping, Pong, SetPace, SetThreads, Shutdown
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.errors import Failed
from agent.runtime.wire.generation import Delta, Finished, Generate
from agent.runtime.wire.loading import Loaded, LoadFailed, LoadModel, Predicted, Proceed
from agent.runtime.wire.transcription import Started, Transcribe, Transcribed

Request = Generate | Embed | Transcribe
ToWorker = LoadModel | Proceed | Generate | Embed | Transcribe | Cancel | SetThreads | SetPace | Ping | Shutdown
Event = Delta | Finished | Failed | Embedded | Transcribed
FromWorker = Predicted | Loaded | LoadFailed | Delta | Finished | Failed | Embedded | Started | Transcribed | Pong
