"""Figures as bytes of files."""

import io

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

DPI = 150  # of the PNG


def rendered(figure: Figure) -> dict[str, bytes]:
    """Return the figure as `svg`, `pdf` and `png`; equal figures have equal bytes. The figure cannot be used again.

    The canvases draw it once for each, where `savefig` draws it twice.
    """
    svg, pdf, png = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "ravine", "svg.fonttype": "path", "pdf.fonttype": 42}):
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})
        figure.set_layout_engine("none")  # keeps this layout, which takes as long as the drawing
        FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).print_png(png)
    return {"svg": svg.getvalue(), "pdf": pdf.getvalue(), "png": png.getvalue()}
