"""What a reward model is worth: benchmarks with null baselines, a stated threshold protocol and honest intervals.

Nothing here loads a model: what scores is handed in, or the scores were recorded before.
"""
