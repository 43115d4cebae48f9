"""The commands of docs/scale-out.md, as a person copies them.

Here: reading them, and running them where what they call only writes down how it was called. Not here: machines that
do them (`machines.py`), or whether they say the right thing.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "scale-out.md"
_WRITES_DOWN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=calls)
"""


def documented(heading: str) -> list[str]:
    """The commands under a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    block = section.partition("```\n")[2].partition("```")[0]
    assert block, f"{PAGE.name} has no commands under {heading}"
    return block.splitlines()


def called(heading: str, programs: Sequence[str], folder: Path) -> list[list[str]]:
    """What a shell that is told the commands calls of these programs, none of which has to be there."""
    for program in programs:
        (folder / program).write_text(_WRITES_DOWN)
        (folder / program).chmod(0o755)
    calls = folder / "calls"
    script = f'PATH="{folder}:$PATH"\nexport CALLS="{calls}"\n' + "\n".join(documented(heading))
    subprocess.run(["bash", "-euc", script], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in calls.read_text().splitlines()]
