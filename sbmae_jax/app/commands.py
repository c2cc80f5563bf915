"""What the command line can do: its flags, and a command for each thing, which reads some of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from sbmae_jax._extras import require_extra
from sbmae_jax._io import as_path, is_remote
from sbmae_jax.app import pipeline
from sbmae_jax.app.build import build, build_source
from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.config_files import load_config
from sbmae_jax.app.explanation import explain
from sbmae_jax.app.loading import SMALL, load
from sbmae_jax.app.overrides import Override, with_overrides
from sbmae_jax.data import description
from sbmae_jax.training import distributed
from sbmae_jax.training.preemption import Notice
from sbmae_jax.training.workdir import DATA, RESULTS, read_config

CONFIG = flags.DEFINE_string(
    "config", None,
    "A config: a file, such as configs/polydigits.py, or the name of one that is installed, such as "
    "polydigits; with a variant, configs/polydigits.py:smoke. --config.KEY=VALUE sets a value of it, as in "
    "--config.modalities.lab.latent_size=8.",
)  # fmt: skip
WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run, or the URL of a bucket. Created if it does not exist."
)
STAGE = flags.DEFINE_enum(
    "stage", "all", [*pipeline.SEVERAL, *pipeline.STAGES, "generate", "impute"],
    "Run all stages; train, without evaluating; or one stage only; or use a finished run, with generate or "
    "impute.",
)  # fmt: skip
REDO = flags.DEFINE_enum(
    "redo", "", ["", *pipeline.STAGES],
    "Do a stage again, and all that depends on it, in a WORKDIR that has it already.",
)  # fmt: skip
_TRAINED = "Folder of the trained run, or the URL of a bucket."
_ABOUT_GIVEN = (
    'What a sample must agree with, NAME=VALUE. Repeatable. For example image=face.png, '
    'attributes="Smiling,Eyeglasses" or lab=0.3,7. Without it, everything is generated.'
)  # fmt: skip
_ABOUT_INPUT = "Rows to fill in, in the same form as the training data."
_FOLDER_OF_SAMPLES = (
    "Folder for the samples (default: generated in WORKDIR, or in the current folder if WORKDIR is in a "
    "bucket)."
)
_FILLED_FILE = (
    "The .npz file for the filled rows and their samples; or a .csv, .parquet, .feather or .xlsx file, which "
    "is the table of --input with its holes filled, without samples; or an .h5ad file, as --input."
)
_EXPORTED_FILE = (
    "A .safetensors file or a folder, which sbmae_jax.load reads, or a .jax file for JAX alone."
)
GIVEN = flags.DEFINE_multi_string("given", [], f"For generate: {_ABOUT_GIVEN}")
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "Number of samples (default: 5 for generate, 20 for impute)."
)
INPUT = flags.DEFINE_string("input", "", f"For impute: {_ABOUT_INPUT}")
OUTPUT = flags.DEFINE_string(
    "output", "",
    f"For generate: {_FOLDER_OF_SAMPLES} For impute: {_FILLED_FILE} For export: {_EXPORTED_FILE}",
)  # fmt: skip
SEED = flags.DEFINE_integer("seed", 0, "For generate and impute: seed of the samples.")
PORT = flags.DEFINE_integer(
    "port", 0, "For app: the port to listen on (default: the first free one from 7860).",
    lower_bound=0, upper_bound=65535,
)  # fmt: skip
PROFILE = flags.DEFINE_bool(
    "profile", False, "Trace a few calls of each training into WORKDIR/profile, for TensorBoard."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, if processes cannot find each other."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes in this run.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds", distributed.HEARTBEAT_SECONDS,
    "Stop if another process gives no sign of life for this many seconds.", lower_bound=1,
)  # fmt: skip

_OF_PROCESSES = ("coordinator_address", "num_processes", "process_id", "heartbeat_seconds")

Words = list[str]
"""The words of a command line that are no flags."""


class Command(NamedTuple):
    """What the command line can do.

    Attributes:
        summary: What it does, in one sentence.
        run: Does it.
        flags: The flags that it reads.
        operand: The name of the word that it takes besides flags, in brackets if it may be left out; "" if it
            takes none.
        config: Whether it reads --config.KEY=VALUE.
        about: Flags that mean something of their own here, and what.
        needs_workdir: Whether --workdir must be there, if it is one of its flags.
    """

    summary: str
    run: Callable[[Words, Sequence[Override]], None]
    flags: tuple[str, ...]
    operand: str = ""
    config: bool = False
    about: Mapping[str, str] = {}
    needs_workdir: bool = True


def train(words: Words, overrides: Sequence[Override]) -> None:
    """Run a stage, or all, and print what the values of the command line have replaced."""
    if words and CONFIG.value is not None:
        raise ValueError(f"{words[0]}: name DATA or --config, not both")
    if words:
        overrides = [Override("data.path", words[0]), *overrides]
    named = bool(words) or CONFIG.value is not None
    config = load_config(CONFIG.value or "custom") if named else _config_of_run()
    if config is None:
        raise ValueError(
            "choose a config: --config=configs/polydigits.py, or name DATA of your own"
        )
    config = _changed(config, overrides)
    with Notice().watched() as notice:
        options = {"notice": notice, "profile": PROFILE.value, "redo": REDO.value}
        pipeline.run(config, WORKDIR.value, STAGE.value, **options)


def evaluate(words: Words, overrides: Sequence[Override]) -> None:
    """Measure a trained run again where the values of the command line ask for it, and write its report."""
    config = _changed(_stored_config(), overrides)
    again = bool(overrides) and (as_path(WORKDIR.value) / RESULTS).exists()
    with Notice().watched() as notice:
        if not again:
            pipeline.run(config, WORKDIR.value, "evaluators", notice=notice)
        redo = "evaluate" if again else ""
        pipeline.run(config, WORKDIR.value, "evaluate", notice=notice, redo=redo)
        pipeline.run(config, WORKDIR.value, "report", notice=notice)


def report(words: Words, overrides: Sequence[Override]) -> None:
    """Write the report of an evaluated run anew."""
    pipeline.run(_stored_config(), WORKDIR.value, "report", redo="report")


def generate(words: Words, overrides: Sequence[Override]) -> None:
    """Generate what is not given, and print where the samples are."""
    here = Path() if is_remote(WORKDIR.value) else as_path(WORKDIR.value)
    output = as_path(OUTPUT.value) if OUTPUT.value else here / "generated"
    num_samples = 5 if NUM_SAMPLES.value is None else NUM_SAMPLES.value
    page = pipeline.generate(WORKDIR.value, GIVEN.value, num_samples, output, seed=SEED.value)
    _say(f"samples: {page}")


def impute(words: Words, overrides: Sequence[Override]) -> None:
    """Fill in missing values of new rows, and print what was filled in."""
    if not (INPUT.value and OUTPUT.value):
        raise ValueError(
            "impute needs two files: --input=new.npz --output=filled.npz, or --input=new.csv "
            "--output=filled.csv"
        )
    num_samples = 20 if NUM_SAMPLES.value is None else NUM_SAMPLES.value
    done = pipeline.impute(
        WORKDIR.value, INPUT.value, OUTPUT.value, num_samples=num_samples, seed=SEED.value
    )
    filled = [
        f"{name}: filled in {num:,} of {done.num_rows:,} rows"
        for name, num in done.num_filled.items()
        if num
    ]
    what = f"{num_samples} samples for each hole, and a summary of them"
    if done.path.suffix != ".npz":
        what = f"holes filled from {num_samples} samples each, which an .npz output holds as well"
    _say(*done.notices, *filled, f"{what}: {done.path}")


def export(words: Words, overrides: Sequence[Override]) -> None:
    """Save the model of a trained run, or its compiled function, and print where."""
    suffix = as_path(OUTPUT.value).suffix
    if not OUTPUT.value or suffix not in ("", ".safetensors", ".jax"):
        raise ValueError(
            "export needs --output=NAME.safetensors, --output=NAME.jax, or --output=FOLDER, got "
            f"{OUTPUT.value!r}"
        )
    model = load(WORKDIR.value)
    if suffix == ".jax":
        model.export(OUTPUT.value)
    else:
        model.save(OUTPUT.value)
    print(f"model: {OUTPUT.value}")


def describe(words: Words, overrides: Sequence[Override]) -> None:
    """Print what data are, and what a training would choose for them; nothing is trained or written."""
    config = _changed(load_config("custom"), [Override("data.path", words[0]), *overrides])
    chosen, choices, found = choose_values(config)
    build(chosen, description.describe(build_source(chosen, "train", 1)))  # refuses unknown keys
    print(explain(chosen, choices, found))


def app(words: Words, overrides: Sequence[Override]) -> None:
    """Serve a page to generate with, until it is interrupted."""
    require_extra("the page", "app", "gradio")
    from sbmae_jax.app.page.page import serve

    source = WORKDIR.value or SMALL
    model, entries = load(source), {}
    if WORKDIR.value and (as_path(source) / DATA).exists():
        entries = description.load(as_path(source) / DATA).entries
    serve(model, {**entries, **dict(model.entries)}, as_path(source).name, PORT.value)


def _changed(config: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Set values of a config, and print which of its values this has replaced."""
    config, notes = with_overrides(config, overrides)
    _say(*notes)
    return config


def _say(*lines: str) -> None:
    """Print lines; of several processes, the first one does."""
    if lines and distributed.is_first():
        print("\n".join(lines))


def _config_of_run() -> dict[str, Any] | None:
    """Return the config of the run in WORKDIR, which leaves out what it has left out; None without a run."""
    config = read_config(as_path(WORKDIR.value))
    if config is not None and config["data"].get("name") == "files":
        config["data"].setdefault("leave_out", None)
    return config


def _stored_config() -> dict[str, Any]:
    """Return the config of the run in WORKDIR; raises ValueError if there is none."""
    config = _config_of_run()
    if config is None:
        raise ValueError(f"{WORKDIR.value} is not the workdir of a run: train one there first")
    return config


COMMANDS = {
    "train": Command(
        "Train on DATA of your own or as a config says, evaluate and report; or go on with a run.", train,
        ("config", "workdir", "redo", "profile", "stage", *_OF_PROCESSES), "[DATA]", config=True,
        about={"stage": f"What to run: {', '.join([*pipeline.SEVERAL, *pipeline.STAGES])} (default: all)."},
    ),
    "generate": Command(
        "Generate what is not given, with a trained run.", generate,
        ("workdir", "given", "num_samples", "output", "seed", *_OF_PROCESSES),
        about={
            "workdir": _TRAINED, "num_samples": "Number of samples (default: 5).",
            "given": _ABOUT_GIVEN, "output": _FOLDER_OF_SAMPLES, "seed": "Seed of the samples.",
        },
    ),
    "impute": Command(
        "Fill in missing values of new rows, with a run trained on your own data.", impute,
        ("workdir", "input", "output", "num_samples", "seed", *_OF_PROCESSES),
        about={
            "workdir": _TRAINED, "num_samples": "Number of samples of each hole (default: 20).",
            "input": _ABOUT_INPUT, "output": _FILLED_FILE, "seed": "Seed of the samples.",
        },
    ),
    "evaluate": Command(
        "Measure a trained run, and write its report.", evaluate,
        ("workdir", *_OF_PROCESSES), config=True, about={"workdir": _TRAINED},
    ),
    "report": Command(
        "Write the report of an evaluated run anew.", report, ("workdir",),
        about={"workdir": "Folder of the evaluated run, or the URL of a bucket."},
    ),
    "export": Command(
        "Save the model of a trained run in a file that lasts.", export, ("workdir", "output"),
        about={"workdir": _TRAINED, "output": _EXPORTED_FILE},
    ),
    "app": Command(
        "Generate with a trained model on a page in your browser.", app, ("workdir", "port"),
        about={
            "workdir": "Folder of the trained run or of a saved model (default: a small model of PolyDigits "
            "that is installed with the package).",
        },
        needs_workdir=False,
    ),
    "describe": Command(
        "Print what data are, and what a training would choose.", describe, (), "DATA", config=True
    ),
}  # fmt: skip
