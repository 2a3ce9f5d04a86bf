"""Statistics of per-item results: intervals, seeds, comparisons of cells, families of tests, rank bands."""
