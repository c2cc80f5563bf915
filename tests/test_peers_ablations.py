"""The ablations: each changes what it says, and nothing else."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from sbmae_jax.app import pipeline

ROOT = Path(__file__).resolve().parents[1]


def test_trained_together_the_score_moves_the_encoders_and_never_the_decoders(script, tmp_path):
    runs = script("peers_runs")
    network = {"name": "mlp", "width": 16, "num_blocks": 1, "level_width": 8}  # compiles soon
    parts = runs.Run(tiny.rivals(runs) | {"network": network}, tmp_path).parts
    rng = np.random.default_rng(0)
    batch = {n: rng.integers(0, 256, (8, 28, 28, 3)).astype(np.uint8) for n in parts.layout.names}
    make = script("peers_together").together_task
    tasks = [make(parts, weight) for weight in (0.0, 0.7)]
    params = jax.jit(tasks[0].init)(jax.random.key(0), batch)
    # The score's last layer begins at zero, where no gradient passes.
    params["score"] = jax.tree.map(lambda a: a + 0.01 * jnp.ones_like(a), params["score"])

    def gradient(task):
        def mean(params):
            losses, aux = task.loss(params, jax.random.key(1), batch)
            return jnp.mean(losses), (losses, aux)

        return jax.jit(jax.grad(mean, has_aux=True))(params)

    (alone, _), (together, (losses, aux)) = map(gradient, tasks)
    for name in parts.layout.names:
        a, b = (g["autoencoders"][name] for g in (alone, together))
        jax.tree.map(np.testing.assert_array_equal, a["decoder"], b["decoder"])
        gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), a["encoder"], b["encoder"])
        assert max(jax.tree.leaves(gaps)) > 1e-4
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(alone["score"])) == 0
    np.testing.assert_allclose(
        losses, aux["bound"] + 0.7 * parts.layout.size * aux["matching"], rtol=1e-5
    )


def test_latents_stay_as_they_are_within_the_block_alone(script):
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (100, 4))
    with script("peers_ablations").unit_moments():
        within = pipeline.moments(x)
    np.testing.assert_array_equal(within.standardise(x), x)
    np.testing.assert_allclose(pipeline.moments(x).standardise(x).std(0), 1, rtol=1e-5)


def test_rivals_get_rows_that_lack_modalities_with_which_those_are(script, tmp_path):
    runs = script("peers_runs")
    config = runs.base_config("polydigits", 0, 2) | {"num_train": 200}
    config["data"] = config["data"] | {"missing": 0.5}
    run = runs.Run(config, tmp_path)
    view = {name: name for name in run.parts.layout.names}
    chunk = runs.joint_feed(run, view)(jax.random.key(0), 48)(0, 4)
    assert chunk["present"].shape == (4, 48, 2)
    present = np.asarray(chunk["present"]).reshape(-1, 2)
    assert 0.3 < present.mean() < 0.7
    assert present.any(axis=1).all()


def test_smaller_batches_of_the_score_cost_as_much(script):
    ablations, runs = script("peers_ablations"), script("peers_runs")
    config = runs.base_config("polydigits", 0, 1, large=True)
    often = ablations.score_often(config)
    np.testing.assert_allclose(runs.gflop(often), runs.gflop(config), rtol=1e-3)
    assert often["autoencoder_training"] == config["autoencoder_training"]
    before, after = (c["score_training"] for c in (config, often))
    assert after["batch_size"] == before["batch_size"] / 4
    assert 3.5 < after["num_steps"] / before["num_steps"] <= 4


def test_all_rows_are_named(script):
    ablations, runs = script("peers_ablations"), script("peers_runs")
    this = SimpleNamespace(
        config=lambda seed: runs.base_config("polydigits", seed), folder=ROOT / "peers-x", gflop=1.0
    )
    way = {"temperature": 0.5}
    chosen = {rule: {"value": 0.5} for rule in ("mopoe", "mvtcae")}
    chosen["ours, colder"] = {"value": {"given": way, "nothing": way}}
    these = ablations.Ablations(this, chosen)
    names = [*these.parts(), *these.data()]
    assert len(set(names)) == len(names) == 24
    assert these.folder.name == "peers-x-ablations"
