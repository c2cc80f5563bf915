"""The command line: it finds the command, parses flags, and reports what a user can fix as one sentence.

There are two ways in. `launch.py`, in a clone, runs what `--stage` says; `main` is its code. The command
`sbmae` runs what its first word says; `main_of_commands` is its code.
"""

import importlib.metadata
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags, logging

from sbmae_jax._check import did_you_mean
from sbmae_jax.app import commands
from sbmae_jax.app.commands import COMMANDS, Words
from sbmae_jax.app.overrides import Override, split_overrides
from sbmae_jax.training import distributed
from sbmae_jax.training.preemption import Preempted

LAUNCH = "launch.py"
TRY_AGAIN = 75  # os.EX_TEMPFAIL, which Windows lacks: tells schedulers to start the run again


def main() -> None:
    """Run the command line of `launch.py`, on which --stage says what to do."""
    _main(LAUNCH, sys.argv)


def main_of_commands() -> None:
    """Run the command `sbmae`, whose first word says what to do."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(_help_of_all())
    elif name in ("--version", "version"):
        print(f"sbmae_jax {importlib.metadata.version('sbmae_jax')}")
    elif name not in COMMANDS:
        known = ", ".join(COMMANDS)
        sys.exit(f"sbmae: no command {name!r}{did_you_mean(name, COMMANDS)}; choose from {known}")
    elif {"--help", "-h", "-help"} & set(sys.argv[2:]):
        print(_help_of(name))
    else:
        _main(f"sbmae {name}", sys.argv[1:])


def _main(program: str, argv: Sequence[str]) -> None:
    """Run a program, and exit at once if it fails."""
    # Parts of one's own are found in the current folder, as with `python -m`.
    if "" not in sys.path:
        sys.path.append("")
    overrides: list[Override] = []

    def parse(argv):
        """Parse the command line, and report a mistyped flag in one sentence."""
        try:
            words = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
            words, overrides[:] = split_overrides(words)
            return flags.FLAGS(words)
        except (flags.Error, OSError, TypeError, ValueError) as error:
            sys.exit(f"{program}: {error}")

    try:
        app.run(lambda words: _run(program, words[1:], overrides), list(argv), flags_parser=parse)
    except SystemExit as stop:
        if not stop.code:
            raise
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        # At once: what failed may have left threads that wait for something.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 1)


def _run(program: str, words: Words, overrides: Sequence[Override]) -> None:
    """Run a command, and report what a user can fix in one sentence."""
    if logging.get_verbosity() == logging.INFO:  # the default, at which Orbax logs every file
        logging.set_verbosity(logging.WARNING)
    # Only what is said, not where in the code.
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    cache_executables()
    try:
        name = _command_of(program)
        _check(program, name, words, overrides)
        distributed.initialize(
            commands.COORDINATOR.value, commands.NUM_PROCESSES.value, commands.PROCESS_ID.value,
            commands.HEARTBEAT.value,
        )  # fmt: skip
        COMMANDS[name].run(words, overrides)
    except Preempted as error:
        _end(program, error, TRY_AGAIN)
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if logging.level_debug():  # --verbosity=1 shows where it was raised
            raise
        _end(program, error, 1)
    except jax.errors.JaxRuntimeError as error:
        if distributed.is_alone():
            raise
        lost = RuntimeError(f"lost another process: restart all processes ({error})")
        _end(program, lost, TRY_AGAIN)


def _command_of(program: str) -> str:
    """Return the name of the command that a program runs."""
    if program != LAUNCH:
        return program.removeprefix("sbmae ")
    stage = commands.STAGE.value
    return stage if stage in COMMANDS else "train"


def _check(program: str, name: str, words: Words, overrides: Sequence[Override]) -> None:
    """Raise ValueError for words and flags that a command does not read: none is ignored silently."""
    command = COMMANDS[name]
    num_operands = 1 if command.operand and program != LAUNCH else 0
    if len(words) > num_operands:
        raise ValueError(f"unknown argument {words[num_operands]!r}: flags start with --")
    if len(words) < num_operands and not command.operand.startswith("["):
        raise ValueError(f"name the {command.operand}: {program} {command.operand}")
    read = (*command.flags, *["stage"] * (program == LAUNCH))
    for flag in flags.FLAGS.flags_by_module_dict()[commands.__name__]:
        if flag.present and flag.name not in read:
            raise ValueError(f"--{flag.name} has no effect on {name}: leave it out")
    if overrides and not command.config:
        raise ValueError(
            f"--config.{overrides[0].key}: {name} uses the config of the finished run, which cannot be "
            "changed: leave it out"
        )
    if command.needs_workdir and "workdir" in command.flags and not commands.WORKDIR.value:
        raise ValueError("choose a folder for the run: --workdir=runs/NAME")


def _help_of_all() -> str:
    """Return the list of all commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()]
    end = "sbmae COMMAND --help lists the flags of a command, and sbmae --version says which version this is."
    return "\n".join(["usage: sbmae COMMAND [--FLAG=VALUE ...]", "", *lines, "", end])


def _help_of(name: str) -> str:
    """Return the flags of a command, and what they mean."""
    command = COMMANDS[name]
    operand = [command.operand] if command.operand else []
    usage = " ".join(["usage: sbmae", name, *operand, "[--FLAG=VALUE ...]"])
    about = {flag: command.about.get(flag, flags.FLAGS[flag].help) for flag in command.flags}
    lines = [f"  --{flag}\n      {meaning}" for flag, meaning in about.items()]
    if command.config and "config" not in command.flags:
        lines.append("  --config.KEY=VALUE\n      Set a value of the config.")
    return "\n".join([usage, "", command.summary, "", *lines])


def cache_executables() -> None:
    """Cache what XLA compiles: in JAX_COMPILATION_CACHE_DIR if it is set, else in ~/.cache/sbmae_jax."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "sbmae_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _end(program: str, error: Exception, code: int) -> None:
    """Exit with one sentence: at once if there are other processes, as they may wait for this one in vain."""
    print(f"{program}: " + " ".join(str(error).split()), file=sys.stderr, flush=True)
    if not distributed.is_alone():
        os._exit(code)
    sys.exit(code)
