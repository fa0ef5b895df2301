"""What the published runs themselves say: Llama 3 70B's latent, its TD error and the step."""

from __future__ import annotations

from matplotlib.axes import Axes

from jobs.published.summary import BEHAVIOUR, CORRELATIONS, SCALING, Answer, behaviour, correlations
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, GREY, VERMILION, canvas, intervals, mark, number

NAME = "published_runs"
TITLE = "What the published runs themselves say"
OVERLAY = "6 of the 18 runs of Fig 3, decoded from its vector graphics; dashes: the same for all 18"

TRACES = {"published_td_error": ("TD error", BLUE), "published_latent": ("block-34 latent", VERMILION)}


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """The course of latent and TD error, and their correlations without and with the step held constant.

    Raises:
        NotRecorded: the published results were not imported.
    """
    measured = reader.ask(CORRELATIONS)
    if measured.empty:
        raise NotRecorded("the published runs (tdlens import-published demircan2025)")
    answers, fits = correlations(measured), behaviour(reader.ask(BEHAVIOUR))
    n = int(measured["n_rollouts"].max())
    figure, axes = canvas(1, 2, height=3.6, gridspec_kw={"width_ratios": (1, 1.2)})
    _courses(axes[0, 0], reader)
    _forest(axes[0, 1], answers)
    pooled, own, other, clock, error_clock, step, _, both, rivals, myopic = answers
    told = [
        fit.question.replace("_", " ") for fit in fits if fit.interval and not fit.interval[0] <= 0 <= fit.interval[1]
    ]
    return Drawing(
        figure,
        sees=(
            f"Over {n} published runs the latent follows the TD error with r = {_text(pooled)}; all 18 of the figure "
            f"give {number(pooled.published)}. It follows the step with r = {_text(clock)}, and so does the TD error, "
            f"with {_text(error_clock)}. Given the step r is {number(step.value)}, given the step and its logarithm "
            f"{number(both.value)}; given step, pick, last reward and highest reward so far it is {_text(rivals)}."
        ),
        beside=(
            f"With the TD error of the variant's other run, which the model can't have computed, r is "
            f"{number(other.value)}: that much is the common course of the runs. The myopic error gives "
            f"{number(myopic.value)}. {SCALING} The runs' own r have the mean {_text(own)}. Intervals are over {n} "
            "runs, two of each variant. The choices tell Q-learning from these models: "
            f"{', '.join(told) or 'none'} (table)."
        ),
        n=f"{n} runs of Llama 3 70B, 60 decisions each; block 34",
        table=_table(answers, fits),
    )


def _courses(axes: Axes, reader: Reader) -> None:
    """Mean over runs at each decision."""
    rows = reader.ask(
        """
        SELECT signal, step, avg(value) AS value FROM v_learning_signal
        WHERE study = 'demircan2025' AND signal IN :signals GROUP BY signal, step ORDER BY signal, step
        """,
        signals=list(TRACES),
    )
    for signal, (label, color) in TRACES.items():
        mine = rows[rows["signal"] == signal]
        axes.plot(mine["step"], mine["value"], color=color, label=label)
    axes.set(xlabel="decision", ylabel="from 0 to 1 in each run", ylim=(0, None), title="Their course, mean over runs")
    axes.legend()


def _forest(axes: Axes, answers: list[Answer]) -> None:
    heights = list(range(len(answers)))[::-1]
    label: str | None = "all 18 runs"
    for height, answer in zip(heights, answers, strict=True):
        low, high = answer.interval or (answer.value, answer.value)
        intervals(axes, [answer.value], [low], [high], [height], BLUE)
        if answer.published is not None:
            mark(axes, answer.published, height, label)
            label = None
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set(
        yticks=heights, yticklabels=[answer.question for answer in answers], xlabel="r", title="What the latent follows"
    )
    axes.tick_params(axis="y", labelsize=7.5)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower left")


def _table(answers: list[Answer], fits: list[Answer]) -> Table:
    rows = [(answer.question, _text(answer), number(answer.published)) for answer in answers]
    for fit in fits:
        name = f"NLL of the choices, {fit.question.replace('_', ' ')} less Q-learning, nats a choice"
        rows.append((name, _text(fit), number(fit.published)))
    return Table(("quantity", "here [95 % over runs]", "published"), tuple(rows))


def _text(answer: Answer) -> str:
    if answer.interval is None:
        return number(answer.value)
    low, high = map(number, answer.interval)
    return f"{number(answer.value)} [{low}, {high}]"
