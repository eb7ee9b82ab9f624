"""Results as pages: one self-contained HTML file a report, and the picture of one solution's step scores."""
