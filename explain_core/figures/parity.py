"""How far the two frameworks are apart over time, on a log axis."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explain_core.figures import style
from explain_core.figures.steps import ROUNDING, add_rounding

_FLOOR = 1e-9  # where no difference at all is drawn
WORDS = {
    "attribution": "Attributions",
    "state": "Hidden state",
    "cell": "Cell state",
    "activation": "Gate values",
    "contribution": "Gate contributions",
    "carry": "Carried on",
    "mass": "Mass of the state",
}


def parity_figure(
    table: pd.DataFrame, layer: str | None = None, *, theme: str = "light", titled: bool = True
) -> go.Figure:
    """Largest difference at each step, over the largest size of the quantity, for attributions and one layer.

    Args:
        table: what `explain_core.diagnostics.parity` returned.
        layer: whose states and gates; None for the first.
    """
    colours = style.theme_of(theme)
    layers = [name for name in dict.fromkeys(table["layer"]) if name]
    layer = layer if layer is not None else (layers[0] if layers else "")
    over_time = table[(table["step"] >= 0) & table["layer"].isin(["", layer])]
    figure = go.Figure()
    names = list(WORDS)
    for (quantity, by), rows in over_time.groupby(["quantity", "compared_with"], sort=False):
        worst = rows.groupby("step")["difference"].max()
        name = WORDS[quantity] if by in ("PyTorch", "TensorFlow") else f"{WORDS[quantity]}, {by}"
        colour = colours.text if quantity == "attribution" else colours.lines[names.index(quantity) - 1]
        figure.add_scatter(
            x=worst.index + 1,
            y=worst.clip(lower=_FLOOR),
            mode=style.line_mode(len(worst.index)),
            name=style.plain(name),
            line={
                "color": colour,
                "width": 2.4 if quantity == "attribution" else 1.4,
                "dash": "solid" if by in ("PyTorch", "TensorFlow") else "dot",
            },
            hovertemplate=f"<b>{style.plain(name)}</b><br>step %{{x}}<br>difference %{{y:.3~g}}<extra></extra>",
        )
    title = f"Difference between the two frameworks, layer {style.plain(layer)}" if titled else ""
    subtitle = "Largest at each step, over the largest anywhere" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle=subtitle, height=380 + (56 if titled else 0))
    add_rounding(figure, colours, _FLOOR / 3)
    top = max(10 * ROUNDING, float(over_time["difference"].max()))
    figure.update_yaxes(**style.LOGARITHMIC, range=[np.log10(_FLOOR) - 0.3, np.log10(top) + 0.4], dtick=1)
    figure.update_yaxes(title_text="Difference, relative")
    figure.update_xaxes(title_text="Step", zeroline=False)
    figure.update_layout(legend=style.LEGEND_BELOW)
    return figure
