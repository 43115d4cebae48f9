"""Stand-ins of the imagery APIs, with their wire formats, limits and quirks: one or two modules each."""
