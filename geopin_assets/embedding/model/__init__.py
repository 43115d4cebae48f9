"""The networks: which are published, their weights, and how a batch passes through one."""

import os

# Before torch is loaded: its threads would spin while they wait for each other, and on cores that fetching and decoding
# use too that takes up to 2.4 times the CPU of the model.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
