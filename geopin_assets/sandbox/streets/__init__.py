"""The invented streets: what stands where, who drove past, and how it is painted."""
