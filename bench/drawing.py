# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG: panels of lines above one another with a common axis, and horizontal bars."""
import math

WIDTH, LEFT, RIGHT, TOP, GAP, BOTTOM = 960, 74, 20, 30, 34, 40
BAR_LEFT, BAR_HEIGHT = 330, 22
COLOURS = {"blue": "#1f6fb4", "orange": "#d9730d", "red": "#b3261e", "green": "#2e7d32", "grey": "#757575",
           "violet": "#6a4fb3"}


def nice_step(span, wanted):
    raw = span / max(wanted, 1)
    power = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)


def short(value):
    if value >= 10000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


class Panel:
    """One pair of axes. `lines` are (title, colour, [(x, y)])."""

    def __init__(self, title, lines, height=220, log=False):
        self.title, self.lines, self.height, self.log = title, lines, height, log
        ys = [y for _, _, points in lines for _, y in points]
        self.low, self.high = self.range_of(ys)

    def range_of(self, ys):
        if self.log:
            ys = [y for y in ys if y > 0] or [1, 10]
            return 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys) * 1.01))
        top = max(ys, default=1) or 1
        step = nice_step(top, 4)
        return 0, step * math.ceil(top / step * 1.0001)

    def ticks(self):
        if self.log:
            return [10 ** k for k in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = nice_step(self.high, 4)
        return [step * k for k in range(round(self.high / step) + 1)]

    def y_of(self, value, top):
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return top + self.height * (1 - share)


class Linear:
    """An axis from nothing to the most."""

    gaps = True  # a missing point breaks a line

    def __init__(self, title, most):
        self.title, self.most = title, most

    def share(self, value):
        return value / self.most

    def ticks(self):
        step = nice_step(self.most, 12)
        return [(k * step, short(k * step)) for k in range(int(self.most / step + 1e-9) + 1)]


class Steps:
    """An axis with its own marks, evenly divided by the logarithm of their values."""

    gaps = False

    def __init__(self, title, values, names=None):
        self.title, self.values = title, list(values)
        self.names = names or [f"{value:,}" for value in self.values]

    def share(self, value):
        low, high = math.log(self.values[0]), math.log(self.values[-1])
        return (math.log(value) - low) / (high - low) if high > low else 0.5

    def ticks(self):
        return list(zip(self.values, self.names))


class Canvas:
    def __init__(self, title):
        self.title, self.out = title, []

    def text(self, x, y, text, anchor="start", extra=""):
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{text}</text>')

    def line(self, x1, y1, x2, y2, style):
        self.out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>')

    def document(self, height):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
                f'height="{height:.0f}" font-family="sans-serif" font-size="12" fill="#222">\n'
                f'<title>{self.title}</title>\n<rect width="100%" height="100%" fill="#ffffff"/>\n')
        self.text(LEFT, 22, self.title, extra=' font-size="15" font-weight="bold"')
        return head + "\n".join(self.out) + "\n</svg>\n"


class Chart(Canvas):
    """Panels above one another with a common axis; `marks` are vertical lines through all."""

    def __init__(self, title, axis, panels, marks=()):
        super().__init__(title)
        self.axis, self.panels, self.marks = axis, panels, marks

    def x_of(self, value):
        return LEFT + (WIDTH - LEFT - RIGHT) * self.axis.share(value)

    def draw_marks(self, top, bottom):
        for value in self.marks:
            self.line(self.x_of(value), top, self.x_of(value), bottom,
                      'stroke="#b3261e" stroke-width="1" stroke-dasharray="2 3" opacity="0.55"')

    def draw_panel(self, panel, top):
        bottom = top + panel.height
        for value in panel.ticks():
            y = panel.y_of(value, top)
            self.line(LEFT, y, WIDTH - RIGHT, y, 'stroke="#e3e3e3"')
            self.text(LEFT - 8, y + 4, short(value), "end")
        self.draw_marks(top, bottom)
        for _, colour, points in panel.lines:
            self.draw_line(points, colour, panel, top)
        self.line(LEFT, top, LEFT, bottom, 'stroke="#444"')
        self.line(LEFT, bottom, WIDTH - RIGHT, bottom, 'stroke="#444"')
        self.text(LEFT, top - 9, panel.title, extra=' font-weight="bold"')
        x = WIDTH - RIGHT
        for title, colour, _ in reversed([line for line in panel.lines if line[2]]):
            x -= 7 * len(title) + 6
            self.text(x, top - 9, title)
            self.line(x - 20, top - 13, x - 5, top - 13, f'stroke="{COLOURS[colour]}" stroke-width="2.5"')
            x -= 34

    def draw_line(self, points, colour, panel, top):
        """Where the axis has gaps, a point without a value breaks the line."""
        part, before = [], None
        steps = [b[0] - a[0] for a, b in zip(points, points[1:])]
        gap = 2.5 * min(steps, default=1) if self.axis.gaps else math.inf
        for x, value in points + [(math.inf, 0)]:
            if before is not None and (x - before > gap or x == math.inf):
                if part:
                    self.out.append(f'<polyline fill="none" stroke="{COLOURS[colour]}" stroke-width="1.4" '
                                    f'stroke-linejoin="round" points="{" ".join(part)}"/>')
                part = []
            if x < math.inf:
                part.append(f"{self.x_of(x):.1f},{panel.y_of(value, top):.1f}")
            before = x

    def svg(self):
        top = TOP + 30
        for panel in self.panels:
            self.draw_panel(panel, top)
            top += panel.height + GAP
        bottom = top - GAP
        for value, name in self.axis.ticks():
            x = self.x_of(value)
            self.line(x, bottom, x, bottom + 5, 'stroke="#444"')
            self.text(x, bottom + 18, name, "middle")
        self.text((LEFT + WIDTH - RIGHT) / 2, bottom + 34, self.axis.title, "middle")
        return self.document(bottom + BOTTOM + 4)


class Bars(Canvas):
    """Horizontal bars on a logarithmic axis around 1: (name, value, colour, text behind it)."""

    def __init__(self, title, axis_title, bars):
        super().__init__(title)
        self.axis_title, self.bars = axis_title, bars
        values = [value for _, value, _, _ in bars if value] + [0.5, 2]
        self.low = 10 ** math.floor(math.log10(min(values)))
        self.high = 10 ** math.ceil(math.log10(max(values)))

    def x_of(self, value):
        value = min(max(value, self.low), self.high)
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return BAR_LEFT + (WIDTH - BAR_LEFT - 150) * share

    def svg(self):
        top = TOP + 14
        bottom = top + BAR_HEIGHT * len(self.bars)
        power = self.low
        while power <= self.high * 1.001:
            x = self.x_of(power)
            self.line(x, top, x, bottom + 5, 'stroke="#e3e3e3"')
            self.text(x, bottom + 18, f"{power:g}", "middle")
            power *= 10
        for number, (name, value, colour, behind) in enumerate(self.bars):
            y = top + BAR_HEIGHT * number
            self.text(BAR_LEFT - 8, y + 15, name, "end")
            if value:
                left, right = sorted((self.x_of(1), self.x_of(value)))
                self.out.append(f'<rect x="{left:.1f}" y="{y + 4:.1f}" width="{max(right - left, 1):.1f}" '
                                f'height="{BAR_HEIGHT - 8}" fill="{COLOURS[colour]}"/>')
            self.text(self.x_of(max(value or 1, 1)) + 6, y + 15, behind)
        self.line(self.x_of(1), top, self.x_of(1), bottom, 'stroke="#444"')
        self.text(self.x_of(1), bottom + 34, self.axis_title, "middle")
        return self.document(bottom + BOTTOM + 4)
