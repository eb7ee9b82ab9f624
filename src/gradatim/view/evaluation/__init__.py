"""The page of `gradatim evaluate SUITE...`: report.json as a page to look at, and to mark steps on."""
