"""What the doctor looks at, a module a group of checks; each check is a function from a `Patient` to a `Finding`."""
