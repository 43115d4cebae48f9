"""The `geopin` command: thin commands over the code that does the work. Nothing imports this package."""
