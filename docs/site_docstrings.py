"""An extension of Griffe: examples of docstrings are shown as code, and names in them are links.

Griffe knows the heading `Examples:`, and takes `Example:`, which is as good Google style, for a remark.
"""

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parent))
import site_names

PLACES = {name: f"{module}.{name}" for _, module, name in site_names.listed()}
# Plain words in lower case may be arguments, so only what looks like a name of the package is linked.
NAME = re.compile(r"(?<!\[)`([A-Z]\w*|\w+_\w+|Model\.\w+)`")


class ShowExamples(griffe.Extension):
    """Change docstrings before they are parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Read `Example:` as `Examples:`, `::` before a block as a colon, and link names."""
        if not obj.docstring:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
        parameters = obj.parameters if isinstance(obj, griffe.Function) else ()
        plain = {obj.name, *(parameter.name for parameter in parameters)}

        def link(match: re.Match[str]) -> str:
            name, dot, method = match[1].partition(".")
            if name not in PLACES or name in plain:
                return match[0]
            return f"[{match[0]}][{PLACES[name]}{dot}{method}]"

        obj.docstring.value = NAME.sub(link, text)
