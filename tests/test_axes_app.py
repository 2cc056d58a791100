"""The app with models whose graph does not say which axis is which, and with others than sequences."""

import io

import torch
from app_tools import app, press_explain, wait, workers
from test_app import text, upload
from torch import nn

__all__ = ["app", "workers"]  # the fixtures

TABLE = "a,b,c\n" + "\n".join(f"{i},{i * i % 7},{i % 3}" for i in range(4))


def program(model, *shape):
    torch.manual_seed(0)
    file = io.BytesIO()
    sizes = {0: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(model.eval(), (torch.randn(2, *shape),), dynamic_shapes=(sizes,)), file)
    return file.getvalue()


def test_a_flattened_sequence_keeps_the_names_of_its_file_and_images_are_refused(app):
    wait(app)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh(), nn.Linear(3, 1))
    upload(app, ("model.pt2", program(flat, 4, 3)), ("walk.csv", TABLE.encode()))
    press_explain(app)
    wait(app)
    assert not app.error
    session = app.session_state["session"]
    found = session.load(next(reversed(session._loaded)))
    assert found.attributions.dims == ("sample", "time", "feature")
    assert found.by_feature().feature.values.tolist() == ["a", "b", "c"]
    assert "Adds up" in text(app)

    image = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(12, 1))
    upload(app, ("image.pt2", program(image, 1, 4, 3)), ("walk.csv", TABLE.encode()))
    assert "The model takes arrays of 4 axes" in app.error[0].value
