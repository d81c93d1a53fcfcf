"""The page of tools/report.py in Markdown, in English and in Chinese: pictures, how to read them,
and their numbers."""

import numpy as np

from paddleinterest.study.plots import range_name

PAGES = {"en": "README.md", "cn": "README_cn.md"}
TEXT = {
    "en": {
        "title": "Results in pictures",
        "other": "[中文](README_cn.md)",
        "made": "Made by",
        "all": (
            "All figures are of the epoch that is best on valid, on test unless valid or train is"
            " said. A line is the mean over the seeds, a band goes from the least to the greatest"
            " of them, and so do the numbers in brackets. A model has the same colour in every"
            " picture."
        ),
        "samples": "samples in train, valid and test",
        "left": "Left out:",
        "runs": [
            "model",
            "seeds",
            "best epoch",
            "AUC",
            "gAUC",
            "log loss",
            "PCOC",
            "settings other than the model's defaults",
        ],
        "numbers": "The numbers",
        "undefined": "undefined",
        "learning": "Learning curves",
        "length": "AUC by history length",
        "calibration": "Calibration",
        "cost": "Cost and AUC",
        "read_learning": (
            "Left: AUC on valid after each epoch; where a line turns down, what the model still"
            " learns of train does not carry over. Right: the log loss on train, of the click"
            " alone, without auxiliary losses. A line ends at the last epoch that all its seeds"
            " have reached."
        ),
        "read_length": (
            "The rows of test in ranges of history length, about equally many in each. Compare"
            " models within one range: where one pulls away from another to the right, it gains"
            " more from long histories. The ranges also differ in how hard they are, so that a rise"
            " alone says little. A bar holds 95 % of the means over seeds when the users of the"
            " range are drawn again ({draws} draws, the same users for all models). The models read"
            " at most the newest {cap} events."
        ),
        "read_calibration": (
            "The rows of test in {bins} groups of equal size by rising prediction. Below the dashed"
            " diagonal (in the right picture: below zero) a model promises more clicks than come,"
            " above it fewer. PCOC is mean prediction / mean label over all rows."
        ),
        "read_cost": (
            "Up is better, left is cheaper. Bars go from the least to the greatest over seeds. Time"
            " depends on machine and threads: compare points of one page only."
        ),
        "no_length": (
            "No picture: there is a single range of history lengths, so nothing to compare."
        ),
        "no_cost": (
            "No picture: none of the runs has a result.json, where the trainer writes how fast it"
            " was."
        ),
        "untimed": (
            "{n} of {all} runs are not timed: they have no result.json, which the trainer writes at"
            " its end."
        ),
        "head_learning": ["model", "epoch", "AUC on valid", "log loss on train"],
        "head_length": ["model"],
        "rows": "rows",
        "group": "group",
        "head_calibration": "prediction / label",
        "head_cost": ["model", "seconds an epoch", "AUC on test", "threads", "runs timed"],
    },
    "cn": {
        "title": "结果图",
        "other": "[English](README.md)",
        "made": "生成命令",
        "all": (
            "所有数字都取自验证集上最佳的轮次；除注明验证集或训练集外，均为测试集。"
            "线是各种子的均值，色带从最小到最大，括号里的数字也是如此。"
            "同一模型在每张图中颜色相同。"
        ),
        "samples": "个样本（训练 / 验证 / 测试）",
        "left": "未计入：",
        "runs": [
            "模型",
            "种子",
            "最佳轮次",
            "AUC",
            "gAUC",
            "log loss",
            "PCOC",
            "与模型默认值不同的设置",
        ],
        "numbers": "数字",
        "undefined": "无定义",
        "learning": "学习曲线",
        "length": "不同历史长度的 AUC",
        "calibration": "校准",
        "cost": "成本与 AUC",
        "read_learning": (
            "左：每轮之后验证集的 AUC；曲线转头向下处，模型从训练集继续学到的已不能推广。"
            "右：训练集的 log loss（只计点击，不含辅助损失）。"
            "每条线止于所有种子都到达的最后一轮。"
        ),
        "read_length": (
            "测试集的行按历史长度分段，各段行数大致相等。请在同一段内比较模型：越往右，"
            "一个模型领先另一个越多，"
            "它从长历史中获益就越多。各段难度也不同，单看上升说明不了什么。"
            "竖条包含 95 % 的结果：对该段的用户重新抽样 {draws} 次（所有模型用同样的用户），"
            "取各种子均值。模型最多读最近 {cap} 个事件。"
        ),
        "read_calibration": (
            "测试集的行按预测值从小到大分成 {bins} 个等大的组。在虚线对角线之下（右图：零线之下），"
            "模型预测的点击多于实际，之上则少于实际。"
            "PCOC 为全部行的平均预测 / 平均标签。"
        ),
        "read_cost": (
            "越高越好，越靠左越省时。横竖条从各种子的最小到最大。"
            "时间取决于机器与线程数：只宜比较同一页上的点。"
        ),
        "no_length": "没有图：历史长度只有一段，无从比较。",
        "no_cost": "没有图：这些运行都没有 result.json（训练器把速度写在其中）。",
        "untimed": "{all} 次运行中有 {n} 次没有计时：没有 result.json（训练器结束时写出）。",
        "head_learning": ["模型", "轮次", "验证集 AUC", "训练集 log loss"],
        "head_length": ["模型"],
        "rows": "行",
        "group": "组",
        "head_calibration": "预测 / 标签",
        "head_cost": ["模型", "每轮秒数", "测试集 AUC", "线程", "计时的运行"],
    },
}


def first_line(language):
    return f"# {TEXT[language]['title']}"


def page(language, command, parts, left_out, draws):
    """The whole page. parts: for each dataset what tools/report.py computed and the names of the
    pictures."""
    t = TEXT[language]
    blocks = [first_line(language), t["other"], f"{t['made']}:", f"```\n{command}\n```", t["all"]]
    if left_out:
        blocks.append("\n".join([t["left"], "", *(f"- {line}" for line in left_out)]))
    for part in parts:
        blocks += _dataset(t, part, draws)
    return "\n\n".join(blocks) + "\n"


def _dataset(t, part, draws):
    schema = part["schema"]
    rows = " / ".join(f"{schema.rows[k]:,}" for k in ("train", "valid", "test") if k in schema.rows)
    blocks = [
        f"## {schema.name}",
        f"`{schema.protocol}`, {rows} {t['samples']}",
        *([schema.note] if schema.note else []),
        table(t["runs"], _runs(t, part)),
    ]
    cap = " / ".join(map(str, part["caps"]))
    sections = (
        ("learning", {}, _learning(t, part)),
        ("length", {"draws": draws, "cap": cap}, _length(t, part)),
        ("calibration", {"bins": part["bins"]}, _calibration(t, part)),
        ("cost", {}, _cost(t, part)),
    )
    for name, facts, numbers in sections:
        blocks.append(f"### {t[name]}")
        if name in part["pictures"]:
            blocks += [
                f"![{t[name]}, {schema.name}]({part['pictures'][name]})",
                t[f"read_{name}"].format(**facts),
                f"<details><summary>{t['numbers']}</summary>\n\n{numbers}\n\n</details>",
            ]
        else:
            blocks.append(t[f"no_{name}"])
    if part["untimed"] and "cost" in part["pictures"]:
        blocks.append(
            t["untimed"].format(n=len(part["untimed"]), all=sum(map(len, part["series"].values())))
        )
    return blocks


def table(head, lines):
    """A Markdown table; a bar inside a cell does not end it."""
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |"
        for line in (head, ["---"] * len(head), *lines)
    )


def number(t, spread, seeds, digits=4):
    """Mean, and where there are several seeds the least and the greatest of them."""
    if not np.isfinite(spread).all():
        return t["undefined"]
    mean, low, high = (f"{v:.{digits}f}" for v in spread)
    return f"{mean} ({low}–{high})" if seeds > 1 else mean


def _runs(t, part):
    for label, runs in part["series"].items():
        epochs = sorted({r.best_epoch for r in runs})
        yield [
            label,
            ", ".join(str(r.seed) for r in runs),
            f"{epochs[0]}–{epochs[-1]}" if len(epochs) > 1 else epochs[0],
            *(number(t, v, len(runs)) for v in part["quality"][label].values()),
            ", ".join(f"`{s}`" for s in part["settings"][label]),
        ]


def _learning(t, part):
    return table(
        t["head_learning"],
        [
            [
                label,
                epoch + 1,
                *(number(t, n[k][:, epoch], len(part["series"][label])) for k in ("auc", "loss")),
            ]
            for label, n in part["learning"].items()
            for epoch in range(n["loss"].shape[1])
        ],
    )


def _length(t, part):
    ranges, numbers = part["length"]
    head = [f"{range_name(r, r is ranges[-1])} ({r[2]:,} {t['rows']})" for r in ranges]
    return table(
        [*t["head_length"], *head],
        [
            [
                label,
                *(
                    t["undefined"] if np.isnan(a) else f"{a:.4f} [{low:.4f}, {high:.4f}]"
                    for a, low, high in zip(n["auc"], *n["interval"])
                ),
            ]
            for label, n in numbers.items()
        ],
    )


def _calibration(t, part):
    head = [t["head_calibration"], *(f"{t['group']} {k + 1}" for k in range(part["bins"]))]
    return table(
        head,
        [
            [label, *(f"{s:.4f} / {m:.4f}" for s, m in zip(n["score"], n["label"][0]))]
            for label, n in part["calibration"].items()
        ],
    )


def _cost(t, part):
    return table(
        t["head_cost"],
        [
            [
                label,
                number(t, n["seconds"], n["timed"], 1),
                number(t, n["auc"], len(part["series"][label])),
                " / ".join(n["threads"]),
                n["timed"],
            ]
            for label, n in part["cost"].items()
        ],
    )
