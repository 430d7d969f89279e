"""Slow, obvious twins of the fast routines. When you optimise, you may not touch these."""
