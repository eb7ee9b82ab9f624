"""Attempts: policies that write solutions, and the stage that samples, verifies and splits them."""
