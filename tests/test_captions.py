"""Captions that a grammar reads, measured on generators whose coherence is known."""

import dataclasses

import jax
import numpy as np
import pytest
from test_paired_pages import reported

from sbmae_jax.app.build import build
from sbmae_jax.app.evaluations import build_protocol
from sbmae_jax.configs import celebahq
from sbmae_jax.data.captions import DIGITS, FACES, Grammar
from sbmae_jax.data.description import describe
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.source import ArraySource
from sbmae_jax.data.tokens import Tokenizer
from sbmae_jax.data.toyfaces.source import toyfaces
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.models.autoencoder import Modality

GRAMMAR = Grammar(
    {
        "digit": {"0": ("zero", "0"), "1": ("one",), "2": ("two",)},
        "ink": {"black": ("black", "dark"), "red": ("red",)},
    },
    ("a {ink} {digit}", "{digit} in {ink}"),
)
TOKENIZER = Tokenizer(16)
LIKELIHOODS = {
    "picture": "normal", "other": "normal", "digit": "categorical", "caption": "tokens",
}  # fmt: skip


class Writer:
    """Two pictures of a digit, one of them in an ink, the digit, and a caption; errs in a known share."""

    names = tuple(LIKELIHOODS)

    def __init__(self, given_caption=1.0, given_digit=1.0, from_nothing=1.0):
        self.right = {"caption": given_caption, "digit": given_digit, "nothing": from_nothing}

    def rows(self, num, seed):
        rng = np.random.default_rng(seed)
        return self.made(rng, rng.integers(3, size=num), rng.integers(2, size=num))

    def made(self, rng, digit, ink, said=None):
        said = digit if said is None else said
        captions = [
            GRAMMAR.caption({"digit": str(d), "ink": ("black", "red")[i]}, rng)
            for d, i in zip(said, ink, strict=True)
        ]
        noise = 0.01 * rng.normal(size=(2, len(digit), 4))
        one_hot, inks = np.eye(3)[digit], 2.0 * ink[:, None] - 1
        return {
            "picture": (np.concatenate([one_hot, inks], axis=1) + noise[0]).astype(np.float32),
            "other": (np.concatenate([one_hot, 0 * inks], axis=1) + noise[1]).astype(np.float32),
            "digit": one_hot.astype(np.float32),
            "caption": TOKENIZER.encode(captions),
        }

    def complete(self, key, batch, observed):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        seen = dict(zip(self.names, np.asarray(observed).T, strict=True))
        true = GRAMMAR.values_said(TOKENIZER.decode(np.asarray(batch["caption"])).tolist())
        digit = np.asarray(batch["digit"]).argmax(axis=1)
        ink = np.where(np.asarray(batch["picture"])[:, 3] > 0, 1, 0)
        num = len(digit)
        digit = np.where(seen["caption"], true[:, 0], digit)
        nothing = ~np.asarray(observed).any(axis=1)
        digit = np.where(nothing, rng.integers(3, size=num), digit)
        ink = np.where(seen["caption"], true[:, 1], ink)
        ink = np.where(seen["caption"] | seen["picture"], ink, rng.integers(2, size=num))
        errs = np.zeros(num, bool)
        for source in ("caption", "digit"):
            only = seen[source] & (np.asarray(observed).sum(axis=1) == 1)
            errs |= only & (rng.random(num) > self.right[source])
        shown = np.where(errs, (digit + 1) % 3, digit)
        said = np.where(nothing & (rng.random(num) > self.right["nothing"]), (shown + 1) % 3, shown)
        made = self.made(rng, shown, ink, said)
        return {
            name: np.where(
                seen[name].reshape(-1, *[1] * (made[name].ndim - 1)), batch[name], made[name]
            )
            for name in self.names
        }

    draw = complete


def measured(writer, folder, rows=None, **options):
    options = {"strings": {"caption": TOKENIZER.decode}, "grammars": {"caption": GRAMMAR}} | options
    rows = writer.rows(200, 1) if rows is None else rows
    return reported(writer, rows, writer.rows(400, 2), LIKELIHOODS, folder, **options)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    writer = Writer(given_caption=0.6, given_digit=0.8, from_nothing=0.5)
    return measured(writer, tmp_path_factory.mktemp("captions"))


def near(entry, share):
    return abs(entry["mean"] - share) < 4 * max(entry["se"], 0.01)


def test_captions_are_read_and_compared_with_what_they_should_say(found):
    entry = found[3]["captions"]["caption"]
    assert entry["num_rows"] == 200
    given = entry["caption_given"]
    assert list(given) == ["picture", "other", "digit", "all others"]
    assert given["picture"]["digit"]["mean"] == given["picture"]["ink"]["mean"] == 1
    assert near(given["digit"]["digit"], 0.8)
    assert near(given["other"]["ink"], 0.5)  # it does not show it
    assert 0.3 < entry["frequent"]["digit"] < 0.45


def test_what_is_generated_given_a_caption_is_compared_with_what_is_given_the_label(found):
    entry = found[3]["captions"]["caption"]
    assert entry["labels"] == {"digit": "digit", "ink": None}
    assert list(entry["given_caption"]["digit"]) == ["picture", "other"]
    assert list(entry["given_caption"]["ink"]) == ["picture"]  # the only one that shows it
    for name in ("picture", "other"):
        assert near(entry["given_caption"]["digit"][name], 0.6)
        assert near(entry["given_label"]["digit"][name], 0.8)
    assert abs(entry["over_label"]["digit"] - 0.75) < 0.2
    assert list(entry["over_label"]) == ["digit"]


def test_captions_of_joint_samples_agree_as_often_as_they_do(found):
    agreement = found[3]["captions"]["caption"]["agreement"]
    assert agreement["digit"]["modalities"] == ["picture", "other", "digit"]
    assert agreement["digit"]["others"]["mean"] == 1
    assert near(agreement["digit"]["with_caption"], 0.5)
    assert agreement["ink"]["with_caption"]["mean"] == 1


def test_the_report_shows_what_captions_say(found):
    headlines, sections, _, results = found
    over = headlines["digit given caption, over given digit"]
    assert over.value == f"{results['captions']['caption']['over_label']['digit']:.3f}"
    assert "of what is generated given caption" in over.remark
    assert headlines["caption, given picture"].value == "100.0 %"
    assert headlines["caption, given picture"].remark.endswith("digit 100.0 %, ink 100.0 %")
    agree = headlines["from nothing, digit of caption and all"]
    assert agree.remark == "agree; all without caption 1.000"
    table = sections["What caption says"].table
    assert table[0] == ("generated", "given", "digit", "ink")
    assert ("caption", "the most frequent value") in [row[:2] for row in table]
    assert "Labels: digit is that of digit" in sections["What caption says"].remark
    assert "no grammar" not in sections["Text, given all others"].remark


def test_captions_and_modalities_may_be_missing(tmp_path):
    writer = Writer()
    present = np.random.default_rng(0).random((200, 4)) < 0.7
    present[:, 1] = True
    _, _, _, results = measured(writer, tmp_path, writer.rows(200, 1) | {"present": present})
    entry = results["captions"]["caption"]
    assert entry["num_rows"] == present[:, 3].sum()
    assert entry["caption_given"]["picture"]["digit"]["mean"] == 1
    assert entry["over_label"]["digit"] == 1


def test_text_without_a_grammar_is_told_so(tmp_path):
    headlines, sections, _, results = measured(Writer(), tmp_path, grammars={})
    assert results["captions"] == {}
    assert headlines["caption, what it says"].value == "not measured"
    assert "no grammar that tells what a string of caption says" in (
        sections["Text, given all others"].remark
    )


def test_results_without_this_measure_are_still_reported(found, tmp_path):
    old = {key: value for key, value in found[3].items() if key != "captions"}
    report = PairedProtocol(likelihoods=LIKELIHOODS).report
    assert not any("caption, what" in headline.name for headline in report.headlines(old))
    titles = [one.title for one in report.sections(old, found[2], Writer.names, tmp_path)]
    assert "Text, given all others" in titles
    assert "What caption says" not in titles


def test_the_grammar_of_a_data_set_comes_with_its_scaling():
    details = dataclasses.asdict(TOKENIZER) | {"num_cut": 0}
    rows = {"caption": np.zeros((4, 16), np.uint16), "x": np.zeros((4, 2), np.float32)}
    modalities = tuple(
        Modality(name, x.shape[1:], likelihood=how, network="", latent_size=2, weight=1.0)
        for (name, x), how in zip(rows.items(), ("tokens", "normal"), strict=True)
    )
    config = {"evaluation": {"name": "paired"}}
    for grammar in ({}, {"grammar": DIGITS.to_json()}):
        scalings = {"caption": Scaling("text", (), "str", details=details | grammar)}
        protocol = build_protocol(config, modalities, describe(ArraySource(rows, {}, scalings)))
        assert isinstance(protocol, PairedProtocol)
        assert list(protocol.grammars) == ["caption"] * bool(grammar)
    assert protocol.grammars["caption"].parse("a bold 8") == {"digit": "8", "stroke": "bold"}


# ---------------------------------------------------------------- drawn faces


def test_each_caption_of_a_face_is_read_back():
    for factors in FACES.all_factors():
        for caption in FACES.captions(factors):
            assert FACES.parse(caption) == factors


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    pytest.importorskip("tokenizers")
    names = ("attributes", "caption", "image", "mask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SBMAE_DATA_DIR", str(tmp_path_factory.mktemp("faces")))
        yield toyfaces("train", 0, names, seed=1, num_faces=40, side=32)


def test_captions_say_the_attributes_of_their_faces(faces):
    assert len(faces) > 20
    assert set(faces.shapes) == {"attributes", "caption", "image", "mask"}
    strings = faces.scalings["caption"].restore(faces.arrays["caption"]).tolist()
    names = faces.entries["attributes"]
    for string, attributes in zip(strings, faces.arrays["attributes"], strict=True):
        said, holds = FACES.parse(string), dict(zip(names, attributes, strict=True))
        assert (said["person"] == "man") == holds["Male"]
        assert (said["face"] == "smiling") == holds["Smiling"]
        assert (said["glasses"] == "worn") == holds["Eyeglasses"]
        assert (said["hat"] == "worn") == holds["Wearing_Hat"]


def test_faces_with_captions_are_evaluated_by_their_grammar(faces):
    config = celebahq.get_config("toy-captions").to_dict()
    parts = build(config, describe(faces)._replace(shapes=faces.shapes | {
        "image": (64, 64, 3), "mask": (64, 64, 1),
    }))  # fmt: skip
    assert parts.layout.names == ("attributes", "caption", "image", "mask")
    assert isinstance(parts.protocol, PairedProtocol)
    assert set(parts.protocol.grammars["caption"].words) == {"person", "face", "glasses", "hat"}
