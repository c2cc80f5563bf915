"""The command line: flags, and errors that a user can fix as one sentence. `launch.py` calls `main`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from sbmae_jax._io import as_path, is_remote
from sbmae_jax.app import pipeline
from sbmae_jax.training import distributed
from sbmae_jax.training.preemption import Notice, Preempted

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A config file, such as configs/polydigits.py, or a variant of it: configs/polydigits.py:smoke.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run, or the URL of a bucket. Created if it does not exist."
)
STAGE = flags.DEFINE_enum(
    "stage", "all", ["all", *pipeline.STAGES, "generate", "impute"],
    "Run all stages, or one only; or use a finished run, with generate or impute.",
)  # fmt: skip
GIVEN = flags.DEFINE_multi_string(
    "given", [],
    'For generate: what a sample must agree with, NAME=VALUE. Repeatable. For example image=face.png, '
    'attributes="Smiling,Eyeglasses" or lab=0.3,7. Without it, everything is generated.',
)  # fmt: skip
MODALITY = flags.DEFINE_multi_string(
    "modality", [],
    "Set a value of one modality, NAME.KEY=VALUE, for example lab.latent_size=8. Repeatable.",
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


def parse(argv: list[str]) -> list[str]:
    """Parse the command line, and report a mistyped flag or config key in one sentence."""
    try:
        return flags.FLAGS([_with_home(word) for word in argv])
    except AttributeError as error:  # ml_collections, for a key that the config does not have
        changed = ", ".join(word.split("=")[0] for word in argv if word.startswith("--config."))
        sys.exit(
            f"launch.py: the config has no key {error}: compare {changed} with the config file"
        )
    except (flags.Error, OSError, TypeError, ValueError) as error:
        # An error inside a config file comes with its traceback, whose last line is what was raised.
        sys.exit(f"launch.py: {str(error).strip().splitlines()[-1]}")


def _with_home(word: str) -> str:
    """Expand `~` in --config=~/FILE, as shells do not."""
    flag, equals, value = word.partition("=")
    return flag + equals + os.path.expanduser(value) if flag in ("--config", "-config") else word


def cache_executables() -> None:
    """Cache what XLA compiles: in JAX_COMPILATION_CACHE_DIR if it is set, else in ~/.cache/sbmae_jax."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "sbmae_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def with_modalities(config: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Override settings of modalities, which the config need not name.

    Args:
        config: Plain dicts, changed in place.
        changes: Each NAME.KEY=VALUE, where VALUE is JSON or else a string.
    """
    for change in changes:
        where, equals, value = change.partition("=")
        name, _, key = where.rpartition(".")
        if not (equals and name and key):
            raise ValueError(f"--modality {change!r}: write NAME.KEY=VALUE, as lab.latent_size=8")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        config["modalities"].setdefault(name, {})[key] = parsed
    return config


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
    cache_executables()
    try:
        distributed.initialize(
            COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, HEARTBEAT.value
        )
        if STAGE.value == "generate":
            generate()
        elif STAGE.value == "impute":
            impute()
        elif CONFIG.value is None:
            sys.exit("launch.py: choose a config: --config=configs/polydigits.py")
        else:
            config = with_modalities(CONFIG.value.to_dict(), MODALITY.value)
            with Notice().watched() as notice:
                options = {"notice": notice, "profile": PROFILE.value}
                pipeline.run(config, WORKDIR.value, STAGE.value, **options)
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
        # At once: after a failed save, threads of Orbax would wait for minutes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)
