"""The sentence over the stage: which output, and how much comes from which input."""

import numpy as np
import pytest

from explain_core.explanation.build import LabelledInput, build_explanation
from ui.baselines import Baseline
from ui.in_words import Shown, headline
from ui.subjects import Subject

ZEROS = Baseline("Zeros", "a sequence of zeros", "zeros")


def sentence(sizes, output="Output", others=(), baseline=ZEROS, of=None, **subject):
    """The headline of a result whose inputs add up to these amounts."""
    names = [output, *others]
    items = [
        LabelledInput(name, np.ones((1, 1)), np.zeros((1, 1)), np.full((len(names), 1, 1), size), ("feature",))
        for name, size in sizes.items()
    ]
    whole = np.full((1, len(names)), sum(sizes.values()))
    ex = build_explanation(items, whole, whole * 0, output_labels=names, keep_output=False)
    return headline(Shown(Subject("Ward", "a", None, None, **subject), baseline, ex, "key"), of or output)


def test_each_input_has_its_part_the_largest_first():
    said = sentence({"vitals": -0.25, "patient": 4.0})
    assert said.endswith("for a sequence of zeros; +4 from patient, −0.25 from vitals.")
    assert "from" not in sentence({"vitals": 1.0})


@pytest.mark.parametrize(
    ("output", "others", "subject", "said"),
    [
        ("Output", (), {}, "predicts **1**: "),
        ("price", (), {}, "predicts **1** for price: "),
        ("Output 2", ("Output 1",), {}, "predicts **1** for output 2: "),
        ("Step 3", ("Step 1",), {"output_steps": True}, "predicts **1** for step 3: "),
        ("°C", (), {"output_label": "Tomorrow"}, "predicts **1**: "),
    ],
)
def test_the_output_is_named_where_it_is_no_matter_of_course(output, others, subject, said):
    assert said in sentence({"x": 1.0}, output, others, **subject)


def test_a_name_makes_nothing_bold():
    assert sentence({"x": 1.0, "**y**": 1.0}, "**z**").count("**") == 4  # the two numbers
    scores = sentence({"x": 1.0}, "calm", ("**shock**",), output_unit="logit")
    assert scores.count("**") == 6
    other = sentence({"x": 1.0}, "calm", ("**shock**",), of="**shock**", output_unit="logit")
    assert other.count("**") == 8  # both names, and two numbers
    compared = Baseline("Another sequence", "“**south**”", "zeros")
    assert sentence({"x": 1.0}, baseline=compared).count("**") == 4
