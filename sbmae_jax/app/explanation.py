"""What was chosen from a user's data, and why, as lines for the screen."""

from collections.abc import Mapping
from typing import Any

from sbmae_jax.app.choices import Choice
from sbmae_jax.data.user.survey import Survey, format_survey


def explain(config: Mapping[str, Any], choices: list[Choice], found: Survey) -> str:
    """Describe the data and what was chosen, for the screen."""
    sections = config["modalities"]
    trained = [name for name, section in sections.items() if "network" in section]
    example = (
        f"modalities.{trained[0]}.latent_size=8" if trained else "score_training.num_steps=500"
    )
    columns = {
        "network": {name: _network_of(section) for name, section in sections.items()},
        "latents": {name: str(s.get("latent_size", "its own")) for name, s in sections.items()},
    }
    alike: dict[
        tuple[str, str, str], list[str]
    ] = {}  # modalities that share a choice; none for others
    for key, value, reason in choices:
        name, _, last = key.removeprefix("modalities.").rpartition(".")
        of_modality = key.startswith("modalities.")
        entry = (last if of_modality else key, str(value), reason)
        alike.setdefault(entry, []).extend([name] if of_modality else [])
    cells = [
        (f"{', '.join(names)}: {key} = {value}" if names else f"{key} = {value}", reason)
        for (key, value, reason), names in alike.items()
    ]
    width = min(max((len(cell) for cell, _ in cells), default=0), 60)
    title = (
        "chosen from the data; --config.KEY=VALUE, or config={KEY: VALUE} in fit, changes a value, as "
        f"{example}:"
    )
    lines = ["", title, *(f"{cell:<{width}}  {reason}" for cell, reason in cells)]
    return "\n".join([format_survey(found, columns), *(lines if choices else [])])


def _network_of(section: Mapping[str, Any]) -> str:
    """Return what encodes a modality, in a word."""
    return section["network"] if "network" in section else f"frozen ({section['coder']})"
