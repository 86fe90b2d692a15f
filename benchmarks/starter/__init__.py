"""The first minutes with the models that ship."""
