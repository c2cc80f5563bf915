"""Any arrays given to the metrics either give finite figures, or are refused in a sentence that names one.

Unlike the kernels, metrics look at values: NaN or infinity is refused.
"""

import jax
import numpy as np
from fuzzing import attempt, counts, fuzz
from hypothesis import strategies as st

from sbmae_jax.metrics import calibration, coherence, diversity, f1, frechet, prediction

SHAPES = (
    (),
    (0,),
    (1,),
    (2,),
    (4,),
    (4, 3),
    (3, 4),
    (0, 3),
    (4, 0),
    (1, 3),
    (4, 2, 3),
    (4, 1, 3),
    (4, 3, 1),
)
DTYPES = ("float32", "float64", "int32", "bool", "uint8", "complex64", "U1", "object")
RNG = np.random.default_rng(0)
TRUTH, DRAWS = RNG.random((4, 3)), RNG.random((4, 2, 3))
LABEL, CLASSES = np.array([0, 1, 0, 1]), RNG.integers(2, size=(4, 3))
ONE, TWO = RNG.random(4), RNG.random(4)
SHARES = np.full((4, 3), 1 / 3)
# Of each metric the arguments that fit, and those of its figures that may be NaN, as their docstrings say.
CALLS = {
    "ranks": (
        lambda truth, draws: calibration.ranks(truth, draws, RNG),
        {"truth": TRUTH, "draws": DRAWS},
    ),
    "rank_shares": (calibration.rank_shares, {"found": CLASSES, "num_draws": 2}),
    "nominal_coverage": (calibration.nominal_coverage, {"num_draws": 2}),
    "coverage": (calibration.coverage, {"shares": SHARES}),
    "bias": (calibration.bias, {"shares": SHARES}),
    "crps": (calibration.crps, {"truth": TRUTH, "draws": DRAWS}),
    "reliability": (
        lambda probability, hit, num_bins: calibration.reliability(probability, hit, num_bins)[:2],
        {"probability": ONE, "hit": LABEL, "num_bins": 5},
    ),
    "estimate": (lambda values: coherence.estimate(values).mean, {"values": ONE}),
    "macro_estimate": (
        lambda values, label: coherence.macro_estimate(values, label).mean,
        {"values": ONE, "label": LABEL},
    ),
    "conditional_coherence": (
        lambda predicted, label, observed: (
            coherence.conditional_coherence(predicted, label, observed).mean
        ),
        {"predicted": CLASSES, "label": LABEL, "observed": TRUTH < 0.3},
    ),
    "at_least_k": (
        lambda predicted: list(coherence.at_least_k(predicted).values()),
        {"predicted": CLASSES},
    ),
    "all_agree": (lambda predicted: coherence.all_agree(predicted).mean, {"predicted": CLASSES}),
    "label_shares": (diversity.label_shares, {"labels": CLASSES, "num_classes": 2}),
    "total_variation": (diversity.total_variation, {"p": SHARES[0], "q": ONE[:3]}),
    "expected_total_variation": (diversity.expected_total_variation, {"p": SHARES[0], "num": 5}),
    "pairs_agree": (
        lambda predicted: coherence.pairs_agree(predicted).mean,
        {"predicted": CLASSES},
    ),
    "spread_ratio": (
        lambda first, second, real, label: np.nan_to_num(
            diversity.spread_ratio(first, second, real, label)
        ),
        {"first": TRUTH, "second": SHARES, "real": TRUTH, "label": LABEL},
    ),
    "mean_pairwise_distance": (diversity.mean_pairwise_distance, {"samples": DRAWS}),
    "f1_by_row": (f1.f1_by_row, {"truth": CLASSES, "predicted": TRUTH}),
    "f1_by_column": (f1.f1_by_column, {"truth": CLASSES, "predicted": TRUTH}),
    "iou_by_row": (f1.iou_by_row, {"truth": CLASSES, "predicted": TRUTH}),
    "frechet_distance": (frechet.frechet_distance, {"a": TRUTH, "b": SHARES}),
    "moments": (prediction.moments, {"draws": DRAWS}),
    "losses": (
        lambda value_type, truth, mean, variance: list(
            prediction.losses(value_type, truth, mean, variance).values()
        ),
        {"value_type": "binary", "truth": TRUTH, "mean": SHARES, "variance": TRUTH},
    ),
    "shared_variance": (
        lambda truth, predicted, mean: np.nan_to_num(
            prediction.shared_variance(truth, predicted, mean)
        ),
        {"truth": TRUTH, "predicted": SHARES, "mean": ONE[:3]},
    ),
    "ratio": (
        lambda numerator, denominator: np.nan_to_num(prediction.ratio(numerator, denominator).mean),
        {"numerator": ONE, "denominator": TWO},
    ),
}
# Of two arguments that do not fit together, the message may name the other one.
OTHERS = {name: tuple(arguments) for name, (_, arguments) in CALLS.items()}


@st.composite
def odd(draw, value):
    """Draw what an argument may not be, and some that it may."""
    if isinstance(value, str):
        return draw(st.sampled_from(["real", "binary", "category", "counts", "", None, 3]))
    if isinstance(value, int):
        return draw(
            st.one_of(
                st.integers(-3, 20), st.sampled_from([2.0, None, "a", True, 10**30, float("nan")])
            )
        )
    how = draw(st.integers(0, 7))
    if how == 0:
        return draw(st.sampled_from([None, 1.0, "a", [], [1.0, 2.0], [[1.0], [1.0, 2.0]], {}]))
    if how == 1:
        spoiled = np.array(value, float)
        spoiled.flat[draw(st.integers(0, spoiled.size - 1))] = draw(
            st.sampled_from([np.nan, np.inf, -np.inf])
        )
        return spoiled
    if how == 2:
        return value[: draw(st.integers(0, len(value)))]
    if how == 3:
        return draw(st.sampled_from([-1, 0.0, 0.5, 1, 2, 1e6])) * np.ones(value.shape)
    shape, dtype = draw(st.sampled_from([*SHAPES, value.shape])), draw(st.sampled_from(DTYPES))
    values = np.random.default_rng(draw(st.integers(0, 3))).normal(size=shape)
    return (
        values > 0 if dtype == "bool" else np.abs(values) if dtype == "uint8" else values
    ).astype(dtype)


@st.composite
def cases(draw):
    name = draw(st.sampled_from(sorted(CALLS)))
    _, arguments = CALLS[name]
    chosen = draw(st.lists(st.sampled_from(sorted(arguments)), max_size=2, unique=True))
    return name, {a: draw(odd(arguments[a])) for a in chosen}


@counts(200, 1500)
def test_metrics_are_finite_or_name_what_does_not_fit(num):
    def check(case):
        name, changes = case
        call, arguments = CALLS[name]
        made = attempt(
            lambda: call(**(arguments | changes)), [*changes, *(OTHERS[name] if changes else [])]
        )
        assert changes or made is not None
        for figure in jax.tree.leaves(made):
            assert np.isfinite(figure).all()

    fuzz(num, cases(), check)
