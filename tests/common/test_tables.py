"""Tables for a terminal and for a paper."""

import pytest

from common.tables import TABLE_FORMS, print_table, table_lines

ROWS = [["", "SRCC", "PLCC"], ["my_model & co", "0.785", "0.8"], ["a|b", "+0.1 [-0.1, +0.3]", ""]]


def test_columns_are_aligned():
    assert table_lines("text", ROWS) == [
        "                            SRCC  PLCC",
        "my_model & co              0.785   0.8",
        "a|b            +0.1 [-0.1, +0.3]",
    ]


def test_latex_compiles_with_any_name():
    lines = table_lines("latex", [*ROWS, ["~^\\{±}", "50 %", "#$"]])
    assert lines[:4] == [r"\begin{tabular}{lrr}", r"\hline", r" & SRCC & PLCC \\", r"\hline"]
    assert lines[4] == r"my\_model \& co & 0.785 & 0.8 \\"
    assert lines[6] == r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{$\pm$\} & 50 \% & \#\$ \\"
    assert lines[7:] == [r"\hline", r"\end{tabular}"]


def test_markdown_keeps_a_bar_in_its_cell():
    assert table_lines("markdown", ROWS)[1:] == [
        "| --- | ---: | ---: |",
        "| my_model & co | 0.785 | 0.8 |",
        r"| a\|b | +0.1 [-0.1, +0.3] |  |",
    ]


@pytest.mark.parametrize("form", TABLE_FORMS)
def test_a_table_is_printed_in_each_form(form, capsys):
    print_table(form, ROWS[0], ROWS[1:])
    assert capsys.readouterr().out.splitlines() == table_lines(form, ROWS)
