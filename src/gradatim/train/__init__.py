"""Labelled solutions -> a trained reward model. Config and targets are light; the loop needs torch (extra `model`)."""
