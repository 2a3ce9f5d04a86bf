"""A generated language whose truth is known: every probability is exact, every text parses in one way or not at all.

`constructions` writes the rules; `expansion` and `reduction` compile them to the `automaton`, the reference; `chart` parses the
uncompiled rules, the check. `language.language(size)` ties them together, `task.World` offers them, `metrics.WorldExact` scores.
"""
