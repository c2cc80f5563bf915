"""The console command `sbmae`, which also says what is missing where only the samplers are installed."""

import importlib
import sys


def main() -> None:
    """Run the command `sbmae`."""
    try:
        cli = importlib.import_module("sbmae_jax.app.cli")
    except ImportError as error:
        sys.exit(f"sbmae: {error}")
    cli.main_of_commands()
