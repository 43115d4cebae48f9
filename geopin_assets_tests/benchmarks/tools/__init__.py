"""What several benchmarks share: images over HTTP from a process of their own, costs, tables. No benchmark is here."""
