"""The assets, a module for each kind, each check beside the report it judges. None imports another."""
