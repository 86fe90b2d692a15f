"""The repository that devices update from: signed metadata (TUF 1.0) and files, all static."""
