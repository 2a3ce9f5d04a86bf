import numpy as np
import pytest

from tasks.world.draws import draw
from tasks.world.language import Language, language


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def tiny() -> Language:
    return language("tiny")


@pytest.fixture(scope="session")
def small() -> Language:
    return language("small")


@pytest.fixture(scope="session")
def small_texts(small: Language) -> list[str]:
    return draw(small.automaton, 2000, np.random.default_rng(7))


@pytest.fixture(scope="session")
def tiny_law(tiny: Language) -> dict[str, float]:
    """Every text of tiny with its probability, by walking all words from the start."""
    automaton, found = tiny.automaton, {}

    def visit(prefix: tuple[str, ...], probability: float) -> None:
        following = automaton.next_probabilities(prefix)
        if following[-1]:
            found[" ".join(prefix)] = probability * following[-1]
        for index in np.flatnonzero(following[:-1]):
            visit((*prefix, automaton.words[index]), probability * following[index])

    visit((), 1.0)
    return found
