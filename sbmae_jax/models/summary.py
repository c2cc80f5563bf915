"""A model in a few lines: as text, and as a table in a notebook."""

import html
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from sbmae_jax.models.coders import FrozenAutoencoder

HEAD = ("modality", "shape", "kind", "latents", "parameters")


def summary_rows(model: Any) -> list[tuple[str, ...]]:
    """Return a row of words for each modality of a `Model`, as `HEAD` says."""
    scalings = dict(model.scalings)
    rows = []
    for m, autoencoder in zip(model.modalities, model.autoencoders, strict=True):
        scaling = scalings.get(m.name)
        shape = m.shape if scaling is None else scaling.raw_shape
        kind = m.likelihood if scaling is None else scaling.kind
        num = f"{num_parameters(model.params['autoencoders'][m.name]):,}"
        cell = (
            f"frozen ({autoencoder.origin})" if isinstance(autoencoder, FrozenAutoencoder) else num
        )
        rows.append((m.name, " x ".join(map(str, shape)) or "1", kind, str(m.latent_size), cell))
    return rows


def as_text(model: Any) -> str:
    """Return a summary of a `Model` as lines of text."""
    lines = [HEAD, *summary_rows(model)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([_title(model), *padded])


def as_html(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a notebook; all words are escaped."""
    cells = [
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in [("th", head), *(("td", row) for row in rows)]
    ]
    return f"<table><caption>{html.escape(title)}</caption>{''.join(cells)}</table>"


def model_as_html(model: Any) -> str:
    """Return a summary of a `Model` as a table for a notebook."""
    return as_html(_title(model), HEAD, summary_rows(model))


def num_parameters(params: Any) -> int:
    """Return the number of parameters in a pytree."""
    return sum(int(np.prod(np.shape(leaf), dtype=np.int64)) for leaf in jax.tree.leaves(params))


def _title(model: Any) -> str:
    network = type(model.score_network).__name__
    sampler = f"{model.sampling.sampler}, {model.sampling.num_levels} levels"
    return f"Model of {len(model.modalities)} modalities; {network}, {sampler}"
