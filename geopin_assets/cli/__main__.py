"""`python -m geopin_assets.cli` is `geopin`."""

from geopin_assets.cli.main import main

main()
