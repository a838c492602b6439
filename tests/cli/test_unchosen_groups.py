"""Keys of groups of which an experiment chooses the option for each of its runs: the error names the fix."""

import pytest

from tests.cli.commands import Answer, answers

ADVICE = "Where an experiment chooses"
EXPERIMENT = ("-m", "experiment=ablation_repair_epochs", "scale=smoke")
UNCHOSEN = {  # the last word of a command line, and the advice
    "metrics.floor=false": f"{ADVICE} metrics for each run, name the option too: metrics=OPTION metrics.floor=false\n",
    "model.width=3": f"{ADVICE} model for each run, name the option too: model=OPTION model.width=3\n",
}
WITH_OPTION = ("plan", *EXPERIMENT, "metrics=standard_smoke", "metrics.floor=false")
MISTAKES = [("-m", "model.widh=3"), ("-m", "hardware.thread=3"), (*EXPERIMENT, "model=allcnn_tiny", "model.widh=3")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Answer]:
    cases = [*((*EXPERIMENT, word) for word in UNCHOSEN), WITH_OPTION, *MISTAKES]
    return answers(cases, tmp_path_factory.mktemp("groups"), starts_runs=False)


@pytest.mark.parametrize("word", UNCHOSEN)
def test_the_option_has_to_be_named_too(word: str, told: dict[tuple[str, ...], Answer]) -> None:
    answer = told[(*EXPERIMENT, word)]
    assert answer.status == 1 and answer.printed.endswith(UNCHOSEN[word])


def test_what_the_advice_says_works(told: dict[tuple[str, ...], Answer]) -> None:
    assert told[WITH_OPTION].status == 0, told[WITH_OPTION].printed


@pytest.mark.parametrize("words", MISTAKES)
def test_other_mistakes_get_no_such_advice(words: tuple[str, ...], told: dict[tuple[str, ...], Answer]) -> None:
    assert told[words].status == 1 and ADVICE not in told[words].printed
