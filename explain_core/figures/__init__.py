"""Pure functions from an `Explanation` to a plotly figure.

All of them take ``theme="light"`` or ``"dark"``, draw on a transparent background, and take samples and
outputs by label or by position, as `Explanation.sel` does. Blue lowers the output, orange raises it.
"""

from explain_core.figures.attribution import attribution_figure
from explain_core.figures.gates import gate_activation_figure, gate_figure
from explain_core.figures.panel import cell_detail, click_detail
from explain_core.figures.prediction import prediction_figure

__all__ = [
    "attribution_figure",
    "cell_detail",
    "click_detail",
    "gate_activation_figure",
    "gate_figure",
    "prediction_figure",
]
