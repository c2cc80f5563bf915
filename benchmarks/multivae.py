"""Our ports of rivals beside those of the PyTorch library MultiVae, on the same data; in results/peers.json.

    python benchmarks/multivae.py --seeds 0 1 2              # after benchmarks/peers.py --large
    python benchmarks/multivae.py --models jnf --seeds 0     # what has no port here
    python benchmarks/multivae.py --ports                    # our ports trained alike, without MultiVae
    python benchmarks/multivae.py --models mopoe mvae mmvae  # the rest of the family

MultiVae 1.0.3 and PyTorch are installed from the package index into runs/multivae/env (some GB with the
default PyTorch), never into this environment. Data and samples go through files. Its models have our
networks, its own trainer with our batch size, learning rate and decay, the beta that peers.py chose for our
port (but MMVAE, to which it gives no beta), and the steps of the port, rounded to whole passes over the data.
Each is judged by the protocol that judges all. Beside it stands our port trained alike: with the same beta,
as many steps, kernels that begin as small as PyTorch's, and, in MMVAE and MMVAE+, a code of every expert
decoded for every row, for which peers.py has no operations to spare.
"""

import argparse
import copy
import json
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import peers_page
import peers_tables
from peers_claims import LARGE
from peers_comparison import Comparison
from peers_runs import figures, kept, measure, train_joint, with_rows
from reuse import reuse

from sbmae_jax.app import provenance
from sbmae_jax.app.run import Run, load_evaluators
from sbmae_jax.data.source import Source
from sbmae_jax.evaluation.labels.protocol import SharedLabelProtocol
from sbmae_jax.evaluation.subsets import nested_subsets
from sbmae_jax.training.sharding import batched

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "runs" / "multivae"
PACKAGE = "multivae==1.0.3"
NOTHING, AGAIN, ALL = "nothing", "again", "all"
# JNF has no port to take a beta from; MultiVae's MMVAE has none, which is one of 1.
BETAS = {"jnf": 0.5, "mmvae": 1.0}
# Flax draws kernels with variance 1 / fan-in, PyTorch uniformly with a third of it.
KERNEL_SCALE = 3**-0.5
FEW_ROWS = {"jnf": 200}  # it samples by 1,100 gradients for each set of observed modalities


class FromDisk:
    """Stands for `evaluate.Generator` with samples that another program has made."""

    def __init__(
        self, path: Path, observed: Mapping[str, np.ndarray], names: tuple[str, ...], batch: int
    ):
        self.names, self.batch_size = names, batch
        self._arrays, self._observed = np.load(path), observed
        num = len(names)
        self._left = [NOTHING, *map(str, range(1, num)), AGAIN]  # in the order of the protocol
        self.read = dict

    def reading(self, read):
        """Return the same samples, of which something else is kept."""
        other = copy.copy(self)
        other.read = read
        return other

    def _read(self, request: str) -> dict[str, np.ndarray]:
        made = {name: self._arrays[f"{request}.{name}"] for name in self.names}
        return batched(self.read, self.batch_size)(made)

    def reconstruct_rows(self, rows):
        """Return what was made of rows with everything observed."""
        del rows
        return self._read(ALL)

    def complete_rows(self, key, rows, observed):
        """Return the next samples, which must have been made for what is observed."""
        del key
        if self._left:
            request = self._left.pop(0)
            if not np.array_equal(observed, self._observed[request]):
                raise ValueError(f"samples of {request!r} are for other observed modalities")
            return self._read(request)
        # The pictures of the report, which nobody looks at here.
        return {name: rows[name] for name in self.names}


def requests(num_rows: int, num_modalities: int) -> dict[str, np.ndarray]:
    """Return what is observed in each set of samples that the protocol asks for."""
    nested = nested_subsets(num_rows, num_modalities)
    shape = num_rows, num_modalities
    return {
        NOTHING: np.zeros(shape, bool), **{str(n): o for n, o in enumerate(nested, 1)},
        AGAIN: nested[0], ALL: np.ones(shape, bool),
    }  # fmt: skip


def install() -> Path:
    """Make the environment unless it is there, and return its Python."""
    python = FOLDER / "env" / "bin" / "python"
    if not (FOLDER / "env" / "ready").exists():
        venv.create(FOLDER / "env", with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        (FOLDER / "env" / "ready").touch()
    return python


def write_data(run: Run, test: Source, path: Path, observed: Mapping[str, np.ndarray]) -> None:
    """Write training and test pictures, and what is to be sampled."""
    if path.exists():
        return
    names = run.parts.layout.names
    arrays = {f"train.{n}": run.data.train.arrays[n] for n in names}
    arrays |= {f"test.{n}": test.arrays[n] for n in names}
    arrays |= {f"observed.{request}": mask for request, mask in observed.items()}
    np.savez(path, names=json.dumps(names), **arrays)  # pyright: ignore[reportArgumentType]


def measure_model(
    this: Comparison, name: str, seed: int, page: Mapping[str, Any]
) -> dict[str, Any]:
    """Train and sample one model in its environment, and judge the samples."""
    run = Run(this.config(seed), this.evaluator(seed))
    protocol, names = run.parts.protocol, run.parts.layout.names
    assert isinstance(protocol, SharedLabelProtocol)
    num = min(FEW_ROWS.get(name, protocol.num_rows), protocol.num_rows)
    protocol = with_rows(protocol, num)
    observed, source = requests(num, len(names)), run.data.source("test", num)
    data, made = FOLDER / f"data-{num}-{seed}.npz", FOLDER / f"{name}-{seed}.npz"
    write_data(run, source, data, observed)
    size = run.parts.modalities[0].latent_size
    # JNF has no port here: it gets what MVTCAE gets.
    port = "mvtcae" if name == "jnf" else name
    beta = beta_of(name, page)
    epochs, _ = passes(run, page["rows"][port][0]["steps"])
    if not made.exists():
        # -P: this file has the library's name, so its folder must not be searched.
        command = [
            install(), "-P", ROOT / "benchmarks" / "multivae_train.py", f"--model={name}",
            f"--input={data}", f"--output={made}", f"--folder={FOLDER / name}",
            f"--beta={beta}", f"--epochs={epochs}",
            f"--latent={size if name == 'mmvae_plus' else size * len(names)}", f"--seed={seed}",
        ]  # fmt: skip
        subprocess.run(command, check=True)
    generator = FromDisk(made, observed, names, protocol.batch_size)
    rows = {n: source.arrays[n] for n in run.data.description.shapes}
    found, _ = protocol.measure(
        jax.random.key(0),
        rows,
        generator,
        load_evaluators(run),
        lambda: run.data.train_loaded.arrays,
    )  # pyright: ignore[reportArgumentType]
    arrays = np.load(made)
    return figures(found) | {
        "beta": beta, "epochs": epochs, "parameters": int(arrays["parameters"]),
        "training seconds": float(arrays["seconds"]), "num_rows": num,
        "commit": provenance.commit(),
    }  # fmt: skip


def beta_of(name: str, page: Mapping[str, Any]) -> float:
    """Return the beta that a model and its port trained alike have."""
    return BETAS[name] if name in BETAS else page["chosen"][name]["value"]


def passes(run: Run, num_steps: int) -> tuple[int, int]:
    """Return whole passes over the data that are as many steps, nearly, and how many these are."""
    batch_size, num_rows = run.parts.groups[0].training.batch_size, len(run.data.train)
    epochs = max(round(num_steps * batch_size / num_rows), 1)
    return epochs, epochs * -(-num_rows // batch_size)


def measure_port(this: Comparison, name: str, seed: int, page: Mapping[str, Any]) -> dict[str, Any]:
    """Train and measure our port of a model as MultiVae trains it."""
    _, num_steps = passes(
        Run(this.config(seed), this.evaluator(seed)), page["rows"][name][0]["steps"]
    )
    workdir = FOLDER / f"port-{name}-{seed}"
    reuse(this.evaluator(seed), workdir, ("classifier",), ())
    trained = train_joint(
        this.config(seed), workdir, name, beta_of(name, page),
        num_steps=num_steps, stratified=name in ("mmvae", "mmvae_plus"), kernel_scale=KERNEL_SCALE,
    )  # fmt: skip
    return measure(trained, "test")


def main() -> None:
    """Measure, compare with our ports, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ["mvtcae", "mmvae_plus", "mopoe", "mvae", "mmvae", "jnf"]
    parser.add_argument("--models", nargs="+", choices=known, default=known[:2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ports", action="store_true", help="only our ports, trained alike")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    this, page = Comparison("polydigits", large=True), peers_page.load(LARGE)
    part = peers_page.load().get("multivae", {"package": PACKAGE, "rows": {}})
    for name in arguments.models:
        wanted = [] if arguments.ports else [("rows", measure_model)]
        if name in page["rows"]:  # otherwise it has no port
            wanted.append(("ports", measure_port))
        for kind, make in wanted:
            file = name if kind == "rows" else f"port-{name}"
            part.setdefault(kind, {})[name] = [
                kept(
                    FOLDER / f"{file}-{seed}.json",
                    lambda make=make, name=name, seed=seed: make(this, name, seed, page),
                )
                for seed in arguments.seeds
            ]
        seeds = " ".join(map(str, arguments.seeds))
        command = f"python benchmarks/multivae.py --models {name} --seeds {seeds}"
        command += " --ports" if arguments.ports else ""
        part["command"] = sorted({*part.get("command", ()), command})
    print(peers_tables.multivae_table(peers_page.put("multivae", part)))


if __name__ == "__main__":
    main()
