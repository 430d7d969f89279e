"""Engines that step MuJoCo's physics for many rows."""
