"""Dagster's view of the platform, kept thin: the graph, its assets, what starts them, how they run.

Start with `graph.py`: every asset in a table. Nothing here crawls, merges, embeds or publishes: each asset calls the
package that does. No module here knows a source by name, holds SQL, a URL or a JSON key.
"""
