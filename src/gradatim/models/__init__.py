"""The reward model itself: prefixes -> tokens -> one logit a step (PRM) or a solution (ORM). Needs torch."""
