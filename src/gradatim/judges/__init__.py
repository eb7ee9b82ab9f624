"""Critics: language models that read a solution and say which step is the first wrong one."""
