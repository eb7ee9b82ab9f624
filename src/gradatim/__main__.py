"""`python -m gradatim`."""

from gradatim.cli import main

main()
