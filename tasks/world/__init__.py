"""A generated language whose truth is known: every probability is exact, every text parses in one way or not at all.

meaning, lexicon, second, constructions -> rules; rules -> expansion -> reduction -> automaton (the reference); chart parses the
uncompiled rules (the check). `language.language(size)` ties them together, `task.World` offers them, `metrics.WorldExact` measures.
"""
