"""Agents that learn nothing from one task to the next: what a learned agent is to be measured against."""
