"""Batched MuJoCo: all rows of a shard in one call, and the families that stand on it."""
