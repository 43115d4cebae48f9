"""The index for others: publications to take, a feed of what changed since, and copies that follow it.

Here: what a publication is, how it is written, checked and applied. Not here: crawling, merging and embedding, whose
results it passes on, or when one is published (`defs/assets/exchange.py`). No pixels anywhere.
"""
