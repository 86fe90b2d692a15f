"""Collections of passages with their vectors, and ranking. Knows no model: vectors come in from outside.

rows.py      a file or folder -> rows                shelf.py       the folder of collections
intake.py    rows -> passages, only what changed      collection.py  one collection: a SQLite database
indexing.py  passages -> vectors, resumable           query.py       vectors, words or both -> hits
"""
