"""``python -m datasets.opinions``: a database's table comes back as its reader gave it."""

import pandas as pd
import pytest

from datasets.opinions.__main__ import main
from datasets.opinions.databases import read_database
from datasets.opinions.scores import read_scores
from networks.errors import UserError

LABELS = "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\nI01_02_05.png,I01.png,1.1000000000000001,0.3\n"


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["datasets.opinions", *map(str, arguments)])
    main()


def test_a_written_table_is_read_as_the_database(tmp_path, monkeypatch, capsys):
    root = tmp_path / "kadid"
    root.mkdir()
    (root / "dmos.csv").write_text(LABELS)
    run(monkeypatch, "kadid", root, tmp_path / "t.csv")
    assert "t.csv: 2 images with image, group, mos, std" in capsys.readouterr().out
    pd.testing.assert_frame_equal(read_scores(tmp_path / "t.csv").table, read_database("kadid", root).table)


def test_a_label_file_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "dmos.csv").write_text(LABELS)
    with pytest.raises(UserError, match="which is read; name another file"):
        run(monkeypatch, "kadid", tmp_path, tmp_path / "dmos.csv")
    assert (tmp_path / "dmos.csv").read_text() == LABELS
