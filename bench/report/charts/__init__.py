"""Charts, one a file. ``draw(...)`` returns a bench.report.svg.Chart, or None where there is nothing to draw."""
