import pytest

from pipeline.files import slug, write_atomically


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", "digits"),
        ("fashion-mnist", "fashion-mnist"),
        ("folder:/some/where/My photos (2)/", "My-photos-2"),
        ("folder:Blüten", "Blüten"),
        ("folder:../..", "folder"),
        ("folder:/", "folder"),
        ("folder:a:b/.c", "c"),
        ("npz:arrays/scans.v2.npz", "scans.v2"),
        ("", "data"),
    ],
)
def test_a_data_set_names_a_directory(name, expected):
    assert slug(name) == expected


def test_no_name_leads_elsewhere_or_is_too_long():
    assert len(slug("folder:" + "x" * 300)) <= 60
    for name in ("folder:/a/../b\n", "npz:..npz", "folder:\x00\x1b[31m", "folder:-rf", "folder:a\\..\\b"):
        made = slug(name)
        assert made
        assert made[0] not in ".-"
        assert not set(made) & set("/\\ \n\0\x1b")


def test_a_folder_in_the_place_of_a_file_is_named_and_not_its_temporary_neighbour(tmp_path):
    (tmp_path / "a.txt/b").mkdir(parents=True)
    with pytest.raises(OSError, match="directory") as error:
        write_atomically(tmp_path / "a.txt", "x")
    assert error.value.filename == str(tmp_path / "a.txt")
