"""How bytes of this installation are kept: files replaced whole, SQLite files, locks between processes, object stores.

Not here: what is in them. Nothing in this folder knows a source, a cell or a capture.
"""
