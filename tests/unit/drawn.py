"""What is to be seen of a chart: texts that leave the paper or lie on one another, as matplotlib's renderer places them."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg

from bench.report import svg


def texts(figure):
    """Every text that is drawn, of axes only the ticks within their limits."""
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low * 0.999 <= tick.get_loc() <= high * 1.001]
    return [one for one in found if one.get_visible() and one.get_text().strip()]


def misplaced(chart):
    """What is wrong with the places of a chart's texts, in words; nothing where all is well."""
    with svg.style():
        canvas = FigureCanvasAgg(chart.figure)
        canvas.draw()
        boxes = [(one.get_text(), one.get_window_extent(canvas.get_renderer())) for one in texts(chart.figure)]
    width, height = canvas.get_width_height()
    wrong = [
        f"{name!r} leaves the paper: {box.bounds}"
        for name, box in boxes
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > width + 0.5 or box.y1 > height + 0.5
    ]
    for (one, box), (other, its) in combinations(boxes, 2):
        across, up = min(box.x1, its.x1) - max(box.x0, its.x0), min(box.y1, its.y1) - max(box.y0, its.y0)
        if across > 1 and up > 2.5:  # an accent may touch what hangs from the line above it
            wrong.append(f"{one!r} lies on {other!r}")
    return wrong
