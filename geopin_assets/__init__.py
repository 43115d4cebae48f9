"""GeoPin's reference-imagery platform: crawl, deduplicate, embed, publish and check open street-level imagery.

Import concrete submodules; this package re-exports nothing, so that importing it costs nothing.
"""
