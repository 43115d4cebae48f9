"""The assets: a module each, or for a few that belong together. All that is declared in one here is loaded."""
