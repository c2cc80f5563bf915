"""Signals whose sampling rate is stated are played by the report."""

import base64
import io
import json
import re
import wave
from types import SimpleNamespace

import numpy as np
import pytest
from opening import one_sentence
from test_paired_pages import reported

from sbmae_jax.app.evaluations import build_protocol
from sbmae_jax.configs import custom
from sbmae_jax.data.description import describe
from sbmae_jax.data.source import ArraySource
from sbmae_jax.evaluation.base import ReportSection, ReportSound
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.evaluation.paired.sound_pages import MAX_BYTES, as_wav
from sbmae_jax.evaluation.report import write_report
from sbmae_jax.models.autoencoder import Modality

RATE, NUM = 8000, 400
LIKELIHOODS = {"tone": "normal", "pitch": "normal"}


def rows(num, seed):
    pitch = np.random.default_rng(seed).uniform(200, 800, (num, 1))
    tone = np.sin(2 * np.pi * pitch * np.arange(NUM) / RATE)[..., None]
    return {"tone": tone.astype(np.float32), "pitch": (pitch / 100).astype(np.float32)}


class Copier:
    names = tuple(LIKELIHOODS)

    def complete(self, key, batch, observed):
        del key, observed
        return {name: np.asarray(batch[name]) for name in self.names}

    draw = complete


def played(wav):
    with wave.open(io.BytesIO(wav)) as file:
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), values.reshape(-1, file.getnchannels()) / (2**15 - 1)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    present = np.ones((40, 2), bool)
    test = rows(40, 1) | {"present": present}
    rates = {"tone": RATE}
    return reported(Copier(), test, rows(100, 2), LIKELIHOODS, folder, sampling_rates=rates), test


def test_what_was_drawn_is_played_beside_the_truth(found):
    (_, sections, _, results), test = found
    assert results["sampling_rates"] == {"tone": RATE}
    section = sections["Sounds: tone"]
    captions = [sound.caption for sound in section.sounds]
    assert captions[:4] == [
        "test example 1, true", "test example 1, drawn, given all others", "sample 1, drawn from nothing",
        "test example 1, encoded and decoded",
    ]  # fmt: skip
    assert len(captions) == 12
    rate, values = played(section.sounds[0].wav)
    assert rate == RATE
    np.testing.assert_allclose(values, 0.9 * test["tone"][0], atol=2e-3)
    assert f"At {RATE} values a second" in section.remark


def test_a_sound_that_an_example_lacks_is_not_played(tmp_path):
    present = np.zeros((40, 2), bool)
    present[:, 1] = present[:2, 0] = True
    _, sections, _, _ = reported(
        Copier(), rows(40, 1) | {"present": present}, rows(100, 2), LIKELIHOODS, tmp_path,
        sampling_rates={"tone": RATE},
    )  # fmt: skip
    captions = [sound.caption for sound in sections["Sounds: tone"].sounds]
    assert "test example 2, true" in captions
    assert "test example 3, true" not in captions


def test_long_sounds_are_cut_slow_ones_are_interpolated_and_loud_ones_are_clipped():
    wav, cut = as_wav(np.zeros((200_000, 2)), RATE)
    assert cut
    assert MAX_BYTES < len(wav) < MAX_BYTES + 100
    wav, cut = as_wav(np.array([[0.0], [0.5], [3.0]]), 1000)
    assert not cut
    rate, values = played(wav)
    assert rate == 3000
    np.testing.assert_allclose(values[:4, 0], [0, 1 / 6, 1 / 3, 0.5], atol=1e-4)
    assert values[-1, 0] == 1
    assert played(as_wav(np.ones((5, 3)), RATE)[0])[1].shape == (5, 1)


def test_the_page_has_players_with_the_sounds_in_it(tmp_path):
    wav, _ = as_wav(np.zeros((10, 1)), RATE)
    report = SimpleNamespace(
        headlines=lambda results: [],
        sections=lambda *_: [ReportSection("Sounds", sounds=(ReportSound(wav, 'a "tone"'),))],
    )
    results = {"seconds": {}, "peak_memory_bytes": 1, "versions": {}, "num_rows": 1}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "config.json").write_text("{}")
    row = {"stage": "score", "step": 1, "loss": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    np.savez(tmp_path / "samples.npz", x=np.zeros(1))
    page = write_report(tmp_path, ("tone",), report).read_text()
    data = re.search(r'<audio controls [^>]*src="data:audio/wav;base64,([^"]+)"></audio>', page)
    assert base64.b64decode(data.group(1)) == wav
    assert 'aria-label="a &#34;tone&#34;"' in page


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (
            {"pitch": RATE},
            "'pitch' is no signal of the data, and only signals are played: name tone",
        ),
        ({"tones": RATE}, "sampling_rates: 'tones' is no signal"),
        ({"tone": 0.5}, r"sampling_rates: tone must be in 1\.\.384000, got 0\.5"),
        ({"tone": "8k"}, "sampling_rates"),
        ([8000], "sampling_rates"),
    ],
)
def test_rates_that_are_of_no_signal_are_refused(rates, message):
    data = rows(4, 0)
    modalities = tuple(
        Modality(name, x.shape[1:], likelihood="normal", network="", latent_size=2, weight=1.0)
        for name, x in data.items()
    )

    def build(rates):
        config = {"evaluation": {"name": "paired", "sampling_rates": rates}}
        return build_protocol(config, modalities, describe(ArraySource(data)))

    protocol = build({"tone": RATE})
    assert isinstance(protocol, PairedProtocol)
    assert protocol.sampling_rates == {"tone": RATE}
    with pytest.raises(ValueError, match=message) as refused:
        build(rates)
    one_sentence(refused)


def test_the_config_for_own_data_has_the_key():
    assert custom.get_config().evaluation.sampling_rates.to_dict() == {}
