"""A trained model: it encodes, generates and decodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax._check import (
    as_key,
    require_mask,
    require_one_of,
    require_type,
)
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models import density, generation, imputation, information
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.coders import FrozenAutoencoder
from sbmae_jax.models.decoding import decode
from sbmae_jax.models.density import LogDensity
from sbmae_jax.models.diffusion_decoder import (
    DecodingConfig,
    DiffusionDecoder,
    require_decodable,
)
from sbmae_jax.models.energy import energy_fn
from sbmae_jax.models.export import export_model
from sbmae_jax.models.generation import StepMaker
from sbmae_jax.models.imputation import Imputation
from sbmae_jax.models.latents import Layout, Moments
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.models.saved import save_model
from sbmae_jax.models.score import score_fn
from sbmae_jax.models.summary import as_text, model_as_html
from sbmae_jax.models.task import Params
from sbmae_jax.models.values import as_prepared, as_trained_on, is_number, require_whole
from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
from sbmae_jax.sampling.guidance import classifier_free, guide, noise_condition
from sbmae_jax.sampling.information import Information
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "moments"),
    meta_fields=(
        "modalities",
        "autoencoders",
        "scalings",
        "entries",
        "ignored",
        "score_network",
        "energy_network",
        "sde",
        "sampling",
        "marginals",
        "decoders",
        "decoding",
    ),
)
@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Model:
    """Autoencoders of all modalities, and the score of their joint latents.

    As a pytree its leaves are the arrays, `params` and `moments`, so that a model can be an argument of a
    compiled function. Models are compared and hashed by identity. A model can be pickled and copied, and a
    notebook shows it as a table. `sbmae_jax.fit` trains one, and `sbmae_jax.load` returns one from a trained
    run.

    Attributes:
        params: `{"autoencoders": {name: parameters}, "score": parameters}`, "energy" for a model with an
            energy network, and `"decoders": {name: parameters}` for one with diffusion decoders.
        moments: Mean and standard deviation of the latents, by which they are standardised, and the
            covariance that the score starts from, if it has one.
        modalities: What is modelled, in the order of the joint latents.
        autoencoders: One for each modality, in the order of `modalities`; frozen ones are functions of your
            own, see `FrozenCoder`.
        scalings: `(name, scaling)` of the modalities whose data the networks see in other units.
        entries: `(name, names)` of the entries of vectors, where they have names.
        ignored: What the training data had besides the modalities; `impute` does not look at it, nor does
            `generate` in a data frame.
        score_network: A Flax module, see `score.score_task`.
        energy_network: A Flax module, see `energy.energy_task`, or None; used if `sampling.guidance` is
            above 0.
        sde: The process that noises the latents.
        sampling: How latents are drawn.
        marginals: Whether the score knows some modalities without the others, from training with
            `ScoreMatchingConfig.absent_prob` above 0.
        decoders: `(name, decoder)` of the modalities that have a diffusion decoder.
        decoding: How those decode.

    Example:
        From a trained run, here one on pictures and captions::

            model = sbmae_jax.load("runs/mine")
            samples = model.generate({"picture": pictures}, key=0)
            samples["caption"]

    Source:
        Wesego and Rooshenas 2023 (arXiv:2305.15708).
    """

    params: dict[str, Params]
    moments: Moments
    modalities: tuple[Modality, ...]
    autoencoders: tuple[Autoencoder | FrozenAutoencoder, ...]
    scalings: tuple[tuple[str, Scaling], ...] = ()
    entries: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ignored: tuple[str, ...] = ()
    score_network: Any
    energy_network: Any = None
    sde: SDE
    sampling: SamplingConfig
    marginals: bool = False
    decoders: tuple[tuple[str, DiffusionDecoder], ...] = ()
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return model_as_html(self)

    @property
    def layout(self) -> Layout:
        """The order and the sizes of the latents."""
        return layout(self.modalities)

    @property
    def joint_score(self) -> ScoreFn:
        """The learned score of all latents together, none of them observed: `(x [B, D], t) -> [B, D]`."""
        return self._learned_score(None)

    def encode(self, batch: Mapping[str, Array]) -> Array:
        """Encode all modalities.

        Args:
            batch: `{name: [B, *shape]}`, as the networks see them: bytes, or floats.

        Returns:
            Standardised latents `[B, D]`.
        """
        return self.moments.standardise(
            encode(self.modalities, self.autoencoders, self.params["autoencoders"], batch)
        )

    def decode(
        self, x: Array, key: Key | None = None, strings: bool = True, noise: bool = True
    ) -> dict[str, Array]:
        """Decode standardised latents.

        Args:
            x: Standardised latents `[B, D]`.
            key: A typed key, to draw from p(x|z). None takes its mean. Row i gets the same noise however many
                rows follow it.
            strings: Whether the tokens of strings are drawn as well. Otherwise they are the most probable
                ones, which makes fewer slips of spelling.
            noise: Whether all modalities are drawn, or those with a diffusion decoder alone, of whose p(x|z)
                a draw is no noisier than the data.

        Returns:
            `{name: [B, *shape]}`, as the networks see them.
        """
        return decode(self, x, key, strings, noise)

    def score(self, key: Key, observed: Array) -> ScoreFn:
        """Return the score of the unobserved latents, guided as `sampling` says.

        Args:
            key: A typed key, for the noise that classifier-free guidance adds to what is observed; not
                used without it.
            observed: `[B, M]` bool, in the order of `modalities`; rows may differ.

        Returns:
            `(x [B, D], t) -> [B, D]`, where x holds observed latents as `sampling.conditioning` says.
        """
        known = observed if self.sampling.conditioning == "amortised" else None
        mask = self.layout.expand(observed)
        score = self._learned_score(known)
        if not is_number(self.sampling.classifier_free, 1):
            noise = jax.random.normal(key, mask.shape)
            joint = noise_condition(self.joint_score, self.sde, noise, mask)
            score = classifier_free(score, joint, self.sampling.classifier_free)
        if is_number(self.sampling.guidance, 0):
            return score
        clean = self.sampling.conditioning != "renoise"
        energy = energy_fn(self._latent_network("energy"), observed, observed_clean=clean)
        return guide(score, energy, self.sampling.guidance, mask=mask)

    def conditional_score(self, observed: Array, absent: Array | None = None) -> ScoreFn:
        """Return the learned score of the unobserved latents given the observed ones, without any guidance.

        With it, any function of `sbmae_jax.sampling` that takes a score runs on this model.

        Args:
            observed: `[B, M]` bool, in the order of `modalities`; rows may differ.
            absent: `[B, M]` bool, modalities of which nothing is known: the score is that of the marginal
                of the others, for a model with `marginals`. None: none.

        Returns:
            `(x [B, D], t) -> [B, D]`, where x holds observed latents without noise; 0 on these.

        Example:
            The score at some latents; `sample_with` draws by it::

                observed = model.layout.observed([], num_rows=8)  # nothing
                x = model.sde.prior(jax.random.key(0), (8, model.layout.size))
                model.conditional_score(observed)(x, 1.0)
        """
        given = {"observed": observed} | ({} if absent is None else {"absent": absent})
        for name, mask in given.items():
            require_mask(mask)
            if np.ndim(mask) != 2 or np.shape(mask)[1] != len(self.modalities):
                raise ValueError(
                    f"{name} must be [B, {len(self.modalities)}], got {np.shape(mask)}: use "
                    "model.layout.observed(names, num_rows)"
                )
        if absent is not None:
            information.require_marginals(self)
        return self._learned_score(observed, absent)

    def sample(self, key: Key, x: Array, observed: Array) -> Array:
        """Draw the unobserved latents given the observed ones.

        Args:
            key: A typed key.
            x: Standardised latents `[B, D]`; only those of observed modalities are used.
            observed: `[B, M]` bool, in the order of `modalities`; rows may differ.

        Returns:
            Standardised latents `[B, D]`, those of observed modalities as in x.

        Example:
            Draw the second modality of prepared rows given the first, and decode both::

                z = model.sample(key, model.encode(batch), np.array([[True, False]] * 8))
                made = model.decode(z)
        """
        guidance_key, sample_key = jax.random.split(key)
        score = self.score(guidance_key, observed)
        mask = self.layout.expand(observed)
        return generate_latents(sample_key, self.sde, score, self.sampling, x, mask)

    def complete(self, key: Key, batch: Mapping[str, Array], observed: Array) -> dict[str, Array]:
        """Generate the unobserved modalities. This method is pure; `complete` of this module compiles it.

        Args:
            key: A typed key.
            batch: All modalities, `{name: [B, *shape]}`; values of unobserved ones are not used.
            observed: `[B, M]` bool, in the order of `modalities`; rows may differ.

        Returns:
            `{name: [B, *shape]}`, all modalities decoded, as the networks see them. Observed ones are their
            reconstructions, without diffusion decoders.

        Example:
            With prepared rows, of which the first modality of two is observed::

                made = jax.jit(Model.complete)(model, key, batch, np.array([[True, False]] * 8))
        """
        x = self.sample(key, self.encode(batch), observed)
        return decode(self, x, jax.random.fold_in(key, DECODING), True, False, observed)

    def draw(
        self, key: Key, batch: Mapping[str, Array], observed: Array, strings: bool = True
    ) -> dict[str, Array]:
        """Generate the unobserved modalities as `complete`, but draw from p(x|z) instead of its mean.

        Args:
            key: A typed key.
            batch: All modalities, `{name: [B, *shape]}`; values of unobserved ones are not used.
            observed: `[B, M]` bool, in the order of `modalities`; rows may differ.
            strings: As for `decode`.

        Returns:
            `{name: [B, *shape]}`, all modalities, as the networks see them.
        """
        sample_key, noise_key = jax.random.split(key)
        x = self.sample(sample_key, self.encode(batch), observed)
        return decode(self, x, noise_key, strings, True, observed)

    def reconstruct(self, batch: Mapping[str, Array], key: Key | None = None) -> dict[str, Array]:
        """Encode and decode all modalities.

        Args:
            batch: `{name: [B, *shape]}`, as the networks see it.
            key: A typed key for diffusion decoders; without it they are not used.

        Returns:
            The decoded arrays, with the same names and shapes.

        Example:
            What the autoencoder of a modality loses of rows in your units::

                batch = {m.name: model.prepare(m, rows[m.name]) for m in model.modalities}
                lost = batch["lab"] - model.reconstruct(batch)["lab"]
        """
        return self.decode(self.encode(batch), key, noise=False)

    def generate(
        self, given: Any, *, key: Key | int = 0, num_samples: int | None = None,
        noise: bool | None = None, decoder: str | None = None, steps: int | None = None,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Generate all modalities from any subset of them, which may be empty.

        At most 512 rows are drawn at once, and the results are gathered in host memory. Fewer rows
        are padded to a power of two, so that few executables serve any number of rows. Rows do not depend on
        each other: with one key, row i gets the same noise however many rows follow it.

        Args:
            given: `{name: [B, *shape]}`; bytes or floats in [0, 1], or the units of your data for
                modalities with a scaling. Or a data frame of pandas or polars without holes, whose columns
                are named as in training.
            key: A typed key, or a seed in 0..2^32 - 1. Piece i of the rows has the key `fold_in(key, i)`.
            num_samples: Number S of samples for each given row, or in all if nothing is given, 1 to 10^9.
                None draws one for each given row, and no axis for samples is added then.
            noise: Whether to draw from p(x|z), as data of your own vary, or to take its mean: the rate of
                counts, the probable class. Either way values are rounded to what your data could hold, so
                that the mean of rare counts is mostly 0. None draws for data of your own, but takes the most
                probable tokens of strings, and takes the mean for data that come prepared.
            decoder: "diffusion" or "mean", for modalities that have a diffusion decoder, whose draws do not
                depend on `noise`. None is that of `decoding`; see `with_decoding` for all settings.
            steps: Steps of diffusion decoders, in 1..1000; None is that of `decoding`.

        Returns:
            In [0, 1] or in the units of your data, `{name: [B, *shape]}`; `[B, S, *shape]` with both `given`
            and `num_samples`; `[S, *shape]` with `num_samples` alone. Modalities that were given come back
            unchanged, but in the units of your training data, and in their dtype where it holds the values
            exactly; with `num_samples` as a read-only view that repeats them for each sample.

        Raises:
            ValueError: For an unknown modality; for values with the wrong shape, type or range; for rows
                with holes, which `impute` fills; for arrays of different lengths; if nothing is given and
                `num_samples` does not say how many samples to draw; and for an invalid key.

        Example:
            With a model that was loaded by `sbmae_jax.load`::

                model.generate({}, num_samples=16)  # all modalities, unconditionally
                model.generate({"picture": pictures}, key=1)  # one sample for each picture
                model.generate({"picture": pictures}, num_samples=20)  # twenty: [B, 20, ...]
        """
        run = {None: draw_values, True: draw, False: complete}[self._noise(noise)]
        chosen = {"decoder": decoder, "num_steps": steps}
        changes = {name: value for name, value in chosen.items() if value is not None}
        model = self.with_decoding(**changes) if changes else self
        return generation.generate(model, run, given, key, num_samples)

    def sample_with(
        self, make_step: StepMaker, given: Any, *, times: Array | None = None, key: Key | int = 0,
        num_samples: int | None = None, noise: bool | None = None,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Generate as `generate`, but by any step of `sbmae_jax.sampling`, or one of your own.

        The score that the step gets is the one that `generate` uses: it knows what is observed, and is
        guided, as `sampling` says. Observed latents are put back before and after each step, and in the end
        the prediction of the clean latents replaces the rest.

        Args:
            make_step: `(sde, score) -> step`, such as `heun`, `dpm_solver`, or
                `lambda sde, score: chain(ancestral(sde, score), langevin(sde, score))`. It is called once for
                each compiled function; pass the same object again, and nothing is compiled again.
            given: As for `generate`.
            times: `[N + 1]`, falling from 1 to nearly 0, such as `uniform_times(20)`. None takes those of
                `generate`.
            key: As for `generate`.
            num_samples: As for `generate`.
            noise: As for `generate`.

        Returns:
            As `generate`.

        Raises:
            ValueError: As `generate`; for a `make_step` that does not make steps; for times that rise or do
                not start at 1; if the samples are not finite; and for conditioning "particles", which has
                steps of its own.

        Example:
            Twenty steps of the probability flow, by Heun's rule::

                from sbmae_jax import heun, uniform_times

                model.sample_with(heun, {"picture": pictures}, times=uniform_times(20))
        """
        run = generation.by_steps(self, make_step, times, self._noise(noise))
        return generation.generate(self, run, given, key, num_samples)

    def log_density(
        self, given: Mapping[str, Any], of: Sequence[str] | None = None, *, key: Key | int = 0,
        num_levels: int = 64, num_draws: int = 4,
    ) -> LogDensity:  # fmt: skip
        """Return the log-density of the latents of some modalities, given those of others.

        This is the density of the standardised latents, not of your data, as the encoders decide what is
        kept. Use it to compare rows under one model, never to compare models. It is computed along the
        probability-flow ODE of the learned score. Samplers that add noise draw from a slightly different
        distribution.

        Args:
            given: `{name: [B, *shape]}`, as for `generate`.
            of: The modalities whose density is asked for; the others that are given are conditioned on. None
                asks for all that are given. Modalities that are not given are marginalised out.
            key: A typed key, or a seed in 0..2^32 - 1, for the draws below.
            num_levels: Steps of Heun's rule from the data to the prior, in 2..10,000. Each evaluates the
                score twice, with a derivative for each latent, or with 8 random probes where there are more
                than 64.
            num_draws: Number of draws of the modalities that are not given, or of the random probes, over
                which the value is averaged, in 2..10,000.

        Returns:
            Values and standard errors, in nats.

        Raises:
            ValueError: As `generate`, for what is given; if `of` names a modality that is not given; and if
                the density is conditional or marginal, but the score was not trained with observed
                modalities.

        Example:
            Of a trained model::

                model.log_density({"lab": lab, "photo": photos}).value  # ln p(lab, photo)
                model.log_density({"lab": lab, "photo": photos}, of=["lab"]).value  # ln p(lab | photo)

        Source:
            The head of `models/density.py`.
        """
        return density.log_density(self, given, of, key, num_levels, num_draws)

    def surprise(self, rows: Mapping[str, Any], **options: Any) -> np.ndarray:
        """Return how improbable rows are, in nats: -ln p of their latents. Outliers have the largest values.

        It sees what the encoders keep. A row whose values no encoder has seen may still have usual latents:
        compare `rows` with their reconstructions as well.

        Args:
            rows: `{name: [B, *shape]}`, any modalities, the same for all rows.
            **options: As for `log_density`.

        Returns:
            `[B]`.

        Raises:
            ValueError: As `log_density`.

        Example:
            The ten rows that fit the model least::

                np.argsort(model.surprise(rows))[::-1][:10]
        """
        return -self.log_density(rows, **options).value

    def information(
        self, rows: Mapping[str, Any], *, key: Key | int = 0, num_levels: int = 32,
        num_draws: int = 4,
    ) -> dict[tuple[str, str], Information]:  # fmt: skip
        """Estimate what modalities know of each other: their mutual information, for all pairs.

        A model with `marginals` compares scores, as `mutual_information`. Others compare log-densities, which
        takes longer and has larger standard errors.

        Args:
            rows: `{name: [B, *shape]}` of at least two modalities; rows that the model was not trained on.
            key: A typed key, or a seed in 0..2^32 - 1.
            num_levels: As for `mutual_information`, or without `marginals` as for `log_density`.
            num_draws: As for `log_density`; not used with `marginals`.

        Returns:
            `{(name, other name): estimate}`, each pair in both orders, in nats.

        Raises:
            ValueError: As `mutual_information` or `log_density`, and for fewer than two modalities.

        Example:
            Of a trained model, on test rows::

                for pair, found in model.information(rows).items():
                    print(pair, f"{found.value:.2f} ± {found.se:.2f} nats")

        Source:
            The head of `models/information.py`, and equation (2) in that of `models/density.py`.
        """
        if self.marginals:
            return information.all_pairs(self, rows, key, num_levels)
        return density.information(self, rows, key, num_levels, num_draws)

    def mutual_information(
        self, rows: Mapping[str, Any], a: str | Sequence[str], b: str | Sequence[str],
        given: str | Sequence[str] = (), *, key: Key | int = 0, num_levels: int = 32,
    ) -> Information:  # fmt: skip
        """Estimate the mutual information of two groups of modalities, perhaps given others.

        It is that of the latents, which hold at most what the data do: a lower bound of the information
        between the data, up to errors of the score network. If `by_error` of the result is far below its
        value, the network errs.

        Args:
            rows: `{name: [B, *shape]}`, at least two; some hundred rows that the model was not trained on.
            a: A modality, or several.
            b: A modality, or several, others than in `a`.
            given: What is known already: the result is I(a; b | given).
            key: A typed key, or a seed in 0..2^32 - 1.
            num_levels: Levels of noise, in 2..10,000; see `sbmae_jax.mutual_information`. More also average
                over more noise.

        Returns:
            The estimate in nats, with its standard error over rows and noise.

        Raises:
            ValueError: For a model without `marginals`, which `config.score.absent_prob` trains; for names
                that are unknown, not in rows, or in two groups; for an empty group; for fewer than two rows,
                and for values that do not fit.

        Example:
            Of a trained model, on test rows::

                found = model.mutual_information(rows, "lab", ["photo", "report"])
                print(f"{found.value:.2f} ± {found.se:.2f} nats")

        Source:
            The heads of `models/information.py` and `sampling/information.py`.
        """
        return information.mutual_information(self, rows, a, b, given, key, num_levels)

    def total_correlation(
        self, rows: Mapping[str, Any], groups: Sequence[str | Sequence[str]] | None = None, *,
        key: Key | int = 0, num_levels: int = 32,
    ) -> Information:  # fmt: skip
        """Estimate how far groups of modalities are from independent: 0 nats if they are.

        Args:
            rows: As for `mutual_information`.
            groups: Modalities, or lists of them, at least two. None takes each modality of the rows.
            key: As for `mutual_information`.
            num_levels: As for `mutual_information`.

        Returns:
            As `mutual_information`.

        Raises:
            ValueError: As `mutual_information`, and for fewer than two groups.

        Example:
            Of a trained model, on test rows::

                model.total_correlation(rows).value
        """
        return information.total_correlation(self, rows, groups, key, num_levels)

    def o_information(
        self, rows: Mapping[str, Any], groups: Sequence[str | Sequence[str]] | None = None, *,
        key: Key | int = 0, num_levels: int = 32,
    ) -> Information:  # fmt: skip
        """Estimate whether groups of modalities repeat each other, above 0, or tell more together, below 0.

        Args:
            rows: As for `mutual_information`.
            groups: Modalities, or lists of them, at least three. None takes each modality of the rows.
            key: As for `mutual_information`.
            num_levels: As for `mutual_information`.

        Returns:
            As `mutual_information`.

        Raises:
            ValueError: As `mutual_information`; for fewer than three groups; and for a score that was not
                trained with observed modalities, by `config.score.conditioning_prob`.

        Example:
            Of a trained model, on test rows::

                model.o_information(rows).value
        """
        return information.o_information(self, rows, groups, key, num_levels)

    def impute(
        self, data: Any, *, num_samples: int = 20, key: Key | int = 0, partial_rows: str = "refuse"
    ) -> Imputation:
        """Fill the holes of rows, given what each row has; every row may lack another modality.

        The draws for a row depend on the key and on which other rows are in the call.

        Args:
            data: `{name: [N, ...]}` of arrays or lists, or a data frame of pandas or polars, with None, NaN
                or masked values where something is missing. Modalities may be absent; columns are found by
                their names, in any order. What training has left out stays as it is.
            num_samples: Samples of each hole, in 2..10^6.
            key: A typed key, or a seed in 0..2^32 - 1.
            partial_rows: What to do with vectors that are NaN in part: "refuse" them, or take the whole
                vector for "missing". Entries that were measured then stay in the result, but do not inform
                the draws.

        Returns:
            The rows, in the type that you gave, and the samples of rows with a hole, which are fewer:
            `samples[name]` is `[K, num_samples, ...]` for the K rows that `rows[name]` numbers. What was
            measured is unchanged.

        Raises:
            ValueError: If the model was not trained on data of your own, or if an array is unknown or does
                not fit.

        Example:
            With a model that `fit` has trained on a data frame::

                found = model.impute(frame)
                found.filled  # the same frame without holes
                found.rows["lab"]  # the rows that had a hole: [K]
                found.samples["lab"].std(axis=1)  # how uncertain each of these is: [K, F]
        """
        return imputation.impute(
            self, partial(draw, self), data, num_samples, as_key(key), partial_rows
        )

    def with_sampling(self, **changes: Any) -> "Model":
        """Return the same model with another way of sampling.

        Args:
            **changes: New values of fields of `SamplingConfig`.

        Returns:
            A model that shares the parameters of this one.

        Raises:
            ValueError: For a field that `SamplingConfig` does not have, and for an invalid value.

        Example:
            Less diverse samples that are more coherent with what is given::

                model.with_sampling(temperature=0.7).generate({"picture": pictures})
        """
        for name in changes:
            require_one_of("a sampling setting", name, [f.name for f in fields(SamplingConfig)])
        return replace(self, sampling=replace(self.sampling, **changes))

    def with_decoding(self, **changes: Any) -> "Model":
        """Return the same model with another way of decoding, for modalities with a diffusion decoder.

        Args:
            **changes: New values of fields of `DecodingConfig`.

        Returns:
            A model that shares the parameters of this one.

        Raises:
            ValueError: For a field that `DecodingConfig` does not have, for an invalid value, and for one
                that the model's decoders were not trained for.

        Example:
            Pictures that are more typical of their latents, at twice the evaluations::

                model.with_decoding(weight=1.5).generate({}, num_samples=16)
        """
        for name in changes:
            require_one_of("a decoding setting", name, [f.name for f in fields(DecodingConfig)])
        decoding = replace(self.decoding, **changes)
        if changes:
            require_decodable(decoding, dict(self.decoders))
        return replace(self, decoding=decoding)

    def save(self, path: str | Path, dtype: str | None = None) -> None:
        """Save the model, so that it can be loaded without the run that made it, and by later versions.

        Arrays are stored in the format of safetensors, and all else as JSON: no pickle. Everything is read
        back before this returns.

        Args:
            path: A folder, which gets `model.json` and `model.safetensors`; or one file, if it ends in
                `.safetensors`. A model that is there already is replaced.
            dtype: "bfloat16" stores parameters of float32 in half the bytes, with three significant digits;
                loaded, they are float32 again. None and "float32" store them exactly.

        Raises:
            ValueError: For a path that cannot be written, and for a part that cannot be saved, such as a
                function; the message names it.
            OSError: If the files could not be written, or are read back with other content.

        Example:
            Keep a model and load it::

                model.save("models/mine")
                model = sbmae_jax.load("models/mine")
        """
        save_model(self, path, dtype)

    def export(
        self, path: str | Path, *, noise: bool = False, platforms: Sequence[str] | None = None
    ) -> None:
        """Write one compiled function to a file that runs without this package and without Flax.

        It is `complete`, with these parameters and this sampling: arrays in, arrays out, both as the networks
        see them, for any number of rows and any observed modalities. `prepare` and `restore` convert to and
        from your units, and are not part of it. The file is made by `jax.export` and holds StableHLO. It can
        be run with JAX and `flatbuffers` alone, by the version of JAX that wrote it and later ones, which
        promise to read it for at least six months.

        Args:
            path: The file, which is replaced if it exists.
            noise: Export `draw` instead, which draws from p(x|z) and does not take its mean.
            platforms: For which devices to compile, of "cpu", "cuda", "rocm" and "tpu". None is the kind of
                this process.

        Raises:
            ValueError: For an unknown platform, for a path that cannot be written, and for networks of your
                own that need to know the number of rows.
            OSError: If the file could not be written.

        Example:
            Write a function, and run it where only JAX is installed::

                model.export("model.jax")

                run = jax.export.deserialize(bytearray(Path("model.jax").read_bytes())).call
                key_data = np.array([0, 7], np.uint32)  # of the key jax.random.key(7)
                made = run(key_data, batch, observed)  # {name: [B, *shape]}, [B, M] bool
        """
        export_model(self, path, noise, platforms)

    def prepare(self, modality: Modality, values: Any) -> np.ndarray:
        """Convert a user's values of a modality to what the networks see.

        Args:
            modality: The modality.
            values: Its values in the units of the user's data, `[B, ...]`.

        Returns:
            `[B, *shape]`.

        Raises:
            ValueError: Naming the modality, for values with the wrong shape, type or range.

        Example:
            Latents of rows in your units::

                z = model.encode({m.name: model.prepare(m, rows[m.name]) for m in model.modalities})
        """
        require_whole(modality.name, values, bool(self.scalings))
        scaling = dict(self.scalings).get(modality.name)
        return as_prepared(modality, scaling, as_trained_on(modality, scaling, values))

    def restore(self, name: str, generated: Any) -> np.ndarray:
        """Convert what the networks generated to the units of the user's data.

        Args:
            name: Name of the modality.
            generated: Its generated values, `[B, *shape]`.

        Returns:
            `[B, ...]`; unchanged for a modality without a scaling.

        Example:
            What latents stand for, in your units::

                lab = model.restore("lab", model.decode(z)["lab"])
        """
        generated, scalings = np.asarray(generated), dict(self.scalings)
        return scalings[name].restore(generated) if name in scalings else generated

    def _noise(self, noise: bool | None) -> bool | None:
        """Return what `noise` of `generate` means for this model."""
        require_type("noise", noise, bool | None)
        return False if noise is None and not self.scalings else noise

    def _learned_score(self, observed: Array | None, absent: Array | None = None) -> ScoreFn:
        network = self._latent_network("score")
        return score_fn(network, observed, self.moments.covariance, absent)

    def _latent_network(self, name: str) -> LatentNetwork:
        network = {"score": self.score_network, "energy": self.energy_network}[name]
        return LatentNetwork(network.apply, self.params[name], self.sde, self.layout)


DECODING = 0x6465636F
"""What is folded into the key of `Model.complete` to decode, whose latents the key itself draws."""

complete = jax.jit(Model.complete)
"""`Model.complete`, compiled: one executable for all subsets of a batch size."""

draw = jax.jit(Model.draw)
"""`Model.draw`, compiled."""

draw_values = jax.jit(partial(Model.draw, strings=False))
"""`Model.draw`, compiled, with the most probable tokens of strings."""

reconstruct = jax.jit(Model.reconstruct)
"""`Model.reconstruct`, compiled."""


def layout(modalities: tuple[Modality, ...]) -> Layout:
    """Return the layout of the joint latents of these modalities."""
    return Layout(tuple(m.name for m in modalities), tuple(m.latent_size for m in modalities))


def encode(
    modalities: tuple[Modality, ...],
    autoencoders: tuple[Autoencoder | FrozenAutoencoder, ...],
    params: Mapping[str, Params],
    batch: Mapping[str, Array],
) -> Array:
    """Return the latents `[B, D]` of all modalities before standardisation.

    Args:
        modalities: In the order of the latents.
        autoencoders: In the order of `modalities`.
        params: `{name: parameters}` of the autoencoders.
        batch: `{name: [B, *shape]}`.
    """
    latents = {
        modality.name: autoencoder.encode(params[modality.name], batch[modality.name])
        for modality, autoencoder in zip(modalities, autoencoders, strict=True)
    }
    return layout(modalities).pack(latents)
