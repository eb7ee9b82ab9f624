"""`python -m gradatim.cli`."""

from gradatim.cli import main

main()
