"""The published index: vectors and metadata behind two protocols, and the ledger of what was published."""
