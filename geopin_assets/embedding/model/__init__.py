"""The networks: which are published, their weights, and how a batch passes through one."""
