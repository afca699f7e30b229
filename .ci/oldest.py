"""Print the lowest version of each dependency that pyproject.toml accepts, as constraints."""

import re
from pathlib import Path

text = Path("pyproject.toml").read_text(encoding="utf-8")
dependencies = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
assert dependencies
for requirement in re.findall(r'"([^"]+)"', dependencies[1]):
    print(requirement.replace(">=", "=="))
