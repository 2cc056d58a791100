"""Every method on a demo's own sequence and baseline: does it add up, does it agree, how long does it take?

    python -m benchmarks.methods seattle-weather [--markdown] [--horizon]

One demo a run: TensorFlow, once loaded, changes how PyTorch rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import explain_core as xc
from benchmarks.report import installed_in_words, table
from explain_core.demos import list_demos, load_demo
from explain_core.diagnostics import compare, horizon
from explain_core.methods import METHODS


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.add_argument("demo", choices=[demo.slug for demo in list_demos()])
    parser.add_argument("--markdown", action="store_true", help="the table as in docs/methods.md")
    parser.add_argument("--horizon", action="store_true", help="also the error at each length")
    options = parser.parse_args(arguments)
    demo = load_demo(options.demo)
    at = demo.index(demo.default_sequence)
    model, inputs, baselines = xc.load_model(demo.model_path), demo.x[at : at + 1], demo.mean_baseline
    if demo.lengths_name is not None:
        inputs = {demo.input_name: inputs, demo.lengths_name: demo.lengths[at : at + 1]}
        baselines = {demo.input_name: baselines}
    found = compare(model, inputs, baselines, 0, list(METHODS), device="cpu").table
    print(
        table(
            ["method", "off by", "agreement", "deletion", "insertion", "seconds", "by", "what happened"],
            [
                [
                    row.name,
                    "" if row.message else f"{row.relative_error:.0e}".replace("e-0", "e-"),
                    *("" if row.message else f"{value:.2f}" for value in (row.agreement, row.deletion, row.insertion)),
                    f"{row.seconds:.2f}",
                    row.library,
                    row.message,
                ]
                for row in found.itertuples(index=False)
            ],
            options.markdown,
        )
    )
    print(f"\n{demo.title}, {demo.default_sequence}; {installed_in_words()}.")
    if options.horizon:
        curve = horizon(model, inputs, baselines, 0, device="cpu")
        wide = curve.pivot_table(index="steps", columns="method", values="relative_error", sort=False)
        print(f"\nRelative error at each length ({curve['how'][0]}):\n{wide.map('{:.0e}'.format).to_string()}")


if __name__ == "__main__":
    main()
