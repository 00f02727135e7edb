"""The chart of an account's last days: one bar per day, flagged payments in red."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

SIZE = (960, 320)  # shown at half of that, so that it is sharp on any screen
_MARGIN = 24
_PAID, _FLAGGED, _AXIS, _PAPER = (110, 130, 160), (200, 40, 40), (150, 150, 150), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class DailyTotal:
    """Total payments of an account on a day, and the flagged part, in minor units."""

    amount: int
    flagged: int


def draw(days: Sequence[DailyTotal]) -> bytes:
    """Return a PNG with a bar for each day, oldest on the left; the same bytes each time."""
    from PIL import Image, ImageDraw  # noqa: PLC0415, slow to import, and not every message has a chart

    image = Image.new("RGB", SIZE, _PAPER)
    pen = ImageDraw.Draw(image)
    width, height = SIZE[0] - 2 * _MARGIN, SIZE[1] - 2 * _MARGIN
    floor = SIZE[1] - _MARGIN
    highest = max((day.amount for day in days), default=0) or 1
    step = width / max(len(days), 1)
    for position, day in enumerate(days):
        left, right = _MARGIN + position * step + step * 0.1, _MARGIN + (position + 1) * step - step * 0.1
        for amount, colour in ((day.amount, _PAID), (min(day.flagged, day.amount), _FLAGGED)):
            if amount > 0:
                top = min(floor - height * amount / highest, floor - 2)  # the smallest payment is still visible
                pen.rectangle((left, top, right, floor), fill=colour)
    pen.line((_MARGIN, floor, SIZE[0] - _MARGIN, floor), fill=_AXIS, width=2)
    out = BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
