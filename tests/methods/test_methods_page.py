"""docs/methods.md introduces every method of the registry in five lines, and nothing that is not there."""

import re
from pathlib import Path

import pytest

from fasthash import methods

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
PARTS = {
    name: body
    for heading, body in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`(\w+)`", heading)
}
LINES = ["Idea", "Supervision", "Cost", "When", "Source"]


def test_every_method_is_there_and_no_other():
    assert set(PARTS) == set(methods.names())


@pytest.mark.parametrize("name", sorted(PARTS))
def test_five_lines_each(name):
    assert re.findall(r"^- \*\*(\w+)\*\*: \S", PARTS[name], re.MULTILINE) == LINES


@pytest.mark.parametrize("name", sorted(PARTS))
def test_supervision_and_learned_codes_are_those_of_the_method(name):
    kind = methods.get(name)
    told = re.search(r"^- \*\*Supervision\*\*: (.*)$", PARTS[name], re.MULTILINE)[1]
    assert told.removeprefix("a ").startswith(kind.supervision)
    assert ("leaves learned codes" in told) == kind.learns_codes


def test_the_table_names_methods_alone():
    table = PAGE[PAGE.index("| you have |") : PAGE.index("Codes from training in place")]
    named = set(re.findall(r"`([a-z_]+)`", table))
    assert named - {"random", "ridge"} <= set(methods.names())
