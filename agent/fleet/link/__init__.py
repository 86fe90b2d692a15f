"""The line to the broker: connecting, staying connected, messages both ways. `link.py` is what others use."""
