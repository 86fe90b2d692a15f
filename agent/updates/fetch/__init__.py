"""Getting a model's files from a TUF repository: verified metadata, then only chunks that no local file holds.

The daemon has `Fetch` (`fetch.py`). All that touches the network, keys and files is done by short-lived child processes
(`python -m agent.updates.fetch`), one for each step, so that what they allocate is gone when they are:

    resolve     python-tuf: root, timestamp, snapshot, targets; the manifest and the chunk indices (`resolve.py`)
    compare     which chunks local files hold; files that were never cut are cut (`compare.py`)
    download    the missing chunks, by HTTP ranges or MQTT blocks, into a partial file; its hash (`download.py`)
"""
