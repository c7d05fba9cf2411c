"""docs/profiles.md keeps its word: its files load, and its defects are the ones that are reported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.errors import ProfileError
from conformance.profile.loader import check_profile, load_device

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TEXTS = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WRONG = {"acme-hot.yaml": TEXTS[0], "wrong.yaml": TEXTS[1]}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files of the page, side by side, as a reader would save them."""
    monkeypatch.chdir(tmp_path)
    for name, body in FILES.items():
        Path(name).write_text(f"# {name}\n{body}", encoding="utf-8")


def test_every_block_of_the_page_is_a_file() -> None:
    assert PAGE.count("```yaml\n") == len(FILES) == 10
    assert len(TEXTS) == len(WRONG)


@pytest.mark.parametrize("name", sorted(set(FILES) - set(WRONG)))
def test_what_the_page_shows_is_valid(name: str) -> None:
    assert check_profile(name)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_the_page_shows_as_wrong_is_reported_as_shown(name: str) -> None:
    with pytest.raises(ProfileError) as error:
        check_profile(name)
    assert "\n".join(error.value.defects) + "\n" == WRONG[name]


def test_what_the_page_says_of_the_pilot() -> None:
    loaded = load_device("pilot-card.yaml")
    assert loaded.category.category.name == "pilot-2026"
    assert loaded.deadlines["compile_s"] == 120
    levels = {requirement.id: requirement.level for requirement in loaded.category.requirements}
    assert (levels["PWR-003"], levels["PIL-001"]) == ("MUST", "SHOULD")
