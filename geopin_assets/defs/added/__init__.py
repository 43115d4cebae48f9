"""What `dg scaffold defs` writes, and whatever else Dagster reads from a folder: all of it is loaded.

Empty as the project comes. What belongs to the graph has its row in `graph.py` and its module in `assets/`.
"""
