"""Train, use and distrust reward models for reasoning."""
