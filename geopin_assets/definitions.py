"""The code location: assembles what `defs/` holds, and nothing else. Works from a checkout and from a wheel."""

import dagster as dg

from geopin_assets.defs.assemble import build_definitions

defs: dg.Definitions = build_definitions()
