"""Golden kinds of time sampling -> baselines.parts.timesteps. Conversions and calls only."""

from golden_conversions import all_but_last, floats, ints, last, rows_of

from baselines.parts.timesteps import LossSecondMoment


def second_moment(T, history_per_term, uniform_prob, updates_t, updates_loss, extra_t, extra_loss):
    sampler = LossSecondMoment(T, per_step=history_per_term, uniform_share=uniform_prob)
    sampler.observe(ints(all_but_last(updates_t)), floats(all_but_last(updates_loss)))
    cold = sampler.weights()
    sampler.observe(ints([last(updates_t)]), floats([last(updates_loss)]))
    warm = sampler.weights()
    sampler.observe(ints(extra_t), floats(extra_loss))
    return {
        "weights_before_last_warmup_update": cold,
        "weights_warm": warm,
        "weights_after_extra": sampler.weights(),
        "loss_weight_if_drawn": sampler.loss_weights(),
    }


def genie_second_moment(T, history, uniform_prob):
    sampler = LossSecondMoment(T, per_step=len(history[0]), uniform_share=uniform_prob)
    cold = sampler.weights()
    sampler.observe(*rows_of(history))
    return {"before_warm_up": cold, "p": sampler.probabilities(), "importance_weights": sampler.loss_weights()}


KINDS = {
    "resample.loss_second_moment": second_moment,
    "genie.loss_second_moment": genie_second_moment,
}
