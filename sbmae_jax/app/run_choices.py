"""Values of the trainings, the score and the sampling for data of one's own, each with its reason."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

TRANSFORMER_HEADS = 4  # all of the widths below are multiples
# Widths of the score network's streams and hub, for fewer training rows than the first number.
NUM_WIDER = 2
WIDTHS = ((1000, (48, 64)), (5000, (64, 96)), (20_000, (96, 128)), (math.inf, (128, 192)))


def choices_for_run(
    config: Mapping[str, Any], num_rows: int, has_images: bool, has_text: bool
) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and reason of what is chosen for the trainings, the score and the sampling."""
    rows = f"{num_rows:,} training rows"
    stop = "the maximum: early stopping may end it before"
    batch = 2 ** int(math.log2(max(16, min(128, num_rows / 8))))
    yield "autoencoder_training.batch_size", batch, f"about an eighth of {rows}, in 16..128"
    yield "autoencoder_training.num_steps", 2000 if has_images else 1500, stop
    yield "autoencoder_training.patience", 400, "steps without improvement on held-out rows"
    few, many = num_rows < 500, num_rows >= 2000
    steps = 2000 if few else 4000 if many or has_images else 3000
    yield "score_training.num_steps", steps, f"{rows}; {stop}"
    yield "score_training.patience", steps // 4, "steps without improvement on held-out rows"
    yield from _for_network(config["network"], num_rows)
    yield from _for_base(config["score"], has_images, has_text)
    yield from _for_sampler(config["sampling"])
    if has_images:
        coarse = "images share coarse structure"
        yield "score.level_mean", 0.0, coarse
        yield "sampling.t_min", 3e-3, coarse
    else:
        fine = "vectors may determine each other to a hundredth of their standard deviation"
        yield "score.level_mean", -0.4, fine
        yield "sampling.t_min", 1e-3, fine
    yield "sampling.num_levels", 32 if has_images else 24, "dpm_solver needs no more"


def _for_base(
    score: Mapping[str, Any], has_images: bool, has_text: bool
) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and reason of what the score starts from, and of how the rest is learned."""
    chosen = "none" if has_images or has_text else "gaussian"
    if chosen == "none":
        whose = "images" if has_images else "strings"
        yield "score.base", chosen, f"{whose}: their latents are far from a Gaussian"
    else:
        yield "score.base", chosen, "linear relations are exact before the first step"
    base = score.get("base") or chosen
    if base == "gaussian":
        why = (
            "what a Gaussian leaves is mostly noise: learn it fast, and forget what does not recur"
        )
        yield "score_training.learning_rate", 3e-3, why
        yield "score_training.weight_decay", 1.0, why
    else:
        why = "a score that starts from nothing"
        yield "score_training.learning_rate", 1e-3, why
        yield "score_training.weight_decay", 0.0, why


def _for_network(network: Mapping[str, Any], num_rows: int) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and reason of what is chosen for the score network, which the config may name."""
    width, hub = next(widths for limit, widths in WIDTHS if num_rows < limit)
    why = f"{num_rows:,} training rows: a wider network would memorise them"
    name = network.get("name")  # if it is missing, it is refused where the network is built
    if name == "hub":
        yield "network.width", width, why
        yield "network.hub_width", hub, why
    elif name == "mlp":
        yield "network.width", 2 * hub, why
    elif name == "transformer":
        yield "network.num_heads", TRANSFORMER_HEADS, f"a {name} of this width"
        heads = network.get("num_heads") or TRANSFORMER_HEADS
        if isinstance(heads, int) and heads > 0:
            yield "network.width", heads * max(1, hub // heads), why
    elif name == "unet":
        yield "network.per_modality_levels", True, "a score that conditions must know what is clean"
    if name in ("mlp", "transformer"):
        yield "network.num_blocks", 2, why.replace("wider", "deeper")


def contenders_for(
    network: Mapping[str, Any], chosen: Collection[str]
) -> tuple[dict[str, Any], ...]:
    """Return the next wider networks, as `RaceConfig.score` has them; none where the config names widths.

    Args:
        network: The section of the network, without open values.
        chosen: The keys whose values were chosen.
    """
    keys = ("network.width", "network.hub_width")
    if network.get("name") != "hub" or not set(keys) <= set(chosen):
        return ()
    widths = [widths for _, widths in WIDTHS]
    wider = widths[widths.index((network["width"], network["hub_width"])) + 1 :]
    return tuple(dict(zip(keys, pair, strict=True)) for pair in wider[:NUM_WIDER])


def _for_sampler(sampling: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and reason of the corrections that a sampler needs which the config names."""
    num, why = 0, f"{sampling.get('sampler')} needs none"
    if sampling.get("sampler") == "langevin":
        num, why = 4, "langevin moves by corrections alone"
    elif sampling.get("conditioning") == "particles":
        why = "particles are weighed instead"
    elif sampling.get("conditioning") in ("clamp", "renoise"):
        num, why = 4, f"conditioning {sampling['conditioning']!r} is less biased the more there are"
    yield "sampling.num_corrections", num, why
