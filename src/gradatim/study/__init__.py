"""Studies: questions about labels and reward models that the lab can answer, since it knows the truth about every step."""
