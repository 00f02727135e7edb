from dataclasses import replace

import numpy as np
import pytest

from models.frame import Frame
from models.protocol import Protocol, folds, latest
from vedette.clock import DAY, HOUR
from vedette.errors import InputError

START = 1_532_476_800_000  # 2018-07-25, the handbook's first training day


def daily(days: int, *, cards: int = 3) -> Frame:
    """Every card pays at noon of every day; nothing is fraud."""
    day, card = (column.ravel() for column in np.divmod(np.arange(days * cards), cards))
    time = START + day * DAY + 12 * HOUR
    return Frame(
        names=("day",),
        matrix=day[:, None].astype(np.float64),
        account=card,
        event_time=time,
        amount=np.full(len(time), 100),
        fraud=np.zeros(len(time), dtype=np.bool_),
        labelled_at=time + 7 * DAY,
    )


def with_fraud(frame: Frame, card: int, day: int, *, known_after_days: float = 7) -> Frame:
    """The same payments, one of them a fraud."""
    row = (frame.account == card) & (frame.matrix[:, 0] == day)
    known = np.where(row, frame.event_time + round(known_after_days * DAY), frame.labelled_at)
    return replace(frame, fraud=frame.fraud | row, labelled_at=known)


def test_four_folds_lie_as_published() -> None:
    """On 42 days, training starts on days 0, 7, 14 and 21, and the last test ends with the data."""
    found = folds(daily(42), Protocol())
    assert [(fold.training_start - START) // DAY for fold in found] == [0, 7, 14, 21]
    assert [(fold.test_start - START) // DAY for fold in found] == [14, 21, 28, 35]
    assert (found[-1].test_end - START) // DAY == 42


@pytest.mark.parametrize(("days", "number"), [(20, 0), (21, 1), (27, 1), (28, 2), (60, 4)])
def test_only_folds_that_fit_are_made(days: int, number: int) -> None:
    """A fold takes 21 days and each further one 7; four are enough."""
    assert len(folds(daily(days), Protocol())) == number


@pytest.mark.parametrize("history", [0, 7, 10])
def test_no_row_teaches_and_tests_and_none_of_the_delay_does_either(history: int) -> None:
    """Between the last training row and the first test row lie at least the seven days of the delay."""
    frame = daily(42)
    for fold in folds(frame, Protocol(history=history)):
        assert not set(fold.training) & set(fold.test)
        assert frame.event_time[fold.training].max() < fold.training_end
        assert frame.event_time[fold.test].min() >= fold.training_end + 7 * DAY
        assert frame.event_time[fold.test].max() < fold.test_end


def test_history_reaches_back_from_the_training_end() -> None:
    """Seven days are the published protocol, ten reach three days further back, and zero takes everything."""
    frame = daily(42)
    last = [folds(frame, Protocol(history=history))[-1] for history in (7, 10, 0)]
    assert [sorted(set(frame.matrix[fold.training, 0])) for fold in last] == [
        list(range(21, 28)),
        list(range(18, 28)),
        list(range(28)),
    ]


def test_a_card_known_to_be_defrauded_leaves_the_test_when_its_label_has_arrived() -> None:
    """A fraud on day 10 is known a week later at noon, so day 17 still tests the card and day 18 does not."""
    frame = with_fraud(daily(21), card=1, day=10)
    (fold,) = folds(frame, Protocol())
    tested = fold.test[frame.account[fold.test] == 1]
    assert list(frame.matrix[tested, 0]) == [14, 15, 16, 17]
    assert len(fold.test) == 2 * 7 + 4


def test_a_label_that_arrives_early_removes_nothing_earlier() -> None:
    """The delay is a floor: an early label changes no test set."""
    late, early = (with_fraud(daily(21), card=1, day=10, known_after_days=days) for days in (7, 0.5))
    assert list(folds(late, Protocol())[0].test) == list(folds(early, Protocol())[0].test)


def test_a_fraud_before_the_fold_removes_nothing() -> None:
    """Only a fraud since the fold's start counts, however long the history is."""
    frame = with_fraud(daily(28), card=1, day=2)
    last = folds(frame, Protocol())[-1]
    assert len(last.test) == 21


def test_a_label_still_on_its_way_does_not_teach() -> None:
    """A training row whose label arrives after the test begins is left out."""
    frame = with_fraud(daily(21), card=1, day=3, known_after_days=20)
    (fold,) = folds(frame, Protocol())
    assert len(fold.training) == 3 * 7 - 1
    assert not frame.fraud[fold.training].any()


def test_the_working_model_learns_from_rows_whose_labels_have_arrived() -> None:
    """Of 42 days the last seven are still unlabelled; with a history of 10 days, training has ten days."""
    frame = daily(42)
    rows = latest(frame, Protocol(history=10))
    assert sorted(set(frame.matrix[rows, 0])) == list(range(25, 35))


def test_data_shorter_than_the_delay_is_refused() -> None:
    """Five days are too few for training when a label takes seven."""
    with pytest.raises(InputError, match="shorter than the label delay of 7 days"):
        latest(daily(5), Protocol())
