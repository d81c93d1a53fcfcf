"""Pieces of a table of results, and its words in Chinese."""

import re

import pytest

from paddleinterest.core.errors import InputError
from paddleinterest.study import excerpt, table_text, tables

WHOLE = """\
**beauty**, `every_prefix`, 10 / 2 / 2 samples, 5 seeds

|  | AUC | gAUC | best epoch |
|---|---|---|---|
| item popularity | 0.6244 | 0.6239 |  |
| base | 0.7710 ± 0.0026 | 0.7491 | 3–5 |
| DIN, Dice | 0.7939 (2) | 0.7725 | 3 |

**toys**, `every_prefix`, 10 / 2 / 2 samples, 5 seeds

|  | AUC | gAUC | best epoch |
|---|---|---|---|
| item popularity | 0.5857 | 0.5844 |  |
| base | 0.7527 | 0.7387 | 5 |
| DIN, Dice | not run |  |  |

| test AUC, paired over seeds | beauty | toys |
|---|---|---|
| DIN, Dice − base | +0.0231 ± 0.0026, p < 0.001 (5) | not run |

Common settings, test at the epoch best on valid. Mean ± standard deviation over seeds 1, 2, \
or over as many as brackets say. 1 thread; Python 3.11.7.

`python a` is the first training; `python b` prints all.
"""


def test_one_figure_of_some_rows():
    assert excerpt.one_figure(WHOLE, "AUC", ["DIN, Dice", "base"]).splitlines() == [
        "| test AUC, 5 seeds | beauty | toys |",
        "|---|---|---|",
        "| DIN, Dice | 0.7939 (2) | not run |",
        "| base | 0.7710 ± 0.0026 | 0.7527 |",
    ]


@pytest.mark.parametrize(
    "figure, label, words",
    [
        ("RelaImpr", "base", "no column RelaImpr; it has AUC, gAUC, best epoch"),
        ("AUC", "DIEN", "no row DIEN; it has item popularity, base, DIN, Dice"),
    ],
)
def test_what_the_table_does_not_have(figure, label, words):
    with pytest.raises(InputError, match=words):
        excerpt.one_figure(WHOLE, figure, [label])


def test_chinese():
    text = excerpt.in_chinese(WHOLE)
    assert "**beauty**，`every_prefix`，样本 10 / 2 / 2，5 个种子" in text
    assert "| DIN，Dice − base | +0.0231 ± 0.0026, p < 0.001 (5) | 未运行 |" in text
    assert "|  | AUC | gAUC | 最佳轮次 |" in text and "| 商品热度 | 0.5857 | 0.5844 |  |" in text
    assert "指标。均值 ± 标准差，种子 1, 2；括号内为实际的种子数。1 个线程；Python 3.11.7." in text
    assert "第一次训练为 `python a`；`python b` 列出全部命令。" in text
    assert text.count("|") == WHOLE.count("|")
    assert re.findall(r"\d+\.\d+", text) == re.findall(r"\d+\.\d+", WHOLE)  # figures stay
    assert "| 测试集 AUC，5 个种子 |" in excerpt.in_chinese(
        excerpt.one_figure(WHOLE, "AUC", ["base"])
    )


def test_paste_by_what_the_page_asks_for(tmp_path):
    page = (
        "a\n<!-- table t, gAUC: base | DIN, Dice -->\n<!-- /table -->\n"
        "b\n<!-- table t -->\nold\n<!-- /table -->\nc\n"
    )
    for name in ("R.md", "R_cn.md", "r.zh.md"):
        path = tmp_path / name
        path.write_text(page, encoding="utf-8")
        table_text.paste(str(path), "t", WHOLE)
        once = path.read_text(encoding="utf-8")
        table_text.paste(str(path), "t", WHOLE)
        assert path.read_text(encoding="utf-8") == once
        assert once.count("| base | 0.7491 | 0.7387 |") == 1 and "old" not in once
        assert ("最佳轮次" in once) == (name != "R.md")
        assert ("best epoch" in once) == (name == "R.md")


@pytest.mark.parametrize("name", tables.names())
def test_every_table_has_its_chinese_words(name):
    table = tables.read(name)
    assert excerpt.in_chinese(f"{table.title}. ").endswith("。"), table.title
    for row in table.rows:
        words = re.findall(r"\b[a-z]{2,}\b", excerpt.cell(row.label))
        assert set(words) <= {"base", "softmax"}, row.label
