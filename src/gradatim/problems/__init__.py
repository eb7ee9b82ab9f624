"""What is asked: problems from files, data sets and generators, and the lab, where every step's truth is known."""
