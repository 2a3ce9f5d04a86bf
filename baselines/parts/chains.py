"""Kernels that own a chain of transition matrices: discretised Gaussian and nearest-neighbour noise.

Such a kernel has levels: what is kept after i = 0..T steps of its own chain, falling from 1, in the kernel's own measure. alpha
means the step whose level is nearest, whatever schedule it came from, and a move from t to s is the product of the transitions
in between, never a rescaled one. Matrices here hold q(to = column | from = row), so rows sum to 1.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.parts.categorical import CategoricalKernel, Ids, Level, point
from harness.schedules.discretised import linear_beta_rescaled, outside, refuse
from harness.schedules.mutual_information import entropy, exponents_interpolated, powers, removed, unigram_law

MOST_STATES = 512
"""A chain of 1,000 stored matrices of this size takes 2 GB in float64."""
MOST_NEIGHBOURS = 1024
"""Laying a chain of 1,000 steps takes minutes at this size, and eight times as long at twice of it."""
MOST_LEFT = 1e-3
"""Share of the information that a nearest-neighbour chain may end with: samplers begin as if nothing were left."""
Index = Int[Tensor, "B L"]


class Chain(CategoricalKernel):
    """What chains share; a subclass says how laws are carried along it.

    Attributes:
        levels: what is kept after 0..T steps, falling.
    """

    levels: Tensor

    def index(self, alpha: Level) -> Int[Tensor, "B #L"]:
        """The step whose level is nearest to alpha."""
        between = (self.levels[1:] + self.levels[:-1]) / 2
        return torch.searchsorted(-between, -alpha.to(between.dtype).contiguous())

    @abstractmethod
    def carry(self, law: Float[Tensor, "B L S"], steps: Index) -> Float[Tensor, "B L S"]:
        """Where a law at step 0 has got to after some steps; float64."""

    @abstractmethod
    def arrive(self, x_t: Ids, first: Index, last: Index) -> Float[Tensor, "B L S"]:
        """q(x_last = x_t | x_first) as a function of x_first; float64."""

    def log_marginal(self, x0_hat: Float[Tensor, "B L V"], alpha: Level) -> Float[Tensor, "B L S"]:
        """See `CategoricalKernel`."""
        law = self.carry(x0_hat.exp().double(), self.index(alpha).expand(x0_hat.shape[:2]))
        return _log(law).where(self.index(alpha)[..., None] > 0, x0_hat.double())

    def log_transition(self, x_t: Ids, alpha_t: Level, alpha_s: Level) -> Float[Tensor, "B L S"]:
        """See `CategoricalKernel`."""
        first, last = self.index(alpha_s).expand(x_t.shape), self.index(alpha_t).expand(x_t.shape)
        return _log(self.arrive(x_t, first, last))


def _log(law: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return law.clamp_min(torch.finfo(law.dtype).tiny).log()


class MatrixChain(Chain):
    """A chain given by its matrices.

    Args:
        step: the matrix of step i, i = 1..T, float64.
        levels: what is kept after 0..T steps.
        stationary: law of the prior.
    """

    products: Tensor

    def __init__(
        self, step: Callable[[int], Float[Tensor, "S S"]], levels: Float[Tensor, "T_plus_1"], stationary: Float[Tensor, " S"],
        *, floor: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(len(stationary), stationary, floor=floor)
        self.step = step
        self.register_buffer("levels", levels, persistent=False)
        products = [torch.eye(self.states, dtype=torch.float64)]
        for i in range(1, len(levels)):
            products.append(products[-1] @ step(i))
        self.register_buffer("products", torch.stack(products), persistent=False)

    def carry(self, law: Float[Tensor, "B L S"], steps: Index) -> Float[Tensor, "B L S"]:
        """See `Chain`; one matrix product per different step."""
        carried = torch.empty_like(law)
        for step in steps.unique().tolist():
            here = steps == step
            carried[here] = law[here] @ self.products[step]
        return carried

    def arrive(self, x_t: Ids, first: Index, last: Index) -> Float[Tensor, "B L S"]:
        """See `Chain`; one composed matrix per different move."""
        law = torch.empty(*x_t.shape, self.states, dtype=torch.float64, device=x_t.device)
        moves = first * len(self.levels) + last
        for move in moves.unique().tolist():
            here = moves == move
            law[here] = self.composed(*divmod(move, len(self.levels))).mT[x_t[here]]
        return law

    def composed(self, first: int, last: int) -> Float[Tensor, "S S"]:
        """Product of the steps first + 1, ..., last."""
        product = torch.eye(self.states, dtype=torch.float64, device=self.levels.device)
        for i in range(first + 1, last + 1):
            product = product @ self.step(i).to(product.device)
        return product

    def information(self, alpha: Float[Tensor, " M"], unigram: Float[Tensor, " V"]) -> Float[Tensor, " M"]:
        """See `CategoricalKernel`; linear between the levels of the chain, and down to nothing below the last one."""
        kept = torch.stack([*(joint_information(product, unigram) for product in self.products), torch.zeros(()).double()])
        levels = torch.cat([self.levels, torch.zeros_like(self.levels[:1])])
        after = torch.searchsorted(-levels, -alpha.detach()).clamp(1, len(levels) - 1)
        width = (levels[after - 1] - levels[after]).clamp_min(torch.finfo(levels.dtype).tiny)
        return kept[after - 1] + (kept[after] - kept[after - 1]) * ((levels[after - 1] - alpha) / width)


def joint_information(matrix: Float[Tensor, "S S"], unigram: Float[Tensor, " S"]) -> Float[Tensor, ""]:
    """Mutual information of x_0 and x_t in nats, x_0 drawn from the unigram law."""
    pair = unigram[:, None] * matrix
    independent = unigram[:, None] * pair.sum(0)
    return (pair * (_log(pair) - _log(independent))).sum()


# --- discretised Gaussian --------------------------------------------------------------------------------------------
def gaussian_transition(states: int, beta: float, *, span: float | None = None) -> Float[Tensor, "S S"]:
    """A step to nearby ids, doubly stochastic (D3PM, appendix A.2.3).

    Off the diagonal exp(-4 d^2 / ((S - 1)^2 beta)), d the distance of two ids, divided by the sum of that weight over all
    distances on both sides; the diagonal takes the rest.

    Args:
        states: number of states S.
        beta: width of the step, squared.
        span: distance from the first id to the last; `None` = S - 1, as published. D3PM's released text code has S.
    """
    distance = torch.linspace(0, states - 1 if span is None else span, states, dtype=torch.float64)
    weight = torch.exp(-4 * distance**2 / ((states - 1) ** 2 * beta))
    weight = weight / (2 * weight.sum() - weight[0])
    places = torch.arange(states)
    matrix = weight[(places[:, None] - places).abs()]
    return matrix - torch.diag(matrix.sum(-1)) + torch.eye(states, dtype=torch.float64)


class DiscretisedGaussian(MatrixChain):
    """Noise that moves ids to nearby ids; the order of ids is all it knows (D3PM, appendix A.2.3).

    A level is the product of 1 - beta, so the schedule that makes the betas visits the chain step by step. It is not the share
    of information that is kept: nearby ids are soon mixed up, and 27 equally likely tokens have 10 % left at alpha = 0.5. A
    swapped schedule therefore spends much of its time near noise; mutual-information alone is solved for even losses. All
    products are kept: T S^2 numbers.

    Args:
        states: number of tokens V.
        betas: widths of the steps.

    Raises:
        ValueError: too many states for stored matrices, or betas that are none.
    """

    def __init__(self, states: int, betas: Float[Tensor, " T"], *, span: float | None = None, floor: float = 0.0) -> None:
        if states > MOST_STATES:
            raise ValueError(
                f"a discretised Gaussian kernel keeps a matrix per step and takes at most {MOST_STATES} states; got {states}. "
                "Choose another kernel, or a task with fewer tokens."
            )
        refuse(betas, outside(betas))
        kept = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas.double(), 0)])
        widths = [1.0, *betas.tolist()]
        super().__init__(
            lambda i: gaussian_transition(states, widths[i], span=span), kept,
            torch.full((states,), 1 / states, dtype=torch.float64), floor=floor,
        )  # fmt: skip

    @classmethod
    def of_length(cls, states: int, steps: int) -> "DiscretisedGaussian":
        """The chain with betas rising linearly from 0.1 / T to 20 / T (1e-4 to 0.02 at T = 1000, as published)."""
        return cls(states, linear_beta_rescaled(steps))


# --- mask and uniform noise at once ----------------------------------------------------------------------------------
def masking_rates(steps: int, share: float) -> Float[Tensor, " T"]:
    """Rates 1 / (T / share - i), i = 0..T-1, after which a share of all tokens is masked."""
    return 1 / (steps / share - torch.arange(steps, dtype=torch.float64))


def mask_and_uniform_transition(states: int, beta: float, mask_rate: float) -> Float[Tensor, "S S"]:
    """A step that masks at a rate and else replaces by any token with probability beta; the mask is last and stays.

    D3PM, appendix A.2.6, as released for text.
    """
    tokens = states - 1
    matrix = torch.zeros(states, states, dtype=torch.float64)
    matrix[:tokens, :tokens] = (1 - mask_rate) * ((1 - beta) * torch.eye(tokens, dtype=torch.float64) + beta / tokens)
    matrix[:tokens, tokens] = mask_rate
    matrix[tokens, tokens] = 1.0
    return matrix


class MaskAndUniform(MatrixChain):
    """Noise that masks some tokens and replaces others; levels are the probability that a token is untouched.

    Args:
        states: number of states S, the mask included.
        betas: probability of each step to replace.
        mask_rates: probability of each step to mask.
    """

    def __init__(self, states: int, betas: Float[Tensor, " T"], mask_rates: Float[Tensor, " T"]) -> None:
        kept = torch.cumprod((1 - betas) * (1 - mask_rates), 0)
        pairs = [(0.0, 0.0), *zip(betas.tolist(), mask_rates.tolist(), strict=True)]
        super().__init__(
            lambda i: mask_and_uniform_transition(states, *pairs[i]), torch.cat([torch.ones_like(kept[:1]), kept]),
            point(torch.tensor(states - 1), states).exp(),
        )  # fmt: skip


# --- nearest neighbours ----------------------------------------------------------------------------------------------
def neighbours(embeddings: Float[Tensor, "V E"], k: int) -> Int[Tensor, "V k"]:
    """The k nearest other tokens of every token, nearest first, by Euclidean distance of embeddings of length 1."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    distance = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(float("inf"))
    return distance.argsort(dim=-1, stable=True)[:, :k]


def neighbour_rate(nearest: Int[Tensor, "V k"]) -> Float[Tensor, "V V"]:
    """Rate matrix A - diag(column sums), A = (G + G^T) / (2 k) with G the neighbour graph (D3PM, appendix A.2.4)."""
    states, k = nearest.shape
    graph = torch.zeros(states, states, dtype=torch.float64).scatter_(1, nearest, 1.0)
    adjacency = (graph + graph.mT) / (2 * k)
    return adjacency - torch.diag(adjacency.sum(0))


class NearestNeighbour(Chain):
    """Noise that walks a graph of similar tokens, with steps that are integer powers of one small matrix expm(x R).

    R is symmetric, so it is kept as eigenvectors and eigenvalues: a law is carried any number of steps by two products with
    a vector, and no power is ever formed. Levels are the share of information kept, even as far as it falls: on a graph in parts
    what tells the part stays.

    Args:
        embeddings: one vector per token.
        k: neighbours per token.
        steps: number of steps T.
        unigram: counts of the tokens, for the information.

    Raises:
        ValueError: too many states, or neighbours that a token does not have.
    """

    embeddings: Tensor
    vectors: Tensor
    values: Tensor
    exponents: Tensor

    def __init__(
        self, embeddings: Float[Tensor, "V E"], k: int, *, steps: int, unigram: Float[Tensor, " V"] | Int[Tensor, " V"],
        floor: float = 0.0,
    ) -> None:  # fmt: skip
        states = len(embeddings)
        if states > MOST_NEIGHBOURS:
            raise ValueError(
                f"a nearest-neighbour kernel multiplies matrices of all states for every step and takes at most "
                f"{MOST_NEIGHBOURS} states; got {states}. Choose another kernel, or a task with fewer tokens."
            )
        if not 1 <= k < states:
            raise ValueError(f"neighbours = {k}, expected 1 to {states - 1}: a token has {states - 1} others")
        super().__init__(states, torch.full((states,), 1 / states, dtype=torch.float64), floor=floor)
        self.k, self.steps, self.law = k, steps, unigram_law(unigram)
        self.register_buffer("embeddings", embeddings)
        empty = {"vectors": (states, states), "values": (states,), "exponents": (steps + 1,), "levels": (steps + 1,)}
        for name, shape in empty.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.place(module.embeddings))
        self.place(embeddings)

    def place(self, embeddings: Float[Tensor, "V E"]) -> None:
        """Lay the graph and the chain anew."""
        self.embeddings.copy_(embeddings)
        values, vectors = torch.linalg.eigh(neighbour_rate(neighbours(self.embeddings.cpu(), self.k)))
        self.values.copy_(values.clamp(max=0))
        self.vectors.copy_(vectors)
        goals = torch.arange(1, self.steps + 1, dtype=torch.float64) / self.steps
        goals[-1] = 1 - min(0.5 / self.steps, MOST_LEFT)  # all of it is gone at infinity only
        found = exponents_interpolated(self._curve, goals * removed(self._curve, torch.tensor([1e5]).double()))
        taken = powers(found) * found.min()
        self.exponents.copy_(taken)
        self.levels.copy_(1 - removed(self._curve, taken))

    def _curve(self, exponents: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
        return torch.stack([joint_information(self.power(x), self.law) for x in exponents])

    def power(self, exponent: float | Tensor, *, times: int = 1) -> Float[Tensor, "V V"]:
        """expm(exponent R), to an integer power."""
        vectors, values = self.vectors.cpu(), self.values.cpu()
        return ((vectors * torch.exp(values * exponent * times)) @ vectors.mT).clamp_min(0)

    def prepare(self, ids: Int[Tensor, "N L"]) -> None:
        """Neighbours are tokens that stand beside the same words in the training canvases."""
        self.place(neighbourhood_embeddings(ids, self.states, self.embeddings.shape[1]))

    def carry(self, law: Float[Tensor, "B L S"], steps: Index) -> Float[Tensor, "B L S"]:
        """See `Chain`."""
        return self._walk(law, self.exponents[steps])

    def arrive(self, x_t: Ids, first: Index, last: Index) -> Float[Tensor, "B L S"]:
        """See `Chain`; the walk is symmetric."""
        here = torch.nn.functional.one_hot(x_t, self.states).double()
        return self._walk(here, self.exponents[last] - self.exponents[first])

    def _walk(self, law: Float[Tensor, "B L S"], exponents: Float[Tensor, "B L"]) -> Float[Tensor, "B L S"]:
        walked = (law @ self.vectors * torch.exp(exponents[..., None] * self.values)) @ self.vectors.mT
        return walked.clamp_min(0)

    def information(self, alpha: Float[Tensor, " M"], unigram: Float[Tensor, " V"]) -> Float[Tensor, " M"]:
        """See `CategoricalKernel`: alpha is the share that is kept."""
        return alpha * entropy(unigram)


def neighbourhood_embeddings(ids: Int[Tensor, "N L"], states: int, size: int) -> Float[Tensor, "V E"]:
    """Embeddings of tokens from the tokens beside them: leading eigenvectors of positive pointwise mutual information.

    Levy and Goldberg 2014, "Neural word embedding as implicit matrix factorization", section 3; window of one token.
    """
    places = ids[:, :-1].flatten() * states + ids[:, 1:].flatten()
    count = torch.bincount(places, minlength=states**2).double().view(states, states)
    pair = (count + count.mT) / (2 * count.sum().clamp_min(1))
    alone = pair.sum(0)
    information = torch.log(pair.clamp_min(1e-300) / torch.outer(alone, alone).clamp_min(1e-300)).clamp_min(0)
    values, vectors = torch.linalg.eigh(information)
    leading = values.abs().argsort(descending=True)[:size]
    found = vectors[:, leading] * values[leading].abs().sqrt()
    return torch.nn.functional.pad(found, (0, size - found.shape[1]))
