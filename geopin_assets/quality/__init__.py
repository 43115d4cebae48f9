"""How good the reference is: coverage and its gaps, maps and reports. No Dagster, no storage."""
