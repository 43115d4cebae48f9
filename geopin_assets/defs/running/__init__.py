"""How runs go: over many cells, through a region, as backfills; and how captures are taken down."""
