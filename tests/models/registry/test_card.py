from models.registry.card import _unequal
from models.segments import Segment


def segment(by: str, value: str, honest: int, false_alarms: int) -> Segment:
    """Return a segment with honest payments, some of them flagged, and ten frauds that are all caught."""
    return Segment(
        by=by, value=value, rows=honest + 10, frauds=10, flagged=false_alarms + 10, caught=10, expected=10.0, missed=0,
        average_precision=1.0,
    )  # fmt: skip


def test_a_small_segment_with_a_bad_rate_is_shown_with_its_uncertainty() -> None:
    """Fifty honest payments, ten of them flagged, are pointed out with counts and an interval, not left out."""
    parts = [
        segment("all", "all", 100_000, 1_000),
        segment("country", "EE", 50, 10),
        segment("country", "LV", 40, 0),
        segment("country", "DE", 90_000, 900),
        segment("channel", "atm", 9_000, 300),
    ]
    found = {disparity.segment.value: disparity for disparity in _unequal(parts)}
    assert set(found) == {"EE", "LV", "atm"}
    assert found["EE"].honest == 50
    assert found["EE"].ratio == 20
    assert 10 < found["EE"].low < 20 < found["EE"].high < 34
    assert found["EE"].certain
    assert found["atm"].certain
    assert not found["LV"].certain, "none of forty is no proof of a lower rate than one in a hundred"
    assert [disparity.segment.value for disparity in _unequal(parts)][-1] == "LV"
