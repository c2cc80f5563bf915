"""Text: tokens and back, its likelihood and networks, and strings of a user from data to samples."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import special

import sbmae_jax
from sbmae_jax.app import pipeline
from sbmae_jax.data import tokens as tokens_module
from sbmae_jax.data.captions import DIGITS, Grammar
from sbmae_jax.data.kinds.text import fit_text
from sbmae_jax.data.scaling import Scaling, from_json, to_json
from sbmae_jax.data.tokens import Tokenizer, count_tokens, fit_tokenizer
from sbmae_jax.data.user.survey import survey
from sbmae_jax.models.coders import FrozenCoder
from sbmae_jax.models.likelihoods import LIKELIHOODS, check_values, negative_log_likelihood
from sbmae_jax.nets.text import TextDecoder, TextEncoder

N = 120
SHORT = {
    "autoencoder_training.steps_per_call": 10, "autoencoder_training.patience": 0,
    "score_training.steps_per_call": 10, "score_training.patience": 0, "sampling.num_levels": 4,
    "network.width": 16, "network.hub_width": 16, "network.num_blocks": 1,
    "evaluation.num_unconditional": 10, "evaluation.num_samples": 3,
}  # fmt: skip
ODD = [
    "",
    "  two  spaces ",
    "Tab\tand\nline",
    "naïve café",
    "日本語",
    "👍🏽",
    "don't <end> <|x|>",
    "a" * 300,
]


def captions(num=N, seed=0):
    rng = np.random.default_rng(seed)
    return [
        DIGITS.caption({f: str(rng.choice(list(v))) for f, v in DIGITS.words.items()}, rng)
        for _ in range(num)
    ]


def own_data(num=N):
    strings = captions(num)
    digits = [float(DIGITS.parse(string)["digit"]) for string in strings]
    return {
        "caption": [None if i % 10 == 3 else s for i, s in enumerate(strings)],
        "lab": np.stack([digits, np.random.default_rng(1).normal(size=num)], axis=1),
    }


# ---------------------------------------------------------------- tokens


@pytest.fixture(params=["pieces", "bytes"])
def tokenizer(request, monkeypatch):
    if request.param == "pieces":
        pytest.importorskip("tokenizers")
    else:
        monkeypatch.setattr(tokens_module.importlib.util, "find_spec", lambda name: None)
    found = fit_tokenizer([*captions(), "x" * 250])
    assert bool(found.pieces) == (request.param == "pieces")
    return found


def test_strings_of_any_characters_come_back(tokenizer):
    long_enough = dataclasses.replace(tokenizer, length=400)
    back = long_enough.decode(long_enough.encode(ODD))
    assert back.tolist() == ODD
    assert tokenizer.decode(tokenizer.encode(captions())).tolist() == captions()


def test_tokens_are_within_the_vocabulary_and_end_in_zeros(tokenizer):
    x = tokenizer.encode([*captions(), *ODD])
    assert x.dtype == np.uint16
    assert x.shape[1] == tokenizer.length
    assert x.max() < tokenizer.size <= tokens_module.MAX_VOCABULARY
    is_end = x == 0
    assert (is_end[:, 1:] >= is_end[:, :-1]).all()


def test_pieces_are_fewer_than_bytes():
    pytest.importorskip("tokenizers")
    found = fit_tokenizer(captions())
    assert found.length < 20 < 45 < max(len(s) for s in captions())


def test_long_strings_are_cut_between_characters_and_counted():
    tokenizer = Tokenizer(length=5)
    assert tokenizer.decode(tokenizer.encode(["日本語", "abcdefg"])).tolist() == ["日", "abcde"]
    assert tokenizer.num_cut(["日本語", "abcdefg", "abcde"]) == 2


def test_a_string_that_is_no_unicode_is_named():
    with pytest.raises(ValueError, match="the string in row 1 is not valid Unicode: save it as"):
        Tokenizer(5).encode(["a", "\ud800"])


def test_tokens_are_counted_without_their_ends():
    found = count_tokens(np.uint16([[5, 5, 7, 0], [0, 0, 0, 0]]))
    assert found[0, 5] == 2
    assert found[0, 7] == 1
    assert found.sum() == 3


def test_a_scaling_of_text_is_json_and_comes_back():
    scaling = Scaling("text", (), "str", details=fit_text(captions()))
    again = from_json(json.loads(json.dumps(to_json(scaling))))
    x = again.prepare(np.array(captions()))
    assert again.restore(x).tolist() == captions()
    assert again.restore(x.reshape(2, -1, x.shape[1])).shape == (2, N // 2)
    np.testing.assert_array_equal(x, scaling.prepare(np.array(captions()).astype("S")))
    with pytest.raises(ValueError, match="values must be strings, got int64"):
        again.prepare(np.arange(3))


# ---------------------------------------------------------------- likelihood and networks


def test_the_likelihood_of_tokens_ends_with_the_string():
    y = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    x = np.uint16([[3, 2, 0, 0], [1, 2, 3, 4]])
    logs = special.log_softmax(y, axis=-1)
    exact = [
        -(logs[0, 0, 3] + logs[0, 1, 2] + logs[0, 2, 0]),
        -sum(logs[1, i, i + 1] for i in range(4)),
    ]
    for tokens in (x, x.astype(np.float32)):
        found = negative_log_likelihood("tokens", jnp.asarray(tokens), jnp.asarray(y))
        np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_draws_of_tokens_have_their_probabilities_up_to_the_end():
    y = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    y[0, 0] = -30.0  # the first token is no end
    num = 20_000
    x = LIKELIHOODS["tokens"].draw(jax.random.key(0), jnp.tile(y[None], (num, 1, 1)), None)
    x, p = np.asarray(x), special.softmax(y, axis=-1)
    assert x.dtype == np.uint16
    shares = np.bincount(x[:, 0], minlength=5) / num
    np.testing.assert_allclose(shares, p[0], atol=5 * 0.5 / np.sqrt(num))
    assert (x[x[:, 1] == 0, 2] == 0).all()
    after = x[x[:, 1] != 0, 2]
    shares = np.bincount(after, minlength=5) / len(after)
    np.testing.assert_allclose(shares, p[2], atol=5 * 0.5 / np.sqrt(len(after)))
    likely = np.asarray(LIKELIHOODS["tokens"].mean(jnp.asarray(y[None])))[0]
    assert likely[0] == y[0].argmax()


def test_tokens_that_are_none_are_named():
    check_values("tokens", "x", np.array([[0.0, 5.0]]))
    with pytest.raises(ValueError, match=r"x: tokens must be integers from 0, got 0\.5 to 2"):
        check_values("tokens", "x", np.array([[0.5, 2.0]]))


def test_what_the_networks_cannot_do_is_named():
    x = jnp.zeros((2, 4))
    with pytest.raises(ValueError, match="token_width must be a multiple of attention_heads = 3"):
        TextEncoder(1, 2, token_width=16, attention_heads=3).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"shape must be \(T,\), the number of tokens, got \(2, 3"):
        TextDecoder((2, 3)).init(jax.random.key(0), x)


def test_the_encoder_sees_the_order_of_tokens():
    encoder, x = TextEncoder(1, 8, vocabulary=9), jnp.array([[1, 2, 3, 0], [3, 2, 1, 0]])
    z = encoder.apply(encoder.init(jax.random.key(0), x), x)
    assert np.abs(z[0] - z[1]).max() > 1e-3


# ---------------------------------------------------------------- a user's strings


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "run"
    config = SHORT | {"evaluation.num_rows": 10}
    return folder, sbmae_jax.fit(
        own_data(), num_steps=20, quiet=True, config=config, workdir=folder
    )


@pytest.mark.slow
def test_strings_are_generated_from_any_subset(fitted):
    _, model = fitted
    data = own_data()
    for noise in (False, True):
        made = model.generate({"lab": data["lab"][:3]}, num_samples=2, noise=noise)["caption"]
        assert made.shape == (3, 2)
        assert made.dtype.kind == "U"
    given = ["a bold 8 on a dim photograph", data["caption"][0]]
    made = model.generate({"caption": given}, num_samples=2)
    assert made["lab"].shape == (2, 2, 2)
    assert made["caption"][:, 0].tolist() == given
    assert model.generate({}, num_samples=4)["caption"].shape == (4,)


@pytest.mark.slow
def test_holes_are_filled_with_strings(fitted):
    _, model = fitted
    data = own_data()
    found = model.impute(data, num_samples=3)
    holes = found.rows["caption"]
    assert holes.tolist() == [i for i in range(N) if i % 10 == 3]
    assert found.samples["caption"].shape == (len(holes), 3)
    kept = [i for i in range(N) if i % 10 != 3]
    assert [found.filled["caption"][i] for i in kept] == [data["caption"][i] for i in kept]
    for row, strings in zip(holes, found.samples["caption"], strict=True):
        assert found.filled["caption"][row] in strings
    frame = pd.DataFrame({"caption": data["caption"]})
    assert model.impute(frame, num_samples=2).filled["caption"].notna().all()


@pytest.mark.slow
def test_a_saved_model_has_its_tokens(fitted, tmp_path):
    _, model = fitted
    model.save(tmp_path / "saved")
    loaded = sbmae_jax.load(tmp_path / "saved")
    lab = own_data()["lab"][:3]
    made = [one.generate({"lab": lab}, key=1)["caption"].tolist() for one in (model, loaded)]
    assert made[0] == made[1]


@pytest.mark.slow
def test_what_is_unlike_training_is_said_and_does_not_fail(fitted):
    _, model = fitted
    with pytest.warns(UserWarning, match="1 of 2 strings have characters that no .*: 'ß', '☃'"):
        model.generate({"caption": ["a ß ☃", captions()[0]]})
    with pytest.warns(UserWarning, match=r"1 of 1 strings have more than \d+ tokens, and were cut"):
        made = model.generate({"caption": [" ".join(captions())]})
    assert made["caption"].tolist() == [" ".join(captions())]  # what was given comes back
    with pytest.raises(ValueError, match="caption: values must be strings, got int64"):
        model.generate({"caption": [1, 2]})
    with pytest.raises(ValueError, match="caption is a single value: the first axis must be rows"):
        model.generate({"caption": "a bold 8"})
    with pytest.raises(ValueError, match="caption has a hole in row 1: use impute"):
        model.generate({"caption": ["a bold 8", None]})


@pytest.mark.slow
def test_strings_that_would_have_other_tokens_than_in_training_are_refused(fitted):
    data = pipeline.open_run(fitted[0]).data
    caption = data.description.scalings["caption"]
    changed = dataclasses.replace(caption, details=caption.details | {"pieces": "{}"})
    known = data.description._replace(scalings=data.description.scalings | {"caption": changed})
    assert len(data.source("test", 2)) == 2
    with pytest.raises(ValueError, match="caption: its strings have other tokens than in training"):
        dataclasses.replace(data, description=known).source("test", 2)


@pytest.mark.slow
def test_the_report_shows_strings(fitted):
    folder, _ = fitted
    config = pipeline.open_run(folder).config
    for stage in ("evaluate", "report"):
        pipeline.run(config, folder, stage, quiet=True)
    page = (folder / "report" / "index.html").read_text()
    assert "Text, given all others" in page
    assert "nearest training row" in page
    shown = [s for s in own_data()["caption"] if s and s in page]
    assert shown
    results = json.loads((folder / "results.json").read_text())
    found = results["texts"]["caption"]
    assert results["value_types"]["caption"] == "text"
    assert 0 <= found["model"]["tokens"]["mean"] <= 1
    assert found["frequent"]["exact"]["mean"] <= 0.5


@pytest.mark.slow
def test_files_of_strings_are_written(fitted, tmp_path):
    folder, _ = fitted
    given = ["caption=a bold 8 on a dim photograph"]
    pipeline.generate(folder, given, 2, tmp_path / "made")
    assert len((tmp_path / "made" / "lab.csv").read_text().splitlines()) == 3
    pipeline.generate(folder, [], 2, tmp_path / "all")
    assert (tmp_path / "all" / "caption.csv").read_text().startswith("sample,caption")
    np.savez(tmp_path / "new.npz", lab=own_data()["lab"][:4])
    pipeline.impute(folder, tmp_path / "new.npz", tmp_path / "filled.npz", num_samples=2)
    with np.load(tmp_path / "filled.npz") as filled:
        assert filled["caption"].shape == (4,)
        assert filled["caption_samples"].shape == (4, 2)
        assert "caption_mean" not in filled


def test_the_survey_says_what_is_text_and_what_else_it_could_be(tmp_path):
    strings = captions()
    town = [["Bonn", "Oslo"][i % 2] for i in range(N)]
    np.savez(tmp_path / "d.npz", caption=strings, town=town)
    found = survey(tmp_path / "d.npz")
    kinds = {m.name: (m.kind, m.reason) for m in found.modalities}
    assert kinds["town"] == ("category", "strings")
    assert kinds["caption"][0] == "text"
    assert kinds["caption"][1].endswith("of 120 distinct")
    assert "caption is taken for text, as its strings hardly repeat" in str(found)
    found = survey(tmp_path / "d.npz", {"town": "text"})
    assert [m.kind for m in found.modalities] == ["text", "text"]
    assert "town is taken for text" not in str(found)


def test_training_strings_that_are_cut_are_counted(tmp_path):
    strings = [f"{i} " + "x y z " * (200 if i % 4 == 0 else 1) for i in range(N)]
    np.savez(tmp_path / "d.npz", caption=strings, lab=np.arange(N) / 7)
    assert "caption: 2" in str(survey(tmp_path / "d.npz"))
    assert "training strings have more than 256 tokens, and are cut there" in str(
        survey(tmp_path / "d.npz")
    )


def test_strings_that_cannot_be_learned_from_are_named(tmp_path):
    lab = np.arange(N) / 7

    def surveyed(strings, kinds=None):
        np.savez(tmp_path / "d.npz", caption=strings, lab=lab)
        return str(survey(tmp_path / "d.npz", kinds))

    with pytest.raises(ValueError, match="caption is missing in every row: leave this array out"):
        surveyed([""] * N)
    with pytest.raises(ValueError, match="caption cannot be of the kind text: its values are int"):
        surveyed(np.arange(N), {"caption": "text"})
    with pytest.raises(ValueError, match="a string has 20,000 characters, and at most 10,000 fit"):
        surveyed([f"{i} ".ljust(20_000, "x") for i in range(N)])
    with pytest.raises(ValueError, match=r"caption: the string in row .* is not valid Unicode"):
        surveyed([f"row {i} \ud800" for i in range(N)])
    same = surveyed(["the same"] * N, {"caption": "text"})
    assert "caption is constant in the training rows: there is nothing to learn" in same
    with pytest.raises(ValueError, match="caption has values of no common type, such as 3 in row"):
        sbmae_jax.fit({"caption": ["a", 3] * 20, "lab": lab[:40]}, num_steps=20, quiet=True)


def test_text_has_no_frozen_coder():
    coder = FrozenCoder(encode=lambda x: x, decode=lambda z: z)
    with pytest.raises(ValueError, match="text has no frozen coder: leave it out of coders"):
        sbmae_jax.fit(own_data(), num_steps=20, quiet=True, coders={"caption": coder})


# ---------------------------------------------------------------- captions


def test_each_caption_of_each_factors_is_read_back():
    num = 0
    for factors in DIGITS.all_factors():
        for caption in DIGITS.captions(factors):
            assert DIGITS.parse(caption) == factors
            assert DIGITS.share_right(caption, factors) == 1
            num += 1
    assert num == 40 * 4 * 2 * 3 * 3


def test_what_a_caption_does_not_say_or_says_twice_is_not_read():
    assert DIGITS.parse("") == {}
    assert DIGITS.parse("A THIN one") == {"digit": "1", "stroke": "thin"}
    assert DIGITS.parse("a bold thin 3 on someone's light") == {"digit": "3", "background": "light"}
    assert DIGITS.share_right("a bold 3", {"digit": "3", "stroke": "thin"}) == 0.5


def test_a_grammar_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="the word 'dark' says two things"):
        Grammar({"a": {"x": ("dark",)}, "b": {"y": ("dark",)}}, ("{a} {b}",))
    with pytest.raises(ValueError, match="the sentence 'a' does not say 'a': add it"):
        Grammar({"a": {"x": ("dark",)}}, ("a",))
