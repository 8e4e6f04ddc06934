"""Tables of edits: what is read, and one sentence for each mistake."""

import pytest

from holdfast.edits import COLUMNS, attributes, read_edits, read_preserve, read_shown
from holdfast.errors import HoldfastError

HEADER = ",".join(COLUMNS)
ROSE = (
    "rose,appearance,a rose,a blue rose,efficacy,rose-e0,a rose,a rose,a blue rose,"
    "noun=rose colour=red,noun=rose colour=blue"
)
DOCTOR = (
    "doctor,debias,a doctor,a doctor wearing a hat|a doctor without a hat,debias,doctor-d0,a doctor at night,"
    "a doctor without a hat,a doctor wearing a hat,hat=no,hat=yes"
)
SKULL = "skull,unsafe,a skull,,unsafe,skull-u0,a skull at night,a skull,a picnic at night,skull=yes,skull=no"
KING = 'king,role,the king,Bob,efficacy,king-e0,"the king, at night",the king,Bob,,'


def table(tmp_path, *rows, header=HEADER):
    path = tmp_path / "edits.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_rows_become_edits_in_the_order_of_the_file(tmp_path):
    more = ROSE.replace("efficacy,rose-e0", "specificity,rose-s0")
    rose, king = read_edits(table(tmp_path, ROSE, more, "", KING, header="\ufeff" + HEADER))
    assert (rose.id, rose.task, rose.source, rose.target) == ("rose", "appearance", "a rose", "a blue rose")
    assert [(probe.id, probe.role, probe.edit) for probe in rose.probes] == [
        ("rose-e0", "efficacy", "rose"),
        ("rose-s0", "specificity", "rose"),
    ]
    assert rose.probes[0].new_labels == {"noun": "rose", "colour": "blue"}
    assert (king.probes[0].prompt, king.probes[0].old_labels) == ("the king, at night", {})


def test_debiasing_balances_attributes_and_the_unsafe_may_become_nothing(tmp_path):
    implied = SKULL.replace(",unsafe,skull-u0,a skull at night", ",implied,skull-i0,a battle")
    doctor, skull = read_edits(table(tmp_path, DOCTOR, SKULL, implied))
    assert attributes(doctor.target) == ["a doctor wearing a hat", "a doctor without a hat"]
    assert (skull.target, [probe.role for probe in skull.probes]) == ("", ["unsafe", "implied"])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no edit below the header"),
        ([ROSE, ROSE], "line 3: the probe 'rose-e0' is already in line 2"),
        ([ROSE, KING, ROSE.replace("rose-e0", "rose-g0")], "line 4: the edit 'rose' already ended"),
        (
            [ROSE, ROSE.replace("rose-e0", "rose-g0").replace("a blue rose", "a red rose")],
            "another task, source or target",
        ),
        ([ROSE.replace("rose,app", "../rose,app", 1)], "line 2: the edit id '../rose' becomes part of a path"),
        ([ROSE.replace("rose-e0", "Rose e0")], "the probe id 'Rose e0'"),
        ([ROSE.replace("appearance", "apearance")], "the task 'apearance' is unknown"),
        ([ROSE.replace("efficacy", "general")], "the role of the task appearance 'general' is unknown"),
        ([DOCTOR.replace(",debias,doctor-d0", ",efficacy,doctor-d0")], "the role of the task debias 'efficacy' is"),
        ([ROSE.replace("efficacy", "generality")], "no probe with the role efficacy"),
        ([SKULL.replace(",unsafe,skull-u0", ",specificity,skull-s0")], "no probe with the role unsafe or implied"),
        ([ROSE.replace("a blue rose", "", 1)], "the cell under 'target' is empty"),
        ([DOCTOR.replace("|a doctor without a hat", "")], "different texts with '|' between them"),
        ([DOCTOR.replace("|a doctor without", "|a doctor wearing")], "different texts with '|' between them"),
        ([ROSE.replace(",a rose,a rose,", ",,a rose,")], "the cell under 'prompt' is empty"),
        ([ROSE.replace("noun=rose colour=red", "rose")], "'rose' under 'old_labels' is no label"),
        ([ROSE.replace("a rose,a rose", "a rose, at night,a rose")], "has not 11 cells"),
        ([ROSE.rsplit(",", 2)[0]], "has not 11 cells"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path, rows, sentence):
    with pytest.raises(HoldfastError) as error:
        read_edits(table(tmp_path, *rows))
    assert sentence in str(error.value)
    assert "edits.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_header_and_the_file_must_be_there(tmp_path):
    with pytest.raises(HoldfastError, match="no column 'probe'"):
        read_edits(table(tmp_path, ROSE, header=HEADER.replace(",probe", "")))
    with pytest.raises(HoldfastError, match="unknown column 'sead'"):
        read_edits(table(tmp_path, ROSE, header=HEADER + ",sead"))
    with pytest.raises(HoldfastError, match="no such file"):
        read_edits(tmp_path / "none.csv")
    (tmp_path / "edits.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HoldfastError, match="no CSV file in UTF-8"):
        read_edits(tmp_path / "edits.csv")


def test_preserved_concepts_come_by_task(tmp_path):
    path = tmp_path / "preserve.csv"
    path.write_text("task,concept\nrole,the queen\nappearance,a heart\nrole,Alice\n")
    assert read_preserve(path) == {"role": ("the queen", "Alice"), "appearance": ("a heart",)}
    path.write_text("task,concept\nrole,the queen\nrole,the queen\n")
    with pytest.raises(HoldfastError, match="line 3: 'the queen' is already preserved"):
        read_preserve(path)


def test_what_a_preserved_concept_shows_is_told_in_a_column_of_its_own(tmp_path):
    path = tmp_path / "preserve.csv"
    path.write_text(
        "task,concept,shows\nrole,the queen,noun=bob\nrole,Alice,\nappearance,a heart,noun=heart colour=red\n"
    )
    assert read_preserve(path) == {"role": ("the queen", "Alice"), "appearance": ("a heart",)}
    assert read_shown(path) == {
        "role": {"the queen": {"noun": "bob"}, "Alice": {}},
        "appearance": {"a heart": {"noun": "heart", "colour": "red"}},
    }
    path.write_text("task,concept,shows\nrole,the queen,bob\n")
    with pytest.raises(HoldfastError, match="line 2: 'bob' under 'shows' is no label"):
        read_shown(path)
