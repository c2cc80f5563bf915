"""Sections of the report of paired data on sounds: players of what was drawn, beside the truth.

A sound is a signal whose sampling rate is stated. What networks see is standardised by channel; one gain for
all sounds of a modality makes the loudest true value 0.9 of full scale, so that loudness can be compared.
"""

import io
import math
import wave

import numpy as np

from sbmae_jax.evaluation.base import ReportSection, ReportSound, Results, Samples
from sbmae_jax.evaluation.generator import Arrays

MAX_BYTES = 2**18  # of one sound in the page; longer ones are cut
MIN_RATE = 3000  # in Hz, of what browsers play; slower signals are interpolated
MAX_RATE = 384_000
FULL_SCALE = 2**15 - 1
NUM_PLAYED = 3  # test examples, and samples from nothing
KINDS = {
    "true": "true", "rest": "drawn, given all others", "joint": "drawn from nothing",
    "reconstruction": "encoded and decoded",
}  # fmt: skip


def sound_samples(name: str, found: Arrays) -> dict[str, np.ndarray]:
    """Return what the report plays of a modality, `{"sound KIND/NAME": [NUM_PLAYED, T, C]}`.

    Args:
        name: The modality.
        found: `{kind: [.., T, C]}`, by the names of KINDS.
    """
    return {f"sound {kind}/{name}": x[:NUM_PLAYED] for kind, x in found.items()}


def sound_sections(results: Results, samples: Samples) -> list[ReportSection]:
    """Return the sections on sounds, one for each modality whose sampling rate is stated."""
    return [
        _section(name, rate, samples)
        for name, rate in results.get("sampling_rates", {}).items()
        if f"sound true/{name}" in samples
    ]


def _section(name: str, rate: float, samples: Samples) -> ReportSection:
    found = {
        kind: samples[f"sound {kind}/{name}"] for kind in KINDS if f"sound {kind}/{name}" in samples
    }
    gain = 0.9 / max(float(np.abs(found["true"]).max()), 1e-12)
    sounds, is_cut = [], False
    for row in range(NUM_PLAYED):
        for kind, x in found.items():
            if row < len(x):
                which = "sample" if kind == "joint" else "test example"
                wav, cut = as_wav(gain * x[row], rate)
                sounds.append(ReportSound(wav, f"{which} {row + 1}, {KINDS[kind]}"))
                is_cut |= cut
    shown = " Of its channels the first is played." if found["true"].shape[-1] > 2 else ""
    cut_note = f" Sounds are cut to {MAX_BYTES // 1024} kB." if is_cut else ""
    return ReportSection(
        f"Sounds: {name}",
        sounds=tuple(sounds),
        remark=f"At {rate:g} values a second, all with one gain.{shown}{cut_note}",
    )


def as_wav(x: np.ndarray, rate: float) -> tuple[bytes, bool]:
    """Return a sound as a WAV file with 16 bits, and whether it was cut to MAX_BYTES.

    Args:
        x: `[T, C]`, where 1 is full scale. Of more than two channels the first is taken.
        rate: In values a second.
    """
    x = x if x.shape[1] <= 2 else x[:, :1]
    factor = max(math.ceil(MIN_RATE / rate), 1)
    if factor > 1:
        places = np.arange((len(x) - 1) * factor + 1) / factor
        x = np.stack([np.interp(places, np.arange(len(x)), column) for column in x.T], axis=1)
    longest = MAX_BYTES // (2 * x.shape[1])
    values = np.round(np.clip(x[:longest], -1, 1) * FULL_SCALE).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(x.shape[1])
        file.setsampwidth(2)
        file.setframerate(round(rate * factor))
        file.writeframes(values.tobytes())
    return out.getvalue(), len(x) > longest
