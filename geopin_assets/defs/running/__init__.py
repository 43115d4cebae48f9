"""How runs do their cells, from a range within a run to a region through every layer."""
