"""Data to text and rewriting: does the text say exactly what was asked?"""

from collections.abc import Sequence

from harness.contracts import Content, Example
from harness.errors import MeasurementRefused
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import share
from tasks.world.automaton import Automaton
from tasks.world.exact import likelihood_gap
from tasks.world.realisations import Realisations
from tasks.world.task import World


def conditional_values(evaluation: Evaluation, task: World, texts: Sequence[str], signature: str) -> dict[str, Measurement]:
    """Share of correct answers, share in the language, and what tells apart the cheap ways to be correct.

    Correct means: the text parses in the language asked for, and its meaning equals the condition's.
    """
    signature = f"{signature}|{task.t2t if evaluation.family == 't2t' else 'data-to-text'}"
    said = [answers(evaluation, task).meaning(text) for text in texts]
    wanted = [asked(task, example) for example in evaluation.examples]
    values = {
        "correct": share(evaluation, [one == other for one, other in zip(said, wanted, strict=True)], signature=signature),
        "in_language": share(evaluation, [one is not None for one in said], signature=signature),
        "likelihood_gap": likelihood_gap(evaluation, task, signature),
    }
    if evaluation.family == "t2t":
        copied = [text == example.source for text, example in zip(texts, evaluation.examples, strict=True)]
        values["source_copies"] = share(evaluation, copied, signature=signature)
    if evaluation.family == "t2t" and task.t2t == "simplification":
        fewest = [Realisations(task.language.automaton, meaning).fewest_words for meaning in wanted]
        right = [one == other for one, other in zip(said, wanted, strict=True)]
        shortest = [hit and len(text.split()) == words for hit, text, words in zip(right, texts, fewest, strict=True)]
        values["shortest"] = share(evaluation, shortest, signature=signature)
    return values


def answers(evaluation: Evaluation, task: World) -> Automaton:
    """The language that an answer must be in."""
    translating = evaluation.family == "t2t" and task.t2t == "translation"
    return task.language.second_automaton if translating else task.language.automaton


def asked(task: World, example: Example) -> dict[str, str]:
    """The meaning that an example asks for.

    Raises:
        MeasurementRefused: the example has neither attributes nor a source in the language.
    """
    if isinstance(example.control, Content):
        return dict(example.control.attributes)
    meaning = task.language.automaton.meaning(example.source or "")
    if meaning is None:
        raise MeasurementRefused(f"example {example.id} has neither attributes nor a source of world {task.size}")
    return meaning
