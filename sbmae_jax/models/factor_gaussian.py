r"""A Gaussian whose coordinates are independent given a few factors, and what it says of noised latents.

Standardised latents z are modelled as z_i = w_i^T f + u_i, with K factors f ~ N(0, I) and u_i ~ N(0, psi_i),
so that their covariance is S = W W^T + diag(psi). Each coordinate is seen with a signal and a noise of its
own, x_i = h_i z_i + s_i eps_i:

    h = alpha, s = sigma   where a modality is noised,
    h = 1,     s = 0       where it is observed,
    h = 0                  where it is absent, so that x_i says nothing.

Given f the x_i are independent, x_i | f ~ N(h_i w_i^T f, 1 / a_i) with a_i = 1 / (h_i^2 psi_i + s_i^2). So
the posterior of the factors is a Gaussian of K dimensions, whose precision is a sum over coordinates, hence
over modalities:

    C = (I + sum_i h_i^2 a_i w_i w_i^T)^-1,      m = C sum_i h_i a_i w_i x_i.                         (1)

The mean g_i and the variance v_i of z_i given all of x follow from the two parts of z_i. Write c_i = w_i^T m
for the part that the factors say:

    g_i = c_i + k_i (x_i - h_i c_i),      k_i = psi_i h_i a_i,
    v_i = psi_i s_i^2 a_i + (s_i^2 a_i)^2 w_i^T C w_i = s_i^2 b_i^2,                                  (2)
    b_i^2 = psi_i a_i + s_i^2 a_i^2 w_i^T C w_i.

Two differences in which digits would cancel at low noise have forms in which none do:

    h_i g_i - x_i = -s_i^2 a_i (x_i - h_i c_i),                                                       (3)
    z_i - g_i = s_i [ s_i a_i (z_i - c_i) - k_i eps_i ].                                              (4)

The precision in (1) is not formed: where latents are known to a hundredth, its terms are 10,000 times as
large as the prior's, and rounding them would leave nothing of what is small. Let A have the rows
h_i a_i^(1/2) w_i^T, and [Q; R^-1] orthonormal columns. Then

    [A; I] = [Q; R^-1] R,      C = R^-1 R^-T,      m = R^-1 Q^T (a^(1/2) x),                          (5)
    w_i^T C w_i = |R^-T w_i|^2.                                                                       (6)

R is found by Cholesky QR, twice, as the error of one grows with the square of the condition number of A
(CholeskyQR2).

Over rows, g_i varies by what z_i varies less v_i: by psi_i h_i k_i + w_i^T w_i - (s_i^2 a_i)^2 w_i^T C w_i.

The cost of a row is in proportion to D K^2, thus linear in the number of modalities, plus K^3. All but x
depends on the pattern of a row alone, on its h and s. So rows that share a pattern share R, and each costs
D K; while a batch is sampled, all rows have one noise level and mostly one pattern.

With no factors and psi = 1 the covariance is I: c = 0, k = h a and b^2 = a = 1 / (h^2 + s^2).

Source: factor analysis, as in Rubin and Thayer 1982 (Psychometrika 47, 69-76); (1) is the matrix inversion
lemma. CholeskyQR2: Yamamoto et al. 2015 (Electron. Trans. Numer. Anal. 44, 306-326).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.types import Array


class Posterior(NamedTuple):
    """What the latents are, given what is seen of them; the head of this file has the symbols.

    Attributes:
        common: c, the part of each coordinate that the factors say, `[B, D]`.
        own: k, how much of what x adds to the factors is taken over, `[B, D]`.
        gain: a, the precision of what is seen of a coordinate, given the factors, `[B, D]`.
        spread: b, the standard deviation of z over that of the noise, `[B, D]`.
        guess: g, scaled to variance 1; 0 where nothing is known of a coordinate, `[B, D]`.
    """

    common: Array
    own: Array
    gain: Array
    spread: Array
    guess: Array


class FactorGaussian(NamedTuple):
    """A Gaussian of mean 0 and covariance W W^T + diag(psi).

    Attributes:
        loadings: W, `[D, K]`; K may be 0.
        noise: psi, the variance that is not common, above 0, `[D]`.

    Example:
        >>> import numpy as np
        >>> pair = FactorGaussian(np.full((2, 1), 0.8**0.5), np.full(2, 0.2))  # correlated by 0.8
        >>> x, alpha, sigma = np.array([[1.0, 9.0]]), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
        >>> common = pair.posterior(x, alpha, sigma).common  # the first is known, nothing of the second
        >>> round(float(common[0, 1]), 3)
        0.8
    """

    loadings: Array
    noise: Array

    def posterior(self, x: Array, alpha: Array, sigma: Array) -> Posterior:
        """Return what is known of the latents, by (1) and (2).

        Args:
            x: What is seen of the latents, `[B, D]`; finite.
            alpha: h, the signal in each coordinate, `[B, D]`: 1 where clean, 0 where x says nothing. `[1, D]`
                where all rows share it, and sigma too; then only `common` and `guess` have B rows.
            sigma: s, the standard deviation of the noise, `[B, D]` or `[1, D]`: 0 where clean, above 0 where
                h is 0.
        """
        noise = self.noise[None]
        gain = 1 / (alpha**2 * noise + sigma**2)
        own = noise * alpha * gain
        common, left = self._factors(x, alpha, sigma, gain)
        spread = jnp.sqrt(noise * gain + (sigma * gain) ** 2 * left)
        total = jnp.sum(self.loadings**2, axis=1)[None]
        variance = noise * alpha * own + total - (sigma**2 * gain) ** 2 * left
        guess = (common + own * (x - alpha * common)) / jnp.sqrt(jnp.maximum(variance, 1e-8))
        return Posterior(common, own, gain, spread, guess)

    def posterior_of_batch(self, x: Array, alpha: Array, sigma: Array) -> Posterior:
        """Return the same as `posterior`, `[B, D]` each, at the cost of one row if all rows are alike.

        Rows are alike if they share alpha and sigma, which is found out while compiled code runs. Under
        `jax.vmap` both ways are computed.

        Args:
            x: As for `posterior`.
            alpha: As for `posterior`, `[B, D]`.
            sigma: As for `posterior`, `[B, D]`.
        """

        def shared(x, alpha, sigma):
            found = self.posterior(x, alpha[:1], sigma[:1])
            return Posterior(*(jnp.broadcast_to(array, x.shape) for array in found))

        alike = jnp.all((alpha == alpha[:1]) & (sigma == sigma[:1]))
        return jax.lax.cond(alike, shared, self.posterior, x, alpha, sigma)

    def posterior_of_groups(self, x: Array, alpha: Array, sigma: Array, size: int) -> Posterior:
        """Return the same as `posterior`, `[B, D]` each, where groups of rows are alike.

        Args:
            x: As for `posterior`.
            alpha: As for `posterior`, `[B, D]`, the same for rows of a group.
            sigma: As for `posterior`, `[B, D]`, the same for rows of a group.
            size: Number of consecutive rows that form a group, a divisor of B.
        """
        if size == 1:
            return self.posterior(x, alpha, sigma)
        x, alpha, sigma = (array.reshape(-1, size, x.shape[1]) for array in (x, alpha, sigma))
        found = jax.vmap(self.posterior)(x, alpha[:, :1], sigma[:, :1])
        return Posterior(*(
            jnp.broadcast_to(array, x.shape).reshape(-1, x.shape[2]) for array in found
        ))  # fmt: skip

    def _factors(self, x: Array, alpha: Array, sigma: Array, gain: Array) -> tuple[Array, Array]:
        """Return c and w^T C w of (1) and (2), `[B, D]` and as `gain`, by (5) and (6)."""
        size, num_factors = self.loadings.shape
        if not num_factors:
            return jnp.zeros_like(x), jnp.zeros_like(gain)
        scale = jnp.sqrt(gain)
        identity = jnp.broadcast_to(jnp.eye(num_factors), (gain.shape[0], num_factors, num_factors))
        basis = (alpha * scale)[..., None] * self.loadings[None]
        basis = jnp.concatenate([basis, identity], axis=1)
        for _ in range(2):
            basis = _product(basis, _inverse_root(_product(_transposed(basis), basis)))
        root = basis[:, size:]
        mean = _by_row(_by_row(scale * x, basis[:, :size]), _transposed(root))
        common = _product(mean, self.loadings.T)
        return common, jnp.sum(_product(self.loadings[None], root) ** 2, axis=-1)


def _inverse_root(gram: Array) -> Array:
    """Return R^-1 of gram = R^T R with R upper triangular, `[B, K, K]`."""
    return _transposed(_invert_lower(jnp.linalg.cholesky(gram)))


def _transposed(matrices: Array) -> Array:
    return jnp.swapaxes(matrices, -1, -2)


def _product(a: Array, b: Array) -> Array:
    """Return a @ b in full precision: a device may round the factors of products to ten bits otherwise."""
    return jnp.matmul(a, b, precision="highest")


def _by_row(rows: Array, matrices: Array) -> Array:
    """Return each row [B, N] times its matrix, [B, N, K], or times the one that all share, [1, N, K]."""
    if matrices.shape[0] == 1:
        return _product(rows, matrices[0])
    return _product(rows[:, None], matrices)[:, 0]


def _invert_lower(root: Array) -> Array:
    """Invert lower triangular matrices [B, K, K], by products of blocks of twice the size each time.

    Many small systems of equations would each start the threads of a linear algebra library.
    """
    size = root.shape[-1]
    padded = 1 << (size - 1).bit_length()
    root = jnp.pad(root, ((0, 0), (0, padded - size), (0, padded - size)))
    diagonal = jnp.diagonal(root, axis1=1, axis2=2) + jnp.asarray(np.arange(padded) >= size)[None]
    inverse, half = (1 / diagonal)[:, :, None, None], 1  # of the blocks on the diagonal
    while half < padded:
        num = padded // (2 * half)
        blocks = root.reshape(-1, num, 2 * half, num, 2 * half)[
            :, np.arange(num), :, np.arange(num)
        ]
        below = jnp.moveaxis(blocks, 0, 1)[:, :, half:, :half]
        first, second = inverse[:, 0::2], inverse[:, 1::2]
        below = -_product(_product(second, below), first)
        upper = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        lower = jnp.concatenate([below, second], axis=-1)
        inverse, half = jnp.concatenate([upper, lower], axis=-2), 2 * half
    return inverse[:, 0, :size, :size]


def standard_gaussian(size: int) -> FactorGaussian:
    """Return the Gaussian of covariance I over `size` coordinates, which has no factors."""
    return FactorGaussian(jnp.zeros((size, 0)), jnp.ones(size))
