"""The console command `sbmae`, which also says what is missing where only the samplers are installed."""

import sys


def main() -> None:
    """Run the command `sbmae`."""
    try:
        from sbmae_jax.app.cli import main_of_commands
    except ImportError as error:
        sys.exit(f"sbmae: {error}")
    main_of_commands()
