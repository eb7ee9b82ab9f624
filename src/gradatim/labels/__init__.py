"""What each step is worth: labels counted by rollouts, and labels of people and other data sets as they are."""
