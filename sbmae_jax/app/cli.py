"""The command line: flags, and errors that a user can fix as one sentence. `launch.py` calls `main`."""

import os
import sys
import warnings
from pathlib import Path

import jax
from absl import app, flags, logging

from sbmae_jax._io import as_path, is_remote
from sbmae_jax.app import pipeline
from sbmae_jax.app.overrides import Override, load_config, split_overrides, with_overrides
from sbmae_jax.training import distributed
from sbmae_jax.training.preemption import Notice, Preempted

CONFIG = flags.DEFINE_string(
    "config", None,
    "A config file, such as configs/polydigits.py, or a variant of it: configs/polydigits.py:smoke. "
    "--config.KEY=VALUE sets a value of it, as in --config.modalities.lab.latent_size=8.",
)  # fmt: skip
WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run, or the URL of a bucket. Created if it does not exist."
)
STAGE = flags.DEFINE_enum(
    "stage", "all", ["all", *pipeline.STAGES, "generate", "impute"],
    "Run all stages, or one only; or use a finished run, with generate or impute.",
)  # fmt: skip
REDO = flags.DEFINE_enum(
    "redo", "", ["", *pipeline.STAGES],
    "Do a stage again, and all that depends on it, in a WORKDIR that has it already.",
)  # fmt: skip
GIVEN = flags.DEFINE_multi_string(
    "given", [],
    'For generate: what a sample must agree with, NAME=VALUE. Repeatable. For example image=face.png, '
    'attributes="Smiling,Eyeglasses" or lab=0.3,7. Without it, everything is generated.',
)  # fmt: skip
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "Number of samples (default: 5 for generate, 20 for impute)."
)
INPUT = flags.DEFINE_string(
    "input", "", "For impute: rows to fill in, in the same form as the training data."
)
OUTPUT = flags.DEFINE_string(
    "output", "",
    "For generate: folder for the samples (default: generated in WORKDIR, or in the current folder if "
    "WORKDIR is a bucket). For impute: .npz file for the filled rows.",
)  # fmt: skip
SEED = flags.DEFINE_integer("seed", 0, "For generate and impute: seed of the samples.")
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
flags.register_validator("workdir", bool, "choose a folder for the run: --workdir=runs/NAME")

_overrides: list[Override] = []  # what the command line sets in the config, filled by `parse`


def parse(argv: list[str]) -> list[str]:
    """Parse the command line, and report a mistyped flag in one sentence."""
    try:
        words = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
        words, _overrides[:] = split_overrides(words)
        return flags.FLAGS(words)
    except (flags.Error, OSError, TypeError, ValueError) as error:
        sys.exit(f"launch.py: {error}")


def cache_executables() -> None:
    """Cache what XLA compiles: in JAX_COMPILATION_CACHE_DIR if it is set, else in ~/.cache/sbmae_jax."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "sbmae_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def train() -> None:
    """Run a stage, or all, and print what the values of the command line have replaced."""
    if CONFIG.value is None:
        raise ValueError("choose a config: --config=configs/polydigits.py")
    config, notes = with_overrides(load_config(CONFIG.value), _overrides)
    with Notice().watched() as notice:
        if distributed.is_first():
            print("\n".join(notes), end="\n" * bool(notes))
        options = {"notice": notice, "profile": PROFILE.value, "redo": REDO.value}
        pipeline.run(config, WORKDIR.value, STAGE.value, **options)


def generate() -> None:
    """Generate what is not given, and print where the samples are."""
    here = Path() if is_remote(WORKDIR.value) else as_path(WORKDIR.value)
    output = as_path(OUTPUT.value) if OUTPUT.value else here / "generated"
    num_samples = 5 if NUM_SAMPLES.value is None else NUM_SAMPLES.value
    page = pipeline.generate(WORKDIR.value, GIVEN.value, num_samples, output, seed=SEED.value)
    print(f"samples: {page}")


def impute() -> None:
    """Fill in missing values of new rows, and print what was filled in."""
    if not (INPUT.value and OUTPUT.value):
        raise ValueError("impute needs two files: --input=new.npz --output=filled.npz")
    num_samples = 20 if NUM_SAMPLES.value is None else NUM_SAMPLES.value
    done = pipeline.impute(
        WORKDIR.value, INPUT.value, OUTPUT.value, num_samples=num_samples, seed=SEED.value
    )
    for notice in done.notices:
        print(notice)
    for name, num in done.num_filled.items():
        if num:
            print(f"{name}: filled in {num:,} of {done.num_rows:,} rows")
    print(f"{num_samples} samples for each hole, and a summary of them: {done.path}")


def launch(argv: list[str]) -> None:
    """Do what the flags say, and report what a user can fix in one sentence."""
    if len(argv) > 1:
        sys.exit(f"launch.py: unknown argument {argv[1]!r}: flags start with --")
    if logging.get_verbosity() == logging.INFO:  # the default, at which Orbax logs every file
        logging.set_verbosity(logging.WARNING)
    # Only what is said, not where in the code.
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    cache_executables()
    try:
        distributed.initialize(
            COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, HEARTBEAT.value
        )
        if STAGE.value not in ("generate", "impute"):
            train()
        elif _overrides:
            raise ValueError(
                f"--config.{_overrides[0].key}: --stage={STAGE.value} uses the config of the finished run, "
                "which cannot be changed: leave it out"
            )
        elif STAGE.value == "generate":
            generate()
        else:
            impute()
    except Preempted as error:
        end(error, os.EX_TEMPFAIL)  # 75 tells schedulers to start the run again
    except (ValueError, OSError, FloatingPointError) as error:
        if logging.level_debug():  # --verbosity=1 shows where it was raised
            raise
        end(error, 1)
    except jax.errors.JaxRuntimeError as error:
        if distributed.is_alone():
            raise
        end(RuntimeError(f"lost another process: restart all processes ({error})"), os.EX_TEMPFAIL)


def end(error: Exception, code: int) -> None:
    """Exit with one sentence: at once if there are other processes, as they may wait for this one in vain."""
    print("launch.py: " + " ".join(str(error).split()), file=sys.stderr, flush=True)
    if not distributed.is_alone():
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run the command line."""
    try:
        app.run(launch, flags_parser=parse)
    except SystemExit as stop:
        if not stop.code:
            raise
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        # At once: what failed may have left threads that wait for something.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
