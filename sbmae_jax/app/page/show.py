"""Samples and measurements as HTML: everything that a model or a visitor has written is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from sbmae_jax.app.page.inputs import Control, as_png
from sbmae_jax.app.page.player import Moves
from sbmae_jax.evaluation.images import as_rgb

MAX_LINES = 6
"""Numbers that are written out; more are drawn as a curve."""

_WIDTH, _HEIGHT = 120, 60  # of a curve, in units of its own


def results_html(
    controls: Sequence[Control], made: Mapping[str, np.ndarray], given: Sequence[str]
) -> str:
    """Return all modalities, one row each, with their samples side by side.

    Args:
        controls: The controls of the page, by which values are shown.
        made: `{name: [S, ...]}`, as `Player.generate` returns them. The parts of a vector may be there as one
            array under the name of the vector.
        given: The names of the modalities that were given, which are shown once.
    """
    by_name = {control.name: control for control in controls}
    rows = []
    for name, samples in made.items():
        control, is_given = by_name.get(name), name in given
        shown = samples[:1] if is_given else samples
        cells = [
            f"<figure>{_value_html(control, name, value, number)}</figure>"
            for number, value in enumerate(shown, 1)
        ]
        word = "given" if is_given else "generated"
        rows.append(
            f'<section class="sb-row sb-{word}"><h3>{escape(name)} <small>{word}</small></h3>'
            f'<div class="sb-samples">{"".join(cells)}</div></section>'
        )
    return f'<div class="sb-results">{"".join(rows)}</div>'


def moves_html(moves: Moves) -> str:
    """Return which given modality moves which other one, as a sentence and a table."""
    g, m = np.unravel_index(moves.shares.argmax(), moves.shares.shape)
    most = (
        f"<b>{escape(moves.given[g])}</b> moves <b>{escape(moves.made[m])}</b> most: without it, samples "
        f"with the same noise move by {moves.shares[g, m]:.0%} of the distance of unrelated ones."
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in moves.made)
    lines = []
    for name, shares in zip(moves.given, moves.shares, strict=True):
        cells = "".join(
            f'<td style="--share:{min(share, 1):.3f}">{share:.0%}</td>' for share in shares
        )
        lines.append(f'<tr><th scope="row">without {escape(name)}</th>{cells}</tr>')
    return f'<div class="sb-moves"><p>{most}</p><table><tr><td></td>{head}</tr>{"".join(lines)}</table></div>'


def _value_html(control: Control | None, name: str, value: np.ndarray, number: int) -> str:
    """Return one value."""
    about = escape(f"{name}, sample {number}")
    if control is None:
        return _numbers_html(np.ravel(value), [str(i) for i in range(value.size)], about)
    if control.widget == "picture":
        image = as_png(control.pixels(value))
        return f'<img src="{image}" alt="{about}">'
    if len(control.modality.shape) == 3:  # more channels than an image file has
        return f'<img src="{as_png(as_rgb(control.pixels(value)))}" alt="{about}">'
    shown = control.show(value)
    if control.widget in ("choice", "text"):
        return f'<span class="sb-{control.widget}">{escape(shown)}</span>'
    if control.widget == "checks":
        return "".join(f'<span class="sb-choice">{escape(word)}</span>' for word in shown) or "none"
    if control.widget == "curve":
        return _curve_svg(shown, about)
    return _numbers_html(np.ravel(value), control.names, about)


def _numbers_html(numbers: np.ndarray, names: Sequence[str], about: str) -> str:
    """Return a few numbers as lines, and many as a curve."""
    if numbers.size <= MAX_LINES:
        lines = (
            f"<dt>{escape(name)}</dt><dd>{number:.4g}</dd>"
            for name, number in zip(names, numbers, strict=True)
        )
        return f"<dl>{''.join(lines)}</dl>"
    low, high = float(numbers.min()), float(numbers.max())
    units = (numbers.astype(np.float64) - low) / ((high - low) or 1.0)
    return _curve_svg([units.tolist()], about) + f"<small>{low:.4g} to {high:.4g}</small>"


def _curve_svg(channels: Sequence[Sequence[float]], about: str) -> str:
    """Return curves of numbers in [0, 1]."""
    lines = []
    for number, channel in enumerate(channels):
        last = max(len(channel) - 1, 1)
        points = " ".join(
            f"{_WIDTH * i / last:.1f},{_HEIGHT * (1 - min(max(y, 0), 1)):.1f}"
            for i, y in enumerate(channel)
        )
        lines.append(f'<polyline class="sb-line-{number % 4}" points="{points}"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{about}">{"".join(lines)}</svg>'
