"""The command line: flags, and what the user can fix said in one sentence. `launch.py` calls `main`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from sbmae_jax.app import pipeline
from sbmae_jax.training import distributed
from sbmae_jax.training.preemption import Notice, Preempted

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of values, as configs/polydigits.py."
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; made if it is not there.")
STAGE = flags.DEFINE_enum(
    "stage", "all", ["all", *pipeline.STAGES, "generate", "impute"],
    "One stage alone, or all; or generate, or impute.",
)  # fmt: skip
GIVEN = flags.DEFINE_multi_string(
    "given",
    [],
    'For generate, once for each modality: image=face.png, attributes="Smiling,Eyeglasses", lab=0.3,7.',
)
MODALITY = flags.DEFINE_multi_string(
    "modality",
    [],
    "Another value of one modality, once for each: lab.latent_size=8; for data of one's own lab.kind=counts.",
)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "For generate and impute: how many samples; 5 and 20."
)
INPUT = flags.DEFINE_string("input", "", "For impute: new rows, a file or folder as the data.")
OUTPUT = flags.DEFINE_string(
    "output", "",
    "For generate: folder of the samples, WORKDIR/generated; for impute: .npz file of the filled rows.",
)  # fmt: skip
SEED = flags.DEFINE_integer("seed", 0, "For generate and impute: another seed, other samples.")
PROFILE = flags.DEFINE_bool(
    "profile", False, "Trace a few calls of each training into WORKDIR/profile, for TensorBoard."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, where processes do not find each other."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes run this command.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds", distributed.HEARTBEAT_SECONDS,
    "After so long without a sign of life of one process the others end.", lower_bound=1,
)  # fmt: skip
flags.register_validator("workdir", bool, "say where the run is to live: --workdir=runs/NAME")


def parse(argv: list[str]) -> list[str]:
    """Parse the command line; a mistyped flag or config key is said in one sentence."""
    try:
        return flags.FLAGS(argv)
    except AttributeError as error:  # ml_collections, for a key that the config does not have
        changed = ", ".join(word.split("=")[0] for word in argv if word.startswith("--config."))
        sys.exit(
            f"launch.py: the config has no key {error}: compare {changed} with the config file"
        )
    except (flags.Error, OSError, TypeError, ValueError) as error:
        # An error inside a config file comes with its traceback; the last line is what was raised.
        sys.exit(f"launch.py: {str(error).strip().splitlines()[-1]}")


def keep_compiled() -> None:
    """Keep what XLA compiles: where JAX_COMPILATION_CACHE_DIR says, or else in ~/.cache/sbmae_jax."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "sbmae_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def with_modalities(config: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Change values of modalities, NAME.KEY=VALUE, which the config need not have named."""
    for change in changes:
        where, equals, value = change.partition("=")
        name, _, key = where.rpartition(".")
        if not (equals and name and key):
            raise ValueError(f"--modality {change!r}: write NAME.KEY=VALUE, as lab.latent_size=8")
        try:
            parsed = json.loads(value)
        except ValueError:  # a word
            parsed = value
        config["modalities"].setdefault(name, {})[key] = parsed
    return config


def generate() -> None:
    """Write samples of what is not given, and say where they are."""
    here = Path() if "://" in WORKDIR.value else Path(WORKDIR.value)
    output = Path(OUTPUT.value or here / "generated")
    num_samples = 5 if NUM_SAMPLES.value is None else NUM_SAMPLES.value
    page = pipeline.generate(WORKDIR.value, GIVEN.value, num_samples, output, SEED.value)
    print(f"samples: {page}")


def impute() -> None:
    """Fill the holes of new rows, and say what was filled."""
    if not (INPUT.value and OUTPUT.value):
        raise ValueError("say what to fill, and where to: --input=new.npz --output=filled.npz")
    num_samples = 20 if NUM_SAMPLES.value is None else NUM_SAMPLES.value
    done = pipeline.impute(WORKDIR.value, INPUT.value, OUTPUT.value, num_samples, SEED.value)
    for name, num in done.num_holes.items():
        if num:
            print(f"{name}: filled in {num:,} of {done.num_rows:,} rows")
    print(f"{num_samples} samples of each, their mean and deviation: {done.path}")


def launch(argv: list[str]) -> None:
    """Run the stages; what the user can mend is said in one sentence."""
    if len(argv) > 1:
        sys.exit(f"launch.py: unknown argument {argv[1]!r}: flags start with --")
    if logging.get_verbosity() == logging.INFO:  # the default, at which Orbax reports every file
        logging.set_verbosity(logging.WARNING)
    keep_compiled()
    try:
        distributed.initialize(
            COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, HEARTBEAT.value
        )
        if STAGE.value == "generate":
            generate()
        elif STAGE.value == "impute":
            impute()
        elif CONFIG.value is None:
            sys.exit("launch.py: say what to run: --config=configs/polydigits.py")
        else:
            config = with_modalities(CONFIG.value.to_dict(), MODALITY.value)
            with Notice().watched() as notice:
                pipeline.run(
                    config, WORKDIR.value, STAGE.value, notice=notice, profile=PROFILE.value
                )
    except Preempted as error:
        end(error, os.EX_TEMPFAIL)  # 75: start me again
    except (ValueError, OSError, FloatingPointError) as error:
        if logging.level_debug():  # --verbosity=1 shows where it was raised
            raise
        end(error, 1)
    except jax.errors.JaxRuntimeError as error:
        if distributed.is_alone():
            raise
        end(RuntimeError(f"lost another process, start all again ({error})"), os.EX_TEMPFAIL)


def end(error: Exception, code: int) -> None:
    """End with one sentence. Beside other processes at once, as they may wait for this one in vain."""
    print("launch.py: " + " ".join(str(error).split()), file=sys.stderr, flush=True)
    if not distributed.is_alone():
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Parse the command line, and do what it says."""
    app.run(launch, flags_parser=parse)
