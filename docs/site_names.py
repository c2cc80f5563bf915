"""The names in the reference: what docs/api/*.md lists. It needs neither MkDocs nor the package."""

import re
from pathlib import Path

API = Path(__file__).parent / "api"
ENTRY = re.compile(
    r"^::: (\S+)\n(?:    options:\n      members:(?: \[\]\n|\n((?:        - \w+\n)+)))?", re.M
)
DEFINED = re.compile(r"^(?:def|class) ([A-Za-z]\w*)", re.M)


def listed():
    """Yield the page, the module and the name of each entry; where no members are listed, of all."""
    for page in sorted(API.glob("*.md")):
        for entry in ENTRY.finditer(page.read_text()):
            module, members = entry.groups()
            if members:
                names = re.findall(r"\w+", members)
            elif "members: []" in entry[0]:
                names = []
            else:
                file = API.parents[1] / (module.replace(".", "/") + ".py")
                names = DEFINED.findall(file.read_text())
            yield from ((page, module, name) for name in names)
