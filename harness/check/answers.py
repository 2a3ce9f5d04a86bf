"""Are answers what was asked for, and do they depend on what they should and on nothing else?"""

from harness.check.case import CANVAS, Case, InapplicableError, require, with_other_conditions
from harness.contracts import Generation
from harness.tokenizer import EOS

_REASONS = ("eos", "length")
_CANDIDATES = 4
_UNEVEN = 3  # requests per batch that cut the candidates of a request apart


# --- what is asked for -------------------------------------------------------------------------------------------------
def answers_every_request_in_order(case: Case) -> None:
    """As many generations as requests, with their ids, each with `n` texts."""
    for candidates in (1, 2):
        requests = case.requests(candidates=candidates)
        given = case.generate(requests)
        require(len(given) == len(requests), f"{len(given)} generations for {len(requests)} requests.")
        require([item.id for item in given] == [item.id for item in requests], "ids are not those of the requests, in order.")
        wrong = next((item for item in given if len(item.texts) != candidates), None)
        require(wrong is None, f"{len(wrong.texts) if wrong else 0} texts where a request asked for {candidates}.")
        require(all(isinstance(text, str) for item in given for text in item.texts), "a text is not a str.")


def keeps_to_the_longest_answer(case: Case) -> None:
    """No more than `max_tokens` ids; exactly that many with `fixed_length`."""
    given = [item for item in case.generate(case.requests()) if item.ids is not None]
    if not given:
        raise InapplicableError("gives no token ids")
    longest = max(len(ids) for item in given for ids in item.ids or ())
    require(longest <= CANVAS, f"{longest} tokens where max_tokens is {CANVAS}.")
    if case.design.kind != "floor":
        lengths = {len(ids) for item in case.generate(case.requests(), fixed_length=True) for ids in item.ids or ()}
        require(lengths == {CANVAS}, f"fixed_length asks for {CANVAS} tokens, EOS ignored; lengths given: {sorted(lengths)}.")


def tells_how_its_texts_ended(case: Case) -> None:
    """Finish reasons are known words that agree with the ids; there is a position for each network call."""
    for item in case.generate(case.requests(candidates=2)):
        reasons, positions = item.finish_reasons, item.positions_processed
        require(
            len(reasons) in (0, len(item.texts)) and set(reasons) <= set(_REASONS),
            f"finish_reasons are {reasons} for {len(item.texts)} texts; expected one of {_REASONS} for each, or none at all.",
        )
        if case.speaks_the_tasks_tokens and item.ids is not None:
            ends = tuple("eos" if ids[-1:] == (EOS,) else "length" for ids in item.ids)
            require(reasons in ((), ends), f"finish_reasons are {reasons}; expected {ends}: 'eos' where the last id is EOS.")
        require(
            positions is None or positions >= max(item.network_calls, 0),
            f"positions_processed is {positions} for {item.network_calls} network calls; expected at least one for each call, "
            "or None where positions are not counted.",
        )


def gives_the_ids_of_its_texts(case: Case) -> None:
    """For each text the ids of the task's tokenizer that decode to it, in the vocabulary, none after EOS."""
    given = [item for item in case.generate(case.requests(candidates=2)) if item.ids is not None]
    if not given or not case.speaks_the_tasks_tokens:
        raise InapplicableError("gives no ids of the task's tokenizer")
    for item in given:
        count = len(item.ids or ())
        require(count == len(item.texts), f"{count} tuples of ids for {len(item.texts)} texts; expected one for each text.")
        for ids, text in zip(item.ids or (), item.texts, strict=True):
            _require_ids(case, ids, text)


def _require_ids(case: Case, ids: tuple[int, ...], text: str) -> None:
    tokenizer = case.view.tokenizer
    wrong = next((index for index in ids if not 0 <= index < len(tokenizer)), None)
    require(wrong is None, f"an id is {wrong}; expected 0 to {len(tokenizer) - 1}, the vocabulary of the task's tokenizer.")
    require(EOS not in ids[:-1], f"ids {ids} go on after EOS ({EOS}); cut them after the first EOS.")
    said = tokenizer.decode(ids)
    require(said == text, f"ids decode to {said!r}, the text is {text!r}; expected tokenizer.decode(ids) to be the text.")


# --- what answers depend on --------------------------------------------------------------------------------------------
def repeats_itself_for_the_same_seed(case: Case) -> None:
    """The same requests give the same texts, whatever was generated before."""
    first = case.texts(case.requests())
    case.texts(case.requests(seed=4))
    require(first == case.texts(case.requests()), "the same requests gave other texts: noise must depend on Request.seed alone.")


def depends_on_the_seed(case: Case) -> None:
    """Other seeds, other texts."""
    if case.design.kind == "floor":
        raise InapplicableError("floors may be deterministic")
    first, second = case.texts(case.requests()), case.texts(case.requests(seed=4))
    require(first != second, "other seeds gave the same texts to every request: Request.seed is ignored.")


def depends_on_the_condition(case: Case) -> None:
    """Another source or control gives another text to some request, and another likelihood to some example."""
    if case.family == "ucg" or (case.design.kind == "floor" and case.design.conditioning == "none"):
        raise InapplicableError("nothing is given but a seed" if case.family == "ucg" else "the design has no conditioning")
    requests = case.requests(candidates=_CANDIDATES)
    require(
        case.texts(with_other_conditions(requests)) != case.texts(requests),
        f"each of {len(requests)} requests was given the condition of another and all texts stayed the same; expected others. "
        "Let Request.condition enter the network.",
    )
    before, after = case.likelihood, case.model.likelihood(with_other_conditions(case.test))
    require(
        before is None or after is None or before.nats != after.nats,
        "other conditions gave the same likelihoods; expected those of the targets given Example.condition.",
    )


def does_not_depend_on_order_or_batch(case: Case) -> None:
    """Reversed requests, single requests and small batches give the same texts, with several candidates too."""
    requests = case.requests()
    expected = case.texts(requests)
    require(case.texts(requests[::-1]) == expected, "requests in another order gave other texts.")
    require(case.texts(requests, micro_batch=1) == expected, "micro_batch=1 gave other texts.")
    require(case.texts(requests[:1])[requests[0].id] == expected[requests[0].id], "a request alone gave another text.")
    several = case.requests(candidates=_CANDIDATES)[:_UNEVEN]
    require(
        case.texts(several, micro_batch=_UNEVEN) == case.texts(several),
        f"micro_batch={_UNEVEN} gave other texts to requests for {_CANDIDATES} candidates: draw the noise of a candidate from "
        "Request.seed and its number alone.",
    )


def draws_different_candidates(case: Case) -> None:
    """The candidates of a request are drawn apart."""
    if case.design.kind == "floor":
        raise InapplicableError("floors may be deterministic")
    given: list[Generation] = case.generate(case.requests(candidates=_CANDIDATES))
    require(
        any(len(set(item.texts)) > 1 for item in given),
        f"the {_CANDIDATES} candidates of each of {len(given)} requests were one text {_CANDIDATES} times; expected different "
        "ones. Give each candidate noise of its own, such as stream_seed(request.seed, candidate).",
    )
