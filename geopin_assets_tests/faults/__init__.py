"""Everything that may go wrong, on purpose: `make test-faults` tries all of it, `make test` a part of it."""
