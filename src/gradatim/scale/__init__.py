"""The same stages on several workers, over Ray: a crew is a policy, or a scorer, that is several."""
